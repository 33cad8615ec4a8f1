// The fields of a state, listed once for both directions, so that what is written and what is read
// cannot differ.
//
// Whatever has a state lists it in a function
//   template <class Archive, class Self> static void exchange(Archive& archive, Self& self);
// which a StateSaver visits with a const Self, and a StateLoader with one to fill.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/state_file.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Counts that go on being counted up stay below this in a file.
inline constexpr index_t k_most_counted = std::numeric_limits<index_t>::max() / 2;

/// Puts the fields that it is shown into a state file. Errors: those of StateWriter.
/// Thread-safety: none.
class StateSaver {
 public:
  static constexpr bool k_reads = false;

  explicit StateSaver(StateWriter& writer) noexcept : writer_(&writer) {}

  void real(std::string_view what, double value) { writer_->put_f64(what, value); }
  void bits(std::string_view /*what*/, std::uint64_t value) { writer_->put_u64(value); }
  void flag(std::string_view /*what*/, bool value) { writer_->put_count(value ? 1 : 0); }
  /// A number from `least`, which is not negative, to `most`.
  void count(std::string_view /*what*/, index_t value, index_t /*least*/, index_t /*most*/) {
    writer_->put_count(value);
  }
  void numbers(std::string_view /*what*/, const AlignedBuffer<std::uint64_t>& values,
               index_t count) {
    for (index_t i = 0; i < count; ++i) writer_->put_u64(values[i]);
  }
  /// A matrix whose padding is 0.
  template <class T>
  void rows(std::string_view what, const AlignedBuffer<T>& matrix, index_t rows, index_t cols,
            index_t stride) {
    writer_->put_rows(what, MatrixView<const T>(matrix.data(), rows, cols, stride));
  }
  /// Elements whose place is there already.
  template <class T>
  void row(std::string_view what, const T* elements, index_t count) {
    writer_->put_rows(what, MatrixView<const T>(elements, 1, count));
  }
  /// Something that file and reader have to agree on.
  void agree(std::string_view name, std::string_view value) { writer_->put_setting(name, value); }
  void agree(std::string_view name, index_t value) { writer_->put_setting(name, value); }

 private:
  StateWriter* writer_;
};

/// Fills the fields that it is shown from a state file. Errors: those of StateReader; a field
/// outside its range is refused by its name. Thread-safety: none.
class StateLoader {
 public:
  static constexpr bool k_reads = true;

  explicit StateLoader(StateReader& reader) noexcept : reader_(&reader) {}

  void real(std::string_view what, double& value) { value = reader_->get_f64(what); }
  void bits(std::string_view what, std::uint64_t& value) { value = reader_->get_u64(what); }
  void flag(std::string_view what, bool& value) { value = reader_->get_count(what, 0, 1) == 1; }
  template <class Integer>
  void count(std::string_view what, Integer& value, index_t least, index_t most) {
    value = static_cast<Integer>(reader_->get_count(what, least, most));
  }
  void numbers(std::string_view what, AlignedBuffer<std::uint64_t>& values, index_t count) {
    values.clear();
    for (index_t i = 0; i < count; ++i) {
      const std::uint64_t value = reader_->get_u64(what);
      values.resize(i + 1);
      values[i] = value;
    }
  }
  template <class T>
  void rows(std::string_view what, AlignedBuffer<T>& matrix, index_t rows, index_t cols,
            index_t stride) {
    matrix = reader_->get_rows<T>(what, rows, cols, stride);
  }
  template <class T>
  void row(std::string_view what, T* elements, index_t count) {
    const AlignedBuffer<T> row = reader_->get_rows<T>(what, 1, count, count);
    std::copy_n(row.data(), count, elements);
  }
  void agree(std::string_view name, std::string_view value) {
    reader_->require_setting(name, value);
  }
  void agree(std::string_view name, index_t value) { reader_->require_setting(name, value); }

  /// Refuses the file, with a message of these parts, when the condition does not hold.
  template <class... Parts>
  void require(bool condition, const Parts&... parts) const {
    reader_->require(condition, ": ", parts...);
  }

 private:
  StateReader* reader_;
};

ADR_NAMESPACE_END
