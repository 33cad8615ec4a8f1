// What the products of a network see: inputs, weights and output gradients of its layers as .npy
// files, for the benchmarks and the probe.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "tools/support/npy_tensor.hpp"
#include "training/batch_loader.hpp"
#include "training/errors.hpp"
#include "training/layers/softmax_loss.hpp"
#include "training/network.hpp"

namespace training {

namespace detail {

/// Reorders outer x pixels x channels into outer x channels x pixels; in layout nchw they are
/// there.
template <class T>
std::vector<float> channels_first(const T* elements, index_t outer, index_t channels,
                                  index_t pixels, adr::Layout layout) {
  std::vector<float> result;
  result.reserve(static_cast<std::size_t>(outer * channels * pixels));
  const bool pixels_first = layout == adr::Layout::nhwc;
  for (index_t o = 0; o < outer; ++o) {
    const T* block = elements + o * channels * pixels;
    for (index_t c = 0; c < channels; ++c) {
      for (index_t p = 0; p < pixels; ++p) {
        result.push_back(
            static_cast<float>(block[pixels_first ? p * channels + c : c * pixels + p]));
      }
    }
  }
  return result;
}

template <class T>
void write_tensor(const std::filesystem::path& path, const adr::TensorView<const T>& tensor) {
  tools::write_npy(path.string(), {{tensor.batch, tensor.channels, tensor.height, tensor.width},
                                   channels_first(tensor.data, tensor.batch, tensor.channels,
                                                  tensor.height * tensor.width, tensor.layout)});
}

}  // namespace detail

/// Writes FOLDER/<layer>_input.npy and _output_gradient.npy (batch x channels x height x width) and
/// _weight.npy (OIHW) of every convolution and fully connected layer, after a forward and a
/// backward pass over the first images; a fully connected layer is a convolution over one pixel.
/// The weights stay as they are. Requires: the network is in layout nhwc or nchw, its tensors
/// contiguous. Errors: UserError when a file cannot be written.
template <class T>
void write_snapshots(Network<T>& network, const BatchLoader<T>& loader, index_t images,
                     const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::vector<index_t> order;
  for (index_t i = 0; i < images; ++i) order.push_back(i);
  Batch<T> batch;
  loader.load(order.data(), images, {}, batch);
  const adr::MatrixView<const T> logits = network.forward(batch.images.const_view());
  softmax_loss(logits, batch.labels, network.logit_gradient());
  network.backward();
  for (const ProductOperands<T>& layer : network.products()) {
    const auto file = [&](const char* what) { return folder / (layer.name + "_" + what + ".npy"); };
    try {
      detail::write_tensor(file("input"), layer.input);
      detail::write_tensor(file("output_gradient"), layer.output_gradient);
      const index_t pixels = layer.kernel * layer.kernel;
      const index_t channels = layer.weights.cols / pixels;
      tools::write_npy(file("weight").string(),
                       {{layer.weights.rows, channels, layer.kernel, layer.kernel},
                        detail::channels_first(layer.weights.data, layer.weights.rows, channels,
                                               pixels, network.layout())});
    } catch (const std::runtime_error& problem) {
      throw UserError(message("--snapshots: ", problem.what()));
    }
  }
}

}  // namespace training
