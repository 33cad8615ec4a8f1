// Scratch memory that is sized before the work starts and handed out by bumping an offset.
//
// Every operation that needs scratch lists its arrays once, in a struct whose constructor takes
// them from `Memory& memory` and the shape:
//
//   template <class T>
//   struct BlockScratch {
//     T* blocks;
//     template <class Memory>
//     BlockScratch(Memory& memory, index_t elements, int threads)
//         : blocks(memory.template take<T>(checked_product("blocks", threads, elements))) {}
//   };
//
// The operation makes it from a Workspace, inside a Frame; its twin `..._workspace_bytes(shape)`
// from a WorkspaceSize, which only counts (scratch_bytes). Whoever runs the operation reserves that
// many bytes first, so the operation itself cannot allocate.
#pragma once

#include <cstddef>
#include <limits>
#include <stdexcept>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Adds up the bytes of the arrays that are taken from it exactly as Workspace lays them out.
class WorkspaceSize {
 public:
  /// Adds an array of count elements, rounded up to 64 bytes; there is none, so the result is null.
  /// Errors: std::overflow_error when the sum does not fit index_t; std::invalid_argument for a
  /// negative count.
  template <class T>
  T* take(index_t count) {
    constexpr auto k_largest = static_cast<std::size_t>(std::numeric_limits<index_t>::max());
    const auto raw = static_cast<std::size_t>(
        checked_product("workspace", count, static_cast<index_t>(sizeof(T))));
    constexpr std::size_t k_line = k_alignment_bytes;
    const std::size_t whole = (raw + k_line - 1) / k_line * k_line;
    if (whole > k_largest - bytes_) {
      ADR_THROW(std::overflow_error(
          detail::message("workspace: ", bytes_, " + ", whole, " bytes exceed ", k_largest)));
    }
    bytes_ += whole;
    return nullptr;
  }
  /// The sum, in bytes.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::size_t bytes_ = 0;
};

/// The bytes of the arrays that a struct takes when it is made from memory and these arguments.
/// Errors: those of WorkspaceSize::take and of the struct's constructor.
template <class Arrays, class... Args>
std::size_t scratch_bytes(const Args&... args) {
  WorkspaceSize size;
  static_cast<void>(Arrays(size, args...));
  return size.bytes();
}

/// A bump arena: reserve once, then take arrays inside a Frame that gives them back when it ends.
///
/// Thread-safety: none; one per thread of control. Memory taken may be written by many threads.
class Workspace {
 public:
  /// Gives back, when it is destroyed, everything taken since it was made.
  class Frame {
   public:
    /// Remembers how much is in use.
    explicit Frame(Workspace& workspace) noexcept
        : workspace_(workspace), mark_(workspace.used_bytes_) {}
    ~Frame() { workspace_.used_bytes_ = mark_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Workspace& workspace_;
    std::size_t mark_;
  };

  /// Makes room for this many bytes beyond what is in use. Errors: std::bad_alloc;
  /// std::overflow_error; and std::invalid_argument when arrays are in use, because growing would
  /// move them.
  void reserve(std::size_t bytes) {
    constexpr auto k_largest = static_cast<std::size_t>(std::numeric_limits<index_t>::max());
    if (bytes > k_largest - used_bytes_) {
      ADR_THROW(std::overflow_error(
          detail::message("Workspace: ", used_bytes_, " + ", bytes, " bytes exceed ", k_largest)));
    }
    const std::size_t wanted = used_bytes_ + bytes;
    if (wanted <= static_cast<std::size_t>(buffer_.size())) return;
    detail::require(used_bytes_ == 0, "Workspace: cannot grow to ", wanted, " bytes while ",
                    used_bytes_, " bytes are in use");
    buffer_.clear();
    buffer_.resize(static_cast<index_t>(wanted));
  }

  /// Takes an uninitialised, 64-byte aligned array of count elements. Requires: room was reserved
  /// (asserted).
  template <class T>
  [[nodiscard]] T* take(index_t count) noexcept {
    WorkspaceSize size;
    size.take<T>(count);
    const std::size_t bytes = size.bytes();
    ADR_ASSERT(used_bytes_ + bytes <= static_cast<std::size_t>(buffer_.size()),
               "workspace taken beyond what was reserved");
    T* pointer = reinterpret_cast<T*>(buffer_.data() + used_bytes_);
    used_bytes_ += bytes;
    if (used_bytes_ > peak_bytes_) peak_bytes_ = used_bytes_;
    return pointer;
  }

  /// The bytes that are held.
  [[nodiscard]] std::size_t capacity_bytes() const noexcept { return buffer_.capacity_bytes(); }
  /// The most bytes that were ever in use at once.
  [[nodiscard]] std::size_t peak_bytes() const noexcept { return peak_bytes_; }

 private:
  AlignedBuffer<unsigned char> buffer_;
  std::size_t used_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
};

ADR_NAMESPACE_END
