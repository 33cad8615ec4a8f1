// What a byte of an image means to a network: its distance from the channel's mean, in deviations.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "training/image_set.hpp"

namespace training {

/// (byte - mean) / deviation per channel, both over the training images.
class PixelScale {
 public:
  explicit PixelScale(const ImageSet& training_images) {
    const index_t plane = training_images.shape.height * training_images.shape.width;
    for (index_t channel = 0; channel < training_images.shape.channels; ++channel) {
      std::array<index_t, 256> histogram{};
      for (index_t i = 0; i < training_images.size(); ++i) {
        const std::uint8_t* from = training_images.image(i) + channel * plane;
        for (index_t p = 0; p < plane; ++p) ++histogram[from[p]];
      }
      tables_.push_back(standardise(histogram));
    }
  }

  [[nodiscard]] const std::array<float, 256>& table(index_t channel) const {
    return tables_[static_cast<std::size_t>(channel)];
  }

 private:
  static std::array<float, 256> standardise(const std::array<index_t, 256>& histogram) {
    double count = 0;
    double sum = 0;
    double square_sum = 0;
    for (std::size_t value = 0; value < histogram.size(); ++value) {
      const auto times = static_cast<double>(histogram[value]);
      const auto byte = static_cast<double>(value);
      count += times;
      sum += times * byte;
      square_sum += times * byte * byte;
    }
    const double mean = sum / count;
    // A channel of one single value carries nothing; any scale will do.
    const double variance = std::max(square_sum / count - mean * mean, 1e-6);
    std::array<float, 256> table;
    for (std::size_t value = 0; value < table.size(); ++value) {
      table[value] = static_cast<float>((static_cast<double>(value) - mean) / std::sqrt(variance));
    }
    return table;
  }

  std::vector<std::array<float, 256>> tables_;
};

}  // namespace training
