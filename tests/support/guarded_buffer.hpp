// A matrix with poison around it and in the gaps between its rows: shows writes that leave the
// matrix, and reads, because the poison spoils every number it meets.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "adr/core/types.hpp"

namespace adr_test {

using adr::index_t;

/// Where the first element of a GuardedBuffer lies.
enum class Start {
  aligned,     ///< on a cache-line boundary
  misaligned,  ///< one element behind such a boundary, so no register load is aligned
};

/// A rows x cols matrix with a row stride, surrounded by poison. Its elements are poison too, until
/// they are written.
///
/// The poison of a floating-point type is a signalling NaN: arithmetic makes it quiet, so even
/// poison + poison is seen as a change. It differs from place to place and from buffer to buffer,
/// so copying one gap over another is seen as well.
template <class T>
class GuardedBuffer {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

 public:
  GuardedBuffer(index_t rows, index_t cols, index_t row_stride, Start start = Start::aligned)
      : rows_(rows), cols_(cols), row_stride_(row_stride), salt_(next_salt()) {
    storage_.resize(static_cast<std::size_t>(rows * row_stride + 2 * k_guard + 2 * k_line));
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    const auto behind_line = static_cast<index_t>(address % 64 / sizeof(T));
    first_ = k_guard + (k_line - behind_line) % k_line + (start == Start::misaligned ? 1 : 0);
    for (index_t i = 0; i < size(); ++i) {
      const Bits bits = poison(i);
      std::memcpy(&storage_[static_cast<std::size_t>(i)], &bits, sizeof(bits));
    }
  }
  /// A vector.
  explicit GuardedBuffer(index_t count, Start start = Start::aligned)
      : GuardedBuffer(1, count, count, start) {}

  // A copy would lie at another address, with another alignment.
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  GuardedBuffer(GuardedBuffer&&) = default;
  GuardedBuffer& operator=(GuardedBuffer&&) = default;

  [[nodiscard]] T* data() noexcept { return storage_.data() + first_; }
  [[nodiscard]] const T* data() const noexcept { return storage_.data() + first_; }
  [[nodiscard]] adr::MatrixView<T> view() noexcept { return {data(), rows_, cols_, row_stride_}; }
  [[nodiscard]] adr::MatrixView<const T> view() const noexcept {
    return {data(), rows_, cols_, row_stride_};
  }
  [[nodiscard]] adr::VectorView<T> vector() noexcept { return {data(), cols_}; }
  T& operator()(index_t i, index_t j) noexcept { return data()[i * row_stride_ + j]; }
  const T& operator()(index_t i, index_t j) const noexcept { return data()[i * row_stride_ + j]; }

  /// Empty while everything outside the elements is what it was, else where it changed first.
  [[nodiscard]] std::string damage() const {
    for (index_t i = 0; i < size(); ++i) {
      Bits bits;
      std::memcpy(&bits, &storage_[static_cast<std::size_t>(i)], sizeof(bits));
      if (!is_element(i - first_) && bits != poison(i)) return place(i - first_) + " was written";
    }
    return {};
  }

 private:
  static constexpr index_t k_line = 64 / static_cast<index_t>(sizeof(T));
  static constexpr index_t k_guard = 4 * k_line;

  [[nodiscard]] index_t size() const noexcept { return static_cast<index_t>(storage_.size()); }

  [[nodiscard]] bool is_element(index_t offset) const noexcept {
    return offset >= 0 && offset < rows_ * row_stride_ && offset % row_stride_ < cols_;
  }

  [[nodiscard]] Bits poison(index_t i) const noexcept {
    const auto mark =
        static_cast<Bits>((static_cast<std::uint32_t>(i) * 2654435761u + salt_) >> 12);
    return (sizeof(T) == 4 ? static_cast<Bits>(0x7f800001u)
                           : static_cast<Bits>(0x7ff0000000000001u)) |
           static_cast<Bits>(mark << 1);
  }

  [[nodiscard]] std::string place(index_t offset) const {
    if (offset < 0) return std::to_string(-offset) + " elements before the buffer";
    if (offset >= rows_ * row_stride_) {
      return std::to_string(offset - rows_ * row_stride_ + 1) + " elements behind the buffer";
    }
    return "the gap behind row " + std::to_string(offset / row_stride_) + ", column " +
           std::to_string(offset % row_stride_) + ",";
  }

  static std::uint32_t next_salt() noexcept {
    static std::uint32_t salt = 0;
    return salt += 0x9e3779b9u;
  }

  index_t rows_;
  index_t cols_;
  index_t row_stride_;
  std::uint32_t salt_;
  index_t first_ = 0;
  std::vector<T> storage_;
};

}  // namespace adr_test
