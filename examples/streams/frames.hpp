// Frames of a still camera: from a file, or generated.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "adr/core/random.hpp"
#include "training/errors.hpp"
#include "training/image_set.hpp"
#if defined(TRAINING_HAS_XTENSOR)
#include "training/npy_images.hpp"
#endif

namespace streams {

using training::ImageSet;
using training::ImageShape;
using training::index_t;

/// A background that stays, a disc that crosses it, and the noise of a sensor.
inline ImageSet generated_frames(const ImageShape& shape, index_t count) {
  constexpr double k_noise = 0.4;  // of a byte
  ImageSet frames;
  frames.shape = shape;
  adr::Random random(1);
  const auto radius = static_cast<double>(shape.height) / 8;
  for (index_t n = 0; n < count; ++n) {
    const double center_x = static_cast<double>(shape.width) * static_cast<double>(n + 1) /
                            static_cast<double>(count + 1);
    const double center_y = static_cast<double>(shape.height) / 2;
    for (index_t i = 0; i < shape.size(); ++i) {
      const index_t c = i / (shape.height * shape.width);
      const auto y = static_cast<double>(i / shape.width % shape.height);
      const auto x = static_cast<double>(i % shape.width);
      const bool in_disc = std::hypot(x - center_x, y - center_y) < radius;
      const double still =
          128 + 60 * std::sin(0.11 * x + static_cast<double>(c)) * std::cos(0.07 * y);
      const double value = (in_disc ? 128 + 100 * std::sin(0.9 * (x - center_x)) : still) +
                           k_noise * random.normal();
      frames.pixels.push_back(static_cast<std::uint8_t>(std::clamp(std::round(value), 0.0, 255.0)));
    }
    frames.labels.push_back(0);
  }
  return frames;
}

/// Those of a .npy file of bytes, count x channels x height x width; all where count is 0. Errors:
/// UserError.
inline ImageSet frames_of_file([[maybe_unused]] const std::string& path,
                               [[maybe_unused]] index_t count) {
#if defined(TRAINING_HAS_XTENSOR)
  return training::read_npy_images(path, count).train;
#else
  throw training::UserError("--frames: reading .npy files needs xtensor");
#endif
}

}  // namespace streams
