// A 10-class image set that is drawn instead of downloaded, for machines without CIFAR-10.
//
// Four classes are stripes of one direction, one is a checkerboard and five are shapes. Position,
// size, colour, contrast and polarity are random and the background has the amplitude spectrum of
// natural images (1/f), so that neither a pixel template nor a mean colour tells the classes apart:
// a network has to learn filters. Every image has a generator of its own, so threads do not change
// it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "adr/core/context.hpp"
#include "adr/core/random.hpp"
#include "training/errors.hpp"
#include "training/image_set.hpp"

namespace training {
namespace generated {

inline constexpr index_t k_side = 32;
inline constexpr index_t k_pixels = k_side * k_side;
inline constexpr double k_pi = 3.14159265358979323846;

using Plane = std::array<double, k_pixels>;
using Colour = std::array<double, 3>;

inline double uniform(adr::Random& random, double low, double high) {
  return low + (high - low) * random.uniform();
}

/// Smooth noise: octaves of interpolated random grids. Equal energy in every octave is a 1/f
/// spectrum.
inline void add_natural_noise(double deviation, adr::Random& random, Plane& plane) {
  constexpr index_t k_largest_grid = 17;
  for (index_t cells = 1; cells < k_largest_grid; cells *= 2) {
    std::array<double, k_largest_grid * k_largest_grid> grid;
    for (index_t i = 0; i < (cells + 1) * (cells + 1); ++i) {
      grid[static_cast<std::size_t>(i)] = deviation * random.normal();
    }
    const double step = static_cast<double>(cells) / k_side;
    for (index_t y = 0; y < k_side; ++y) {
      const double gy = (static_cast<double>(y) + 0.5) * step;
      const auto row = static_cast<index_t>(gy);
      const double fy = gy - static_cast<double>(row);
      for (index_t x = 0; x < k_side; ++x) {
        const double gx = (static_cast<double>(x) + 0.5) * step;
        const auto col = static_cast<index_t>(gx);
        const double fx = gx - static_cast<double>(col);
        const double* corner = grid.data() + row * (cells + 1) + col;
        const double top = corner[0] + fx * (corner[1] - corner[0]);
        const double bottom = corner[cells + 1] + fx * (corner[cells + 2] - corner[cells + 1]);
        plane[static_cast<std::size_t>(y * k_side + x)] += top + fy * (bottom - top);
      }
    }
  }
}

/// The object of an image: where it is and how it is turned.
struct Pose {
  double centre_x;
  double centre_y;
  double radius;
  double angle;      ///< of stripes and shapes, in radians
  double frequency;  ///< of stripes and checkers, in radians per pixel
  double phase_x;
  double phase_y;
};

inline Pose draw_pose(index_t label, adr::Random& random) {
  Pose pose{};
  pose.radius = uniform(random, 7.0, 12.0);
  pose.centre_x = uniform(random, pose.radius, k_side - pose.radius);
  pose.centre_y = uniform(random, pose.radius, k_side - pose.radius);
  pose.frequency = uniform(random, 1.0, 2.0);
  pose.phase_x = uniform(random, 0.0, 2 * k_pi);
  pose.phase_y = uniform(random, 0.0, 2 * k_pi);
  const double tilt = uniform(random, -0.25, 0.25);
  pose.angle =
      label < 4 ? static_cast<double>(label) * k_pi / 4 + tilt : uniform(random, 0.0, 2 * k_pi);
  return pose;
}

/// 1 well inside, 0 well outside, with an edge about one pixel wide.
inline double inside(double signed_distance) { return std::clamp(0.5 - signed_distance, 0.0, 1.0); }

/// How much of the object's colour pixel (x, y) takes, from -1 to 1.
inline double coverage(index_t label, const Pose& pose, double x, double y) {
  const double dx = x - pose.centre_x;
  const double dy = y - pose.centre_y;
  const double u = std::cos(pose.angle) * dx + std::sin(pose.angle) * dy;
  const double v = std::cos(pose.angle) * dy - std::sin(pose.angle) * dx;
  const double distance = std::sqrt(dx * dx + dy * dy);
  const double r = pose.radius;
  switch (label) {
    case 0:
    case 1:
    case 2:
    case 3:  // stripes in a disc
      return inside(distance - r) * std::sin(pose.frequency * u + pose.phase_x);
    case 4:  // a checkerboard in a disc
      return inside(distance - r) * 1.4 * std::sin(pose.frequency * u + pose.phase_x) *
             std::sin(pose.frequency * v + pose.phase_y);
    case 5:  // a disc
      return inside(distance - 0.8 * r);
    case 6:  // a ring
      return inside(std::abs(distance - 0.8 * r) - 1.5);
    case 7:  // a cross
      return inside(std::max(std::min(std::abs(u), std::abs(v)) - 1.5,
                             std::max(std::abs(u), std::abs(v)) - r));
    case 8:  // a square
      return inside(std::max(std::abs(u), std::abs(v)) - 0.75 * r);
    default:  // a triangle
      return inside(std::max({v, 0.866 * u - 0.5 * v, -0.866 * u - 0.5 * v}) - 0.5 * r);
  }
}

inline void draw_image(index_t label, adr::Random random, std::uint8_t* pixels) {
  Plane luminance;
  luminance.fill(uniform(random, 90.0, 165.0));
  add_natural_noise(uniform(random, 9.0, 20.0), random, luminance);

  // One polarity for all channels, so that the object is brighter or darker and its hue is free.
  const double polarity = random.below(2) == 0 ? -1.0 : 1.0;
  const double contrast = uniform(random, 28.0, 70.0);
  const Pose pose = draw_pose(label, random);
  for (index_t channel = 0; channel < 3; ++channel) {
    Plane plane;
    plane.fill(uniform(random, -20.0, 20.0));
    add_natural_noise(4.0, random, plane);
    const double strength = polarity * contrast * uniform(random, 0.3, 1.0);
    for (index_t i = 0; i < k_pixels; ++i) {
      const auto x = static_cast<double>(i % k_side) + 0.5;
      const auto y = static_cast<double>(i / k_side) + 0.5;
      const double value = luminance[static_cast<std::size_t>(i)] +
                           plane[static_cast<std::size_t>(i)] +
                           strength * coverage(label, pose, x, y) + 3.0 * random.normal();
      pixels[channel * k_pixels + i] =
          static_cast<std::uint8_t>(std::clamp(value + 0.5, 0.0, 255.0));
    }
  }
}

inline ImageSet draw_images(index_t count, std::uint64_t seed, adr::Context& context) {
  ImageSet set;
  set.shape = {3, k_side, k_side};
  set.labels.resize(static_cast<std::size_t>(count));
  set.pixels.resize(static_cast<std::size_t>(count * set.shape.size()));
  adr::parallel_for(count, context.threads(), [&](index_t i, int) {
    adr::Random random(seed * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(i));
    const index_t label = random.below(set.class_count);
    set.labels[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(label);
    draw_image(label, random, set.pixels.data() + i * set.shape.size());
  });
  return set;
}

}  // namespace generated

/// Draws training and test images; the same counts and seed give the same images.
inline DataSet generate_images(index_t train_count, index_t test_count, std::uint64_t seed,
                               adr::Context& context) {
  DataSet data;
  data.train = generated::draw_images(train_count, 2 * seed, context);
  data.test = generated::draw_images(test_count, 2 * seed + 1, context);
  data.description = message("generated images (no --data, no ADR_DATA): ", train_count,
                             " training and ", test_count, " test images, seed ", seed);
  return data;
}

}  // namespace training
