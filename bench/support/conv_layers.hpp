// Convolution layers, read from the files of bench/shapes/.
#pragma once

#include <adr/unfold/conv_geometry.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "bench/support/user_error.hpp"

namespace adr_bench {

using adr::index_t;

/// A convolution layer with a square kernel, and stride and padding the same on all sides.
struct ConvLayer {
  std::string name;
  index_t in_channels = 1;
  index_t height = 1;
  index_t width = 1;
  index_t out_channels = 1;
  index_t kernel = 1;
  index_t stride = 1;
  index_t pad = 0;
  index_t groups = 1;
  bool needs_input_gradient = true;  ///< false for the first layer of a network

  /// A fully connected layer is written as a convolution over images of one pixel.
  [[nodiscard]] bool is_linear() const noexcept { return height == 1 && width == 1; }
  [[nodiscard]] adr::ConvGeometry geometry(adr::Layout layout) const {
    adr::ConvGeometry g;
    g.in_channels = in_channels;
    g.in_height = height;
    g.in_width = width;
    g.out_channels = out_channels;
    g.set_kernel(kernel);
    g.set_stride(stride);
    g.set_padding(pad);
    g.groups = groups;
    g.layout = layout;
    return g;
  }
};

/// The layers of a network, in its order; the name is that of the file.
struct Network {
  std::string name;
  std::vector<ConvLayer> layers;
};

namespace detail {

/// Reads one line of a file of shapes. Errors: UserError that begins with `where`.
inline ConvLayer parse_conv_layer(const std::string& line, const std::string& where) {
  std::istringstream text(line);
  std::vector<std::string> fields;
  for (std::string field; text >> field;) fields.push_back(field);
  constexpr std::size_t k_fields = 10;
  require(fields.size() == k_fields, where,
          "a layer has 10 fields: name, in_channels, height, width, out_channels, kernel, stride, "
          "pad, groups, input_gradient; got ",
          fields.size());
  ConvLayer layer;
  layer.name = fields[0];
  require(
      layer.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == std::string::npos,
      where, "a name may hold letters, digits, '_', '-' and '.', got '", layer.name, "'");
  const std::pair<const char*, index_t*> sizes[] = {{"in_channels", &layer.in_channels},
                                                    {"height", &layer.height},
                                                    {"width", &layer.width},
                                                    {"out_channels", &layer.out_channels},
                                                    {"kernel", &layer.kernel},
                                                    {"stride", &layer.stride},
                                                    {"pad", &layer.pad},
                                                    {"groups", &layer.groups}};
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    const std::string& field = fields[i + 1];
    const char* end = field.data() + field.size();
    const auto [stop, error] = std::from_chars(field.data(), end, *sizes[i].second);
    require(error == std::errc() && stop == end, where, sizes[i].first,
            " must be an integer, got '", field, "'");
  }
  const std::string& gradient = fields.back();
  require(gradient == "yes" || gradient == "no", where, "input_gradient must be yes or no, got '",
          gradient, "'");
  layer.needs_input_gradient = gradient == "yes";
  std::string problem;
  try {
    problem = layer.geometry(adr::Layout::nchw).validate();
  } catch (const std::overflow_error& error) {
    problem = error.what();
  }
  require(problem.empty(), where, problem);
  return layer;
}

}  // namespace detail

/// Reads a file of shapes; bench/shapes/cifarnet.txt explains the format. Errors: UserError that
/// names the file, the line and the rule.
inline Network read_network(const std::string& path) {
  std::ifstream file(path);
  require(file.good() && !std::filesystem::is_directory(path), path, ": cannot be opened");
  Network network;
  network.name = std::filesystem::path(path).stem().string();
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    line.resize(std::min(line.find('#'), line.size()));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = message(path, ":", number, ": ");
    ConvLayer layer = detail::parse_conv_layer(line, where);
    for (const ConvLayer& other : network.layers) {
      require(other.name != layer.name, where, "there is a layer '", layer.name, "' already");
    }
    network.layers.push_back(std::move(layer));
  }
  require(!network.layers.empty(), path, ": holds no layer");
  return network;
}

/// The network without its fully connected layers.
inline Network convolutions_of(Network network) {
  auto& layers = network.layers;
  layers.erase(std::remove_if(layers.begin(), layers.end(),
                              [](const ConvLayer& layer) { return layer.is_linear(); }),
               layers.end());
  return network;
}

/// The file of CifarNet's shapes in the source tree.
inline std::string cifarnet_shapes() { return ADR_BENCH_SHAPES "/cifarnet.txt"; }

inline const char* to_string(adr::Layout layout) {
  return layout == adr::Layout::nchw ? "nchw" : "nhwc";
}

}  // namespace adr_bench
