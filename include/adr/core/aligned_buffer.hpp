// A growable array of plain elements on a cache-line boundary, which does not initialise what it
// grows.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "adr/core/errors.hpp"
#include "adr/core/huge_pages.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

inline constexpr index_t k_alignment_bytes = 64;

/// An owning, movable, 64-byte aligned array of trivially copyable elements; from 2 MB on aligned
/// to large pages, which are asked for.
/// Growing keeps the old elements; new ones are uninitialised; shrinking keeps the capacity.
/// Errors: std::bad_alloc from resize and reserve, std::overflow_error for absurd sizes.
template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(index_t size) { resize(size); }
  AlignedBuffer(AlignedBuffer&& other) noexcept { *this = std::move(other); }
  /// Takes the other's memory and leaves it empty.
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    storage_ = std::move(other.storage_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
  }

  void resize(index_t size) {
    if (size > capacity_) grow(size > 2 * capacity_ ? size : 2 * capacity_);
    size_ = size;
  }
  void reserve(index_t capacity) {
    if (capacity > capacity_) grow(capacity);
  }
  void assign(index_t size, T value) {
    resize(size);
    for (index_t i = 0; i < size; ++i) data()[i] = value;
  }
  void clear() noexcept { size_ = 0; }

  [[nodiscard]] T* data() noexcept { return storage_.get(); }
  [[nodiscard]] const T* data() const noexcept { return storage_.get(); }
  [[nodiscard]] index_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity_bytes() const noexcept {
    return static_cast<std::size_t>(capacity_) * sizeof(T);
  }
  T& operator[](index_t i) noexcept { return storage_.get()[i]; }
  const T& operator[](index_t i) const noexcept { return storage_.get()[i]; }

 private:
  struct Deleter {
    std::align_val_t alignment = std::align_val_t(k_alignment_bytes);
    void operator()(T* pointer) const noexcept { ::operator delete(pointer, alignment); }
  };

  void grow(index_t capacity) {
    const auto bytes = static_cast<std::size_t>(
        checked_product("AlignedBuffer", capacity, static_cast<index_t>(sizeof(T))));
    const bool large = bytes >= k_huge_page_bytes;
    const Deleter deleter{std::align_val_t(large ? k_huge_page_bytes : k_alignment_bytes)};
    std::unique_ptr<T, Deleter> fresh(static_cast<T*>(::operator new(bytes, deleter.alignment)),
                                      deleter);
    if (large) prefer_huge_pages(fresh.get(), bytes);
    if (size_ > 0) {
      std::memcpy(fresh.get(), storage_.get(), static_cast<std::size_t>(size_) * sizeof(T));
    }
    storage_ = std::move(fresh);
    capacity_ = capacity;
  }

  std::unique_ptr<T, Deleter> storage_;
  index_t size_ = 0;
  index_t capacity_ = 0;
};

ADR_NAMESPACE_END
