// A convolution layer's input, weights and output gradient: from the snapshots of a trained
// network, or generated where there are none.
#pragma once

#include <adr/core/random.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/conv_layers.hpp"
#include "bench/support/user_error.hpp"

#if defined(ADR_BENCH_HAS_XTENSOR)
#include "tools/support/npy_tensor.hpp"
#endif

namespace adr_bench {

/// The tensors of one layer in layout nchw, filters in OIHW.
struct LayerData {
  index_t batch = 0;
  index_t distinct_images = 0;  ///< image n is a copy of n - distinct_images, mirrored
  std::vector<float> input;
  std::vector<float> weights;
  std::vector<float> output_gradient;
};

/// Where the data of a run come from.
struct DataSource {
  std::string folder;  ///< of the snapshots of one moment of training; empty: generated
  std::string description;
};

/// The snapshots that the variable ADR_SNAPSHOTS names, at the given moment: a folder in it.
inline DataSource find_data(const std::string& moment) {
  const char* folder = std::getenv("ADR_SNAPSHOTS");
  if (folder == nullptr || *folder == '\0') {
    return {{}, "generated images (ADR_SNAPSHOTS is not set): expect other ratios on real ones"};
  }
#if defined(ADR_BENCH_HAS_XTENSOR)
  return {std::string(folder) + "/" + moment, "snapshots of layers in training, " + moment};
#else
  static_cast<void>(moment);
  return {{}, "generated images (ADR_SNAPSHOTS is set, but this build lacks xtensor to read it)"};
#endif
}

namespace detail {

/// A batch of planes (image times channel).
struct Planes {
  index_t count;
  index_t height;
  index_t width;
};

/// Smooth random planes: a coarse grid interpolated, as natural images have most of their energy in
/// low frequencies, and a little noise.
inline std::vector<float> smooth_planes(const Planes& planes, adr::Random& random) {
  constexpr index_t k_grid = 5;
  std::vector<float> result;
  result.reserve(static_cast<std::size_t>(planes.count * planes.height * planes.width));
  for (index_t p = 0; p < planes.count; ++p) {
    double grid[k_grid][k_grid];
    for (auto& line : grid) {
      for (double& value : line) value = random.normal();
    }
    for (index_t y = 0; y < planes.height; ++y) {
      for (index_t x = 0; x < planes.width; ++x) {
        const double v = static_cast<double>(y * (k_grid - 1)) / static_cast<double>(planes.height);
        const double u = static_cast<double>(x * (k_grid - 1)) / static_cast<double>(planes.width);
        const auto i = static_cast<index_t>(v);
        const auto j = static_cast<index_t>(u);
        const double s = v - static_cast<double>(i);
        const double t = u - static_cast<double>(j);
        const double value = (1 - s) * ((1 - t) * grid[i][j] + t * grid[i][j + 1]) +
                             s * ((1 - t) * grid[i + 1][j] + t * grid[i + 1][j + 1]);
        result.push_back(static_cast<float>(value + 0.05 * random.normal()));
      }
    }
  }
  return result;
}

inline LayerData generated_layer(const ConvLayer& layer, index_t batch) {
  const adr::ConvGeometry g = layer.geometry(adr::Layout::nchw);
  adr::Random random(17);
  LayerData data;
  data.batch = batch;
  data.distinct_images = batch;
  data.input = smooth_planes({batch * layer.in_channels, layer.height, layer.width}, random);
  // Behind a ReLU, unless these are the images themselves.
  if (layer.needs_input_gradient) {
    for (float& value : data.input) value = std::max(value, 0.0F);
  }
  const double deviation = std::sqrt(2.0 / static_cast<double>(g.columns()));
  data.weights.resize(static_cast<std::size_t>(g.out_channels * g.columns()));
  for (float& value : data.weights) value = static_cast<float>(deviation * random.normal());
  // Behind ReLU and max-pool, few output gradients are not zero.
  data.output_gradient.assign(static_cast<std::size_t>(g.rows(batch) * g.out_channels), 0.0F);
  for (float& value : data.output_gradient) {
    if (random.uniform() < 0.15) value = static_cast<float>(random.normal());
  }
  return data;
}

/// Appends mirrored copies of whole images until there are `batch` of them: as they are,
/// left-right, top-bottom, both. Plain copies would hold every neuron vector several times.
inline std::vector<float> with_mirrored_copies(const std::vector<float>& images, index_t count,
                                               const Planes& per_image, index_t batch) {
  const index_t height = per_image.height;
  const index_t width = per_image.width;
  std::vector<float> result;
  result.reserve(images.size() / static_cast<std::size_t>(count) * static_cast<std::size_t>(batch));
  for (index_t n = 0; n < batch; ++n) {
    const index_t version = n / count;
    for (index_t c = 0; c < per_image.count; ++c) {
      const float* plane = images.data() + (n % count * per_image.count + c) * height * width;
      for (index_t y = 0; y < height; ++y) {
        const float* line = plane + ((version & 2) != 0 ? height - 1 - y : y) * width;
        for (index_t x = 0; x < width; ++x) {
          result.push_back(line[(version & 1) != 0 ? width - 1 - x : x]);
        }
      }
    }
  }
  return result;
}

#if defined(ADR_BENCH_HAS_XTENSOR)
inline tools::NpyTensor read_snapshot(const std::string& path) {
  try {
    return tools::read_npy(path);
  } catch (const std::runtime_error& problem) {
    throw UserError(message("ADR_SNAPSHOTS: ", problem.what()));
  }
}

/// How many images the snapshot holds.
inline index_t image_count(const std::string& path) {
  const tools::NpyTensor tensor = read_snapshot(path);
  require(!tensor.shape.empty() && tensor.shape[0] > 0, "ADR_SNAPSHOTS: ", path,
          " holds no images");
  return tensor.shape[0];
}

inline std::vector<float> read_tensor(const std::string& path, const std::vector<index_t>& shape) {
  tools::NpyTensor tensor = read_snapshot(path);
  tools::NpyTensor wanted;
  wanted.shape = shape;
  require(tensor.shape == shape, "ADR_SNAPSHOTS: ", path, " must be ", wanted.shape_text(),
          ", got ", tensor.shape_text());
  return std::move(tensor.elements);
}

inline LayerData snapshot_layer(const ConvLayer& layer, index_t batch, const std::string& folder) {
  constexpr index_t k_versions = 4;
  const std::string prefix = folder + "/" + layer.name + "_";
  const index_t images = image_count(prefix + "input.npy");
  require(batch <= k_versions * images, "--batch must be at most ", k_versions * images,
          " with these snapshots, got ", batch);
  const adr::ConvGeometry g = layer.geometry(adr::Layout::nchw);
  const Planes inputs{g.in_channels, g.in_height, g.in_width};
  const Planes outputs{g.out_channels, g.out_height(), g.out_width()};
  const auto shape = [images](const Planes& p) {
    return std::vector<index_t>{images, p.count, p.height, p.width};
  };
  const auto input = read_tensor(prefix + "input.npy", shape(inputs));
  const auto gradient = read_tensor(prefix + "output_gradient.npy", shape(outputs));
  LayerData data;
  data.batch = batch;
  data.distinct_images = std::min(batch, images);
  data.weights = read_tensor(prefix + "weight.npy", {g.out_channels, g.group_in_channels(),
                                                     g.kernel_height, g.kernel_width});
  data.input = with_mirrored_copies(input, images, inputs, batch);
  data.output_gradient = with_mirrored_copies(gradient, images, outputs, batch);
  return data;
}
#endif

}  // namespace detail

/// Whether there are data of the layer: snapshots may hold the convolutions of a network alone.
inline bool has_data(const ConvLayer& layer, const DataSource& source) {
  return source.folder.empty() ||
         std::filesystem::exists(source.folder + "/" + layer.name + "_input.npy");
}

/// The data of a layer. Errors: UserError when a snapshot is missing or has another shape.
inline LayerData load_layer(const ConvLayer& layer, index_t batch, const DataSource& source) {
#if defined(ADR_BENCH_HAS_XTENSOR)
  if (!source.folder.empty()) return detail::snapshot_layer(layer, batch, source.folder);
#endif
  static_cast<void>(source);
  return detail::generated_layer(layer, batch);
}

/// Reorders outer x channels x pixels into outer x pixels x channels: images nchw to nhwc, filters
/// OIHW to OHWI.
inline std::vector<float> channels_last(const std::vector<float>& tensor, index_t outer,
                                        index_t channels) {
  const index_t pixels = static_cast<index_t>(tensor.size()) / (outer * channels);
  std::vector<float> result;
  result.reserve(tensor.size());
  for (index_t o = 0; o < outer; ++o) {
    for (index_t p = 0; p < pixels; ++p) {
      for (index_t c = 0; c < channels; ++c) {
        result.push_back(tensor[static_cast<std::size_t>((o * channels + c) * pixels + p)]);
      }
    }
  }
  return result;
}

/// A tensor of layout nchw (filters: OIHW) in the given layout.
inline std::vector<float> in_layout(adr::Layout layout, const std::vector<float>& nchw,
                                    index_t outer, index_t channels) {
  return layout == adr::Layout::nchw ? nchw : channels_last(nchw, outer, channels);
}

}  // namespace adr_bench
