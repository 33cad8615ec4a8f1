// An owning row-major matrix, and how far one is from another.
#pragma once

#include <adr/core/aligned_buffer.hpp>
#include <adr/core/random.hpp>
#include <adr/core/types.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace adr_bench {

using adr::index_t;

class Matrix {
 public:
  Matrix() = default;
  Matrix(index_t rows, index_t cols)
      : rows_(rows), cols_(cols), elements_(adr::checked_product("matrix", rows, cols)) {
    std::fill_n(elements_.data(), elements_.size(), 0.0F);
  }

  [[nodiscard]] index_t rows() const noexcept { return rows_; }
  [[nodiscard]] index_t cols() const noexcept { return cols_; }
  [[nodiscard]] index_t size() const noexcept { return elements_.size(); }
  [[nodiscard]] float* data() noexcept { return elements_.data(); }
  [[nodiscard]] const float* data() const noexcept { return elements_.data(); }
  [[nodiscard]] float* row(index_t i) noexcept { return elements_.data() + i * cols_; }
  [[nodiscard]] adr::MatrixView<float> view() noexcept { return {data(), rows_, cols_}; }
  [[nodiscard]] adr::MatrixView<const float> view() const noexcept {
    return {data(), rows_, cols_};
  }

 private:
  index_t rows_ = 0;
  index_t cols_ = 0;
  adr::AlignedBuffer<float> elements_;
};

/// A matrix of normal numbers with the given standard deviation.
inline Matrix normal_matrix(index_t rows, index_t cols, double deviation, std::uint64_t seed) {
  Matrix matrix(rows, cols);
  adr::Random random(seed);
  for (index_t i = 0; i < matrix.size(); ++i) {
    matrix.data()[i] = static_cast<float>(deviation * random.normal());
  }
  return matrix;
}

/// ||values - exact|| / ||exact|| over `count` elements; 0 when both are zero, NaN when a value is.
inline double relative_error(const float* values, const float* exact, index_t count) {
  double difference = 0;
  double norm = 0;
  for (index_t i = 0; i < count; ++i) {
    const double e = exact[i];
    const double d = values[i] - e;
    difference += d * d;
    norm += e * e;
  }
  return difference == 0 ? 0.0 : std::sqrt(difference / norm);
}

inline double relative_error(const Matrix& values, const Matrix& exact) {
  return relative_error(values.data(), exact.data(), exact.size());
}

}  // namespace adr_bench
