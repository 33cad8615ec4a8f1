// The layer that a probe runs: a tensor from a file as the input of a convolution (4 dimensions) or
// of a matrix product (2 dimensions), and weights from a file or drawn at random.
#pragma once

#include <adr/adr.hpp>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/npy_tensor.hpp"

namespace tools {

/// How the input tensor is to be read.
struct LayerOptions {
  adr::index_t kernel = 3;  // used when no weights say it
  adr::index_t out_channels = 64;
  adr::index_t pad = 0;
  adr::index_t stride = 1;
  adr::Layout layout = adr::Layout::nchw;
  std::uint64_t seed = 1;
};

/// A convolution over the images of a tensor. A matrix N x K is a batch of N images of one pixel.
struct LayerUnderTest {
  adr::ConvGeometry geometry;
  adr::index_t batch = 0;
  std::vector<float> input;
  std::vector<float> weights;  // out_channels x columns
  bool is_matrix = false;

  [[nodiscard]] adr::TensorView<const float> x() const {
    return {input.data(),      batch,          geometry.in_channels, geometry.in_height,
            geometry.in_width, geometry.layout};
  }
  [[nodiscard]] adr::MatrixView<const float> w() const {
    return {weights.data(), geometry.out_channels, geometry.columns()};
  }
  [[nodiscard]] adr::index_t output_size() const {
    return geometry.rows(batch) * geometry.out_channels;
  }
};

/// Reorders filters from OIHW, as files hold them, to OHWI.
inline std::vector<float> to_ohwi(const NpyTensor& w) {
  const auto& s = w.shape;
  std::vector<float> result(w.elements.size());
  for (std::ptrdiff_t o = 0; o < s[0]; ++o) {
    for (std::ptrdiff_t i = 0; i < s[1]; ++i) {
      for (std::ptrdiff_t k = 0; k < s[2] * s[3]; ++k) {
        result[static_cast<std::size_t>((o * s[2] * s[3] + k) * s[1] + i)] =
            w.elements[static_cast<std::size_t>((o * s[1] + i) * s[2] * s[3] + k)];
      }
    }
  }
  return result;
}

inline void require(bool condition, const std::string& message) {
  if (!condition) throw std::runtime_error(message);
}

/// Builds the layer. Errors: std::runtime_error naming the rule and the shapes. Weights: O x I x KH
/// x KW for a 4-d input, K x M for a 2-d input.
inline LayerUnderTest make_layer(NpyTensor input, const NpyTensor* weights,
                                 const LayerOptions& options) {
  LayerUnderTest layer;
  adr::ConvGeometry& g = layer.geometry;
  const auto& s = input.shape;
  require(
      s.size() == 2 || s.size() == 4,
      "the input must have 2 (rows x columns) or 4 dimensions (batch x channels x height x width, "
      "or nhwc), got " +
          input.shape_text());
  layer.is_matrix = s.size() == 2;
  g.layout = layer.is_matrix ? adr::Layout::nhwc : options.layout;
  layer.batch = s[0];
  if (layer.is_matrix) {
    g.in_channels = s[1];
  } else if (g.layout == adr::Layout::nchw) {
    g.in_channels = s[1], g.in_height = s[2], g.in_width = s[3];
  } else {
    g.in_height = s[1], g.in_width = s[2], g.in_channels = s[3];
  }
  g.out_channels = options.out_channels;
  if (!layer.is_matrix) {
    g.set_kernel(options.kernel);
    g.set_padding(options.pad);
    g.set_stride(options.stride);
  }
  if (weights != nullptr) {
    const auto& v = weights->shape;
    if (layer.is_matrix) {
      require(v.size() == 2 && v[0] == g.in_channels,
              "the weights of a matrix input must be K x M with K = " +
                  std::to_string(g.in_channels) + ", got " + weights->shape_text());
      g.out_channels = v[1];
      layer.weights.resize(weights->elements.size());
      for (std::ptrdiff_t k = 0; k < v[0]; ++k) {
        for (std::ptrdiff_t m = 0; m < v[1]; ++m) {
          layer.weights[static_cast<std::size_t>(m * v[0] + k)] =
              weights->elements[static_cast<std::size_t>(k * v[1] + m)];
        }
      }
    } else {
      require(v.size() == 4 && v[1] == g.in_channels,
              "the weights must be out x in x height x width with in = " +
                  std::to_string(g.in_channels) + ", got " + weights->shape_text());
      g.out_channels = v[0];
      g.kernel_height = v[2];
      g.kernel_width = v[3];
      layer.weights = g.layout == adr::Layout::nchw ? weights->elements : to_ohwi(*weights);
    }
  }
  const std::string problem = g.validate();
  require(problem.empty(), problem);
  if (weights == nullptr) {
    adr::Random random(options.seed);
    layer.weights.resize(static_cast<std::size_t>(g.out_channels * g.columns()));
    for (float& w : layer.weights) w = static_cast<float>(random.normal());
  }
  layer.input = std::move(input.elements);
  return layer;
}

}  // namespace tools
