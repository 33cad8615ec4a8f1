// Labelled images as bytes: what a data source yields and a batch loader reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "training/errors.hpp"
#include "training/tensor.hpp"

namespace training {

/// Images of one shape, each as planes (channel, y, x), one after the other.
struct ImageSet {
  ImageShape shape;
  index_t class_count = 10;
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint8_t> labels;

  [[nodiscard]] index_t size() const { return static_cast<index_t>(labels.size()); }
  [[nodiscard]] const std::uint8_t* image(index_t i) const {
    return pixels.data() + i * shape.size();
  }
};

struct DataSet {
  std::string description;
  ImageSet train;
  ImageSet test;
};

/// Errors: UserError when a network that takes images of `shape` cannot take these.
inline void require_images_of(const ImageShape& shape, const DataSet& data) {
  require(data.train.shape == shape, "the network takes images of ", to_string(shape), ", got ",
          to_string(data.train.shape));
}

}  // namespace training
