// Labelled images as bytes: what a data source yields and a batch loader reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

}  // namespace training
