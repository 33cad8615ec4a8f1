// What reuse is measured on: images or matrices of a file, or generated ones.
#pragma once

#include <adr/core/random.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/layer_data.hpp"
#include "bench/support/matrix.hpp"
#include "bench/support/redundant_data.hpp"
#include "bench/support/user_error.hpp"

#if defined(ADR_BENCH_HAS_XTENSOR)
#include "tools/support/npy_tensor.hpp"
#endif

namespace adr_bench {

/// Images in layout nchw; without a height, a matrix of `count` rows and `channels` columns.
struct ReuseData {
  std::string name;
  index_t count = 0;
  index_t channels = 0;
  index_t height = 0;
  index_t width = 0;
  std::vector<float> elements;

  [[nodiscard]] bool is_matrix() const noexcept { return height == 0; }
  /// The first of its images, or rows.
  void keep(index_t most) {
    if (most <= 0 || count <= most) return;
    elements.resize(elements.size() / static_cast<std::size_t>(count) *
                    static_cast<std::size_t>(most));
    count = most;
  }
};

/// Reads a .npy file of count x channels x height x width or rows x columns elements; bytes become
/// numbers between 0 and 1. Errors: UserError that names the file.
inline ReuseData read_reuse_data(const std::string& path) {
#if defined(ADR_BENCH_HAS_XTENSOR)
  tools::NpyTensor tensor;
  try {
    tensor = tools::read_npy(path);
  } catch (const std::runtime_error& problem) {
    throw UserError(message("--data: ", problem.what()));
  }
  const auto& shape = tensor.shape;
  require(shape.size() == 4 || shape.size() == 2, "--data: ", path,
          " must be count x channels x height x width or rows x columns, got ",
          tensor.shape_text());
  require(!tensor.elements.empty(), "--data: ", path, " holds no elements");
  ReuseData data{std::filesystem::path(path).stem().string(),
                 shape[0],
                 shape[1],
                 0,
                 0,
                 std::move(tensor.elements)};
  if (shape.size() == 4) {
    data.height = shape[2];
    data.width = shape[3];
  }
  const float largest = *std::max_element(data.elements.begin(), data.elements.end());
  const bool bytes = largest > 1 && largest <= 255;
  for (float& value : data.elements) {
    require(std::isfinite(value), "--data: ", path, " must hold finite elements, got ", value);
    if (bytes && !data.is_matrix()) value /= 255;
  }
  return data;
#else
  throw UserError(message("--data: this build lacks xtensor to read ", path));
#endif
}

/// Rows that repeat, as bench_gemm has them.
inline ReuseData redundant_rows(index_t rows, index_t columns, double remaining_ratio) {
  Redundancy redundancy;
  redundancy.vector_length = columns;
  redundancy.remaining_ratio = remaining_ratio;
  const Matrix matrix = redundant_matrix(rows, columns, redundancy);
  return {message("rows that repeat, r_c ", remaining_ratio), rows, columns, 0, 0,
          {matrix.data(), matrix.data() + matrix.size()}};
}

/// Smooth images with noise, in which nothing repeats.
inline ReuseData smooth_images(index_t count, index_t size) {
  adr::Random random(5);
  return {"smooth images",
          count,
          3,
          size,
          size,
          detail::smooth_planes({count * 3, size, size}, random)};
}

/// A plain background with a few rectangles on it, as pages and screens are.
inline ReuseData plain_images(index_t count, index_t size) {
  adr::Random random(6);
  ReuseData data{"plain background", count, 3, size, size, {}};
  data.elements.assign(static_cast<std::size_t>(count * 3 * size * size), 1.0F);
  for (index_t n = 0; n < count; ++n) {
    for (int rectangle = 0; rectangle < 4; ++rectangle) {
      const index_t extent = std::max<index_t>(size / 8, 1);
      const index_t top = random.below(size - extent + 1);
      const index_t left = random.below(size - extent + 1);
      for (index_t c = 0; c < 3; ++c) {
        const auto colour = static_cast<float>(random.uniform());
        for (index_t y = top; y < top + extent; ++y) {
          const auto row = data.elements.begin() + ((n * 3 + c) * size + y) * size;
          std::fill(row + left, row + left + extent, colour);
        }
      }
    }
  }
  return data;
}

/// Frames of a still camera: a smooth background, a square that crosses it, and the noise of a
/// sensor, in steps of a byte. Requires: 2 frames.
inline ReuseData still_camera(index_t count, index_t size) {
  constexpr double k_noise = 0.4;  // of a byte
  adr::Random random(7);
  const std::vector<float> background = detail::smooth_planes({3, size, size}, random);
  const index_t extent = std::max<index_t>(size / 8, 1);
  const index_t top = (size - extent) / 2;
  ReuseData data{"moving square", count, 3, size, size, {}};
  for (index_t n = 0; n < count; ++n) {
    const index_t left = n * (size - extent) / (count - 1);
    for (index_t i = 0; i < 3 * size * size; ++i) {
      const index_t y = i / size % size;
      const index_t x = i % size;
      const bool in_square = y >= top && y < top + extent && x >= left && x < left + extent;
      const double byte = in_square ? 220 : 128 + 40 * background[static_cast<std::size_t>(i)];
      data.elements.push_back(static_cast<float>(
          std::clamp(std::round(byte + k_noise * random.normal()), 0.0, 255.0) / 255));
    }
  }
  return data;
}

/// The patches of side `patch` side by side, one row each, at most `most` of them.
inline ReuseData patches_of(const ReuseData& images, index_t patch, index_t most) {
  ReuseData rows{
      message(images.name, ", patches of ", patch), 0, images.channels * patch * patch, 0, 0, {}};
  for (index_t n = 0; n < images.count; ++n) {
    for (index_t y = 0; y + patch <= images.height; y += patch) {
      for (index_t x = 0; x + patch <= images.width && rows.count < most; x += patch) {
        for (index_t c = 0; c < images.channels; ++c) {
          for (index_t i = 0; i < patch; ++i) {
            const auto from = images.elements.begin() +
                              ((n * images.channels + c) * images.height + y + i) * images.width +
                              x;
            rows.elements.insert(rows.elements.end(), from, from + patch);
          }
        }
        ++rows.count;
      }
    }
  }
  return rows;
}

}  // namespace adr_bench
