// The fields of a state, listed once for both directions, so that what is written and what is read
// cannot differ.
//
// Whatever has a state lists it in a function
//   void exchange(StateArchive& archive);
// which puts its fields into a file, and leaves them as they are, or takes them from one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/state_file.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Visits fields one after the other: puts them into a writer, or takes them from a reader.
///
/// Errors: those of StateWriter and StateReader; a reader's fields outside their range are refused
/// with std::runtime_error that names the field. Thread-safety: none. Source: this library.
class StateArchive {
 public:
  explicit StateArchive(StateWriter& writer) noexcept : writer_(&writer) {}
  explicit StateArchive(StateReader& reader) noexcept : reader_(&reader) {}

  [[nodiscard]] bool is_reading() const noexcept { return reader_ != nullptr; }

  void operator()(std::string_view what, double& value) {
    if (is_reading()) {
      value = reader_->get_f64(what);
    } else {
      writer_->put_f64(what, value);
    }
  }
  /// A number from `least`, which is at least -1, to `most`, written or read: what could not be
  /// read again is refused.
  template <class Integer>
  void count(std::string_view what, Integer& value, index_t least, index_t most) {
    const index_t shift = std::min<index_t>(least, 0);  // counts of a file are not negative
    if (is_reading()) {
      value = static_cast<Integer>(reader_->get_count(what, least - shift, most - shift) + shift);
      return;
    }
    const auto number = static_cast<index_t>(value);
    detail::require(number >= least && number <= most, "state file: ", what, " must be between ",
                    least, " and ", most, ", got ", number);
    writer_->put_count(number - shift);
  }
  void operator()(std::string_view what, index_t& value) { count(what, value, 0, k_most_index); }
  void operator()(std::string_view what, std::uint64_t& value) {
    if (is_reading()) {
      value = reader_->get_u64(what);
    } else {
      writer_->put_u64(value);
    }
  }
  void operator()(std::string_view what, bool& value) {
    auto number = static_cast<index_t>(value);
    count(what, number, 0, 1);
    value = number == 1;
  }
  /// A number that may be missing.
  void optional(std::string_view what, std::optional<double>& value) {
    bool is_there = value.has_value();
    (*this)(what, is_there);
    double number = value.value_or(0);
    if (is_there) (*this)(what, number);
    value = is_there ? std::optional<double>(number) : std::nullopt;
  }
  /// An enumeration whose last value is given.
  template <class Enum>
  void choice(std::string_view what, Enum& value, Enum last) {
    auto number = static_cast<index_t>(value);
    count(what, number, 0, static_cast<index_t>(last));
    value = static_cast<Enum>(number);
  }

  void numbers(std::string_view what, AlignedBuffer<std::uint64_t>& values, index_t count) {
    if (is_reading()) values.clear();
    for (index_t i = 0; i < count; ++i) {
      std::uint64_t value = is_reading() ? 0 : values[i];
      (*this)(what, value);
      if (is_reading()) values.resize(i + 1);
      values[i] = value;
    }
  }
  /// A matrix whose padding is 0.
  template <class T>
  void rows(std::string_view what, AlignedBuffer<T>& matrix, index_t rows, index_t cols,
            index_t stride) {
    if (is_reading()) {
      matrix = reader_->get_rows<T>(what, rows, cols, stride);
    } else {
      writer_->put_rows(what, MatrixView<const T>(matrix.data(), rows, cols, stride));
    }
  }
  /// Elements whose place is there already.
  template <class T>
  void row(std::string_view what, T* elements, index_t count) {
    if (is_reading()) {
      const AlignedBuffer<T> row = reader_->get_rows<T>(what, 1, count, count);
      std::copy_n(row.data(), count, elements);
    } else {
      writer_->put_rows(what, MatrixView<const T>(elements, 1, count));
    }
  }

  /// Something that file and reader have to agree on.
  void agree(std::string_view what, std::string_view value) {
    if (is_reading()) {
      reader_->require_setting(what, value);
    } else {
      writer_->put_setting(what, value);
    }
  }
  void agree(std::string_view what, index_t value) { agree(what, std::to_string(value)); }

  /// Refuses a file, with a message of these parts, when the condition does not hold.
  template <class... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (is_reading()) reader_->require(condition, ": ", parts...);
  }

 private:
  // Counts of a file are added to each other, and doubled.
  static constexpr index_t k_most_index = (index_t{1} << 62) - 1;

  StateWriter* writer_ = nullptr;
  StateReader* reader_ = nullptr;
};

ADR_NAMESPACE_END
