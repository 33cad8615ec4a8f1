// An array that ends, or begins, where memory does: a read beyond it that poison would not show,
// because nothing comes of what was read, ends the program.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <vector>

#include "adr/core/types.hpp"

namespace adr_test {

using adr::index_t;

/// Which end of the array lies at a page that can neither be read nor written.
enum class Fence { behind, before };

/// Elements between two such pages. They are zero at first.
template <class T>
class FencedArray {
 public:
  FencedArray(index_t count, Fence fence) : count_(count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    const std::size_t inside = std::max<std::size_t>((bytes + page - 1) / page, 1) * page;
    size_ = inside + 2 * page;
    memory_ = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) std::abort();
    char* first = static_cast<char*>(memory_) + page;
    if (mprotect(first, inside, PROT_READ | PROT_WRITE) != 0) std::abort();
    data_ = reinterpret_cast<T*>(fence == Fence::before ? first : first + inside - bytes);
  }
  FencedArray(const std::vector<T>& elements, Fence fence)
      : FencedArray(static_cast<index_t>(elements.size()), fence) {
    std::copy(elements.begin(), elements.end(), data_);
  }
  ~FencedArray() { munmap(memory_, size_); }
  FencedArray(const FencedArray&) = delete;
  FencedArray& operator=(const FencedArray&) = delete;

  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] index_t size() const noexcept { return count_; }

 private:
  index_t count_;
  std::size_t size_ = 0;
  void* memory_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace adr_test
