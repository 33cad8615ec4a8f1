// NumPy's .npy files: read into floats, whatever real type they hold, and refused where they cannot
// be used; written from floats.
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xnpy.hpp>

namespace tools {

/// The elements of a .npy file in C order, and their shape.
struct NpyTensor {
  std::vector<std::ptrdiff_t> shape;
  std::vector<float> elements;

  [[nodiscard]] std::string shape_text() const {
    std::ostringstream text;
    for (std::size_t i = 0; i < shape.size(); ++i) text << (i > 0 ? " x " : "") << shape[i];
    return text.str();
  }
};

namespace detail {

/// Refuses what xtensor's reader would believe: a shape whose elements cannot be in the file, and
/// numbers of another byte order. Headers that are no headers are left to the reader.
inline void require_plausible_header(const std::string& path) {
  constexpr std::size_t k_most = 65536;
  std::ifstream file(path, std::ios::binary);
  std::string header(k_most, '\0');
  file.read(header.data(), static_cast<std::streamsize>(k_most));
  header.resize(static_cast<std::size_t>(file.gcount()));
  const std::size_t type = header.find("'descr'");
  if (type == std::string::npos) return;
  if (header.find("'>", type) < header.find(',', type)) {
    throw std::runtime_error(path + ": the elements must be little-endian, got big-endian ones");
  }
  const std::size_t open = header.find('(', header.find("'shape'", type));
  if (open == std::string::npos) return;
  file.clear();
  file.seekg(0, std::ios::end);
  const auto bytes = static_cast<std::uint64_t>(file.tellg());
  std::istringstream sizes(header.substr(open + 1, header.find(')', open) - open - 1));
  std::uint64_t count = 1;
  for (std::uint64_t size = 0; sizes >> size; sizes.ignore(2, ',')) {
    if (size > 0 && count > bytes / size) {
      throw std::runtime_error(path + ": truncated: a file of " + std::to_string(bytes) +
                               " bytes cannot hold the elements its header announces");
    }
    count *= size;
  }
}

template <class T>
bool read_as(const std::string& path, NpyTensor& tensor) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  xt::xarray<T> array;
  try {
    array = xt::load_npy<T>(file);
  } catch (const std::exception& problem) {
    // xtensor says "Cast error" when the file holds another type; anything else is a broken file.
    if (std::string(problem.what()).find("Cast error") != std::string::npos) return false;
    throw std::runtime_error(path + ": not a .npy file that can be read: " + problem.what());
  }
  // xtensor does not notice when a file ends before its elements do.
  if (!file) {
    throw std::runtime_error(path + ": truncated: it holds fewer than the " +
                             std::to_string(array.size()) + " elements its header announces");
  }
  tensor.shape.assign(array.shape().begin(), array.shape().end());
  tensor.elements.assign(array.begin(), array.end());
  return true;
}

}  // namespace detail

/// Reads a file of float32, float64 or uint8 elements. Errors: std::runtime_error that names the
/// file and what is wrong with it. Source of the format: NumPy; the reader is xtensor's.
inline NpyTensor read_npy(const std::string& path) {
  detail::require_plausible_header(path);
  NpyTensor tensor;
  const bool known = detail::read_as<float>(path, tensor) ||
                     detail::read_as<double>(path, tensor) ||
                     detail::read_as<std::uint8_t>(path, tensor);
  if (!known) throw std::runtime_error(path + ": the elements must be float32, float64 or uint8");
  return tensor;
}

/// Writes float32 elements in C order. Errors: std::runtime_error when the file cannot be written.
inline void write_npy(const std::string& path, const NpyTensor& tensor) {
  const std::vector<std::size_t> shape(tensor.shape.begin(), tensor.shape.end());
  try {
    xt::dump_npy(path, xt::adapt(tensor.elements, shape));
  } catch (const std::exception& problem) {
    throw std::runtime_error(path + ": cannot be written: " + problem.what());
  }
}

}  // namespace tools
