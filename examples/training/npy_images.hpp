// Images from a .npy file, to time networks on: their labels are made up, because such a file has
// none.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "tools/support/npy_tensor.hpp"
#include "training/errors.hpp"
#include "training/image_set.hpp"

namespace training {

/// Reads uint8 images of shape count x channels x height x width; 0 takes all of them. Training and
/// test set are the same images. Image i gets the label i modulo 10: good for times and for what
/// activations look like, not for accuracy. Errors: UserError when the file cannot be read, has
/// another shape, holds anything but bytes, or fewer images than asked for.
inline DataSet read_npy_images(const std::string& path, index_t limit) {
  constexpr index_t k_labels = 10;
  tools::NpyTensor tensor;
  try {
    tensor = tools::read_npy(path);
  } catch (const std::runtime_error& problem) {
    throw UserError(message("--images: ", problem.what()));
  }
  require(tensor.shape.size() == 4, "--images: ", path,
          " must have the shape count x channels x height x width, got ", tensor.shape_text());
  require(std::all_of(tensor.elements.begin(), tensor.elements.end(),
                      [](float v) { return v >= 0 && v <= 255; }),
          "--images: ", path, " must hold values between 0 and 255");
  const index_t count = limit > 0 ? limit : tensor.shape[0];
  require(count <= tensor.shape[0], "--train-images must be at most the number of images in ", path,
          " (", tensor.shape[0], "), got ", count);
  DataSet data;
  data.train.shape = {tensor.shape[1], tensor.shape[2], tensor.shape[3]};
  data.train.class_count = k_labels;
  for (index_t i = 0; i < count; ++i) {
    data.train.labels.push_back(static_cast<std::uint8_t>(i % k_labels));
  }
  const auto elements = static_cast<std::size_t>(count * data.train.shape.size());
  for (std::size_t i = 0; i < elements; ++i) {
    data.train.pixels.push_back(static_cast<std::uint8_t>(tensor.elements[i]));
  }
  data.test = data.train;
  data.description = message(count, " images from ", path, ", with labels that mean nothing");
  return data;
}

}  // namespace training
