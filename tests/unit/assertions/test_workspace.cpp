#include "support/assert_recorder.hpp"
// The recorder must come first.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include "adr/core/workspace.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace {

using adr::index_t;
using adr::scratch_bytes;
using adr::Workspace;
using adr::WorkspaceSize;

constexpr index_t k_largest = std::numeric_limits<index_t>::max();

bool on_cache_line(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 64 == 0;
}

template <class T>
std::size_t bytes_of(index_t count) {
  WorkspaceSize size;
  size.take<T>(count);
  return size.bytes();
}

/// What an operation would take.
struct TwoArrays {
  int* first;
  double* second;

  template <class Memory>
  TwoArrays(Memory& memory, index_t count)
      : first(memory.template take<int>(count)), second(memory.template take<double>(2 * count)) {}
};

}  // namespace

TEST_CASE("WorkspaceSize rounds every array up to cache lines") {
  CHECK(WorkspaceSize().bytes() == 0);
  CHECK(bytes_of<float>(0) == 0);
  CHECK(bytes_of<char>(1) == 64);
  CHECK(bytes_of<float>(16) == 64);
  CHECK(bytes_of<float>(17) == 128);
  WorkspaceSize size;
  size.take<double>(3);
  size.take<char>(65);
  CHECK(size.take<float>(1) == nullptr);
  CHECK(size.bytes() == 64 + 128 + 64);
}

TEST_CASE("WorkspaceSize refuses what index_t cannot count") {
  CHECK_THROWS_AS(bytes_of<double>(k_largest / 8 + 1), std::overflow_error);
  CHECK(adr_test::refusal([] { bytes_of<float>(-1); }) ==
        "workspace: sizes must not be negative, got -1");
}

TEST_CASE("WorkspaceSize refuses sizes that only overflow when they are rounded up") {
  CHECK_THROWS_AS(bytes_of<char>(k_largest), std::overflow_error);
}

TEST_CASE("Workspace uses exactly what WorkspaceSize says") {
  const index_t counts[] = {0, 1, 3, 16, 17, 63, 64, 65, 1000};
  WorkspaceSize size;
  for (const index_t count : counts) {
    size.take<float>(count);
    size.take<double>(count);
    size.take<char>(count);
  }

  Workspace workspace;
  workspace.reserve(size.bytes());
  CHECK(workspace.capacity_bytes() == size.bytes());
  CHECK(workspace.peak_bytes() == 0);
  const int failures = adr_test::failed_assertions();
  {
    const Workspace::Frame frame(workspace);
    const auto fill = [](auto* array, index_t count) {
      CHECK(on_cache_line(array));
      for (index_t i = 0; i < count; ++i) array[i] = {};
    };
    for (const index_t count : counts) {
      fill(workspace.take<float>(count), count);
      fill(workspace.take<double>(count), count);
      fill(workspace.take<char>(count), count);
    }
  }
  CHECK(adr_test::failed_assertions() == failures);
  CHECK(workspace.peak_bytes() == size.bytes());
}

TEST_CASE("Workspace asserts that what is taken was reserved") {
  Workspace workspace;
  workspace.reserve(128);
  const Workspace::Frame frame(workspace);
  const int failures = adr_test::failed_assertions();
  CHECK(workspace.take<float>(32) != nullptr);
  CHECK(adr_test::failed_assertions() == failures);
  static_cast<void>(workspace.take<char>(1));
  CHECK(adr_test::failed_assertions() == failures + 1);
}

TEST_CASE("Workspace hands out arrays that do not overlap") {
  Workspace workspace;
  workspace.reserve(2 * bytes_of<int>(5));
  const Workspace::Frame frame(workspace);
  int* first = workspace.take<int>(5);
  int* second = workspace.take<int>(5);
  CHECK(second - first == 16);
}

TEST_CASE("scratch_bytes are what a list of arrays takes from a workspace") {
  for (const index_t count : {0, 1, 16, 17}) {
    INFO(count << " elements");
    const std::size_t bytes = scratch_bytes<TwoArrays>(count);
    CHECK(bytes == bytes_of<int>(count) + bytes_of<double>(2 * count));
    Workspace workspace;
    workspace.reserve(bytes);
    const Workspace::Frame frame(workspace);
    const TwoArrays arrays(workspace, count);
    CHECK(workspace.peak_bytes() == bytes);
    CHECK(reinterpret_cast<const char*>(arrays.second) -
              reinterpret_cast<const char*>(arrays.first) ==
          static_cast<index_t>(bytes_of<int>(count)));
  }
  CHECK_THROWS_AS(scratch_bytes<TwoArrays>(k_largest / 8), std::overflow_error);
}

TEST_CASE("Workspace frames give back what was taken since they began") {
  Workspace workspace;
  workspace.reserve(1024);
  const Workspace::Frame outer(workspace);
  const void* kept = workspace.take<char>(64);
  void* inside = nullptr;
  {
    const Workspace::Frame inner(workspace);
    inside = workspace.take<char>(512);
  }
  CHECK(workspace.peak_bytes() == 64 + 512);
  void* again = workspace.take<char>(128);
  CHECK(again == inside);
  CHECK(again != kept);
  CHECK(workspace.peak_bytes() == 64 + 512);
}

TEST_CASE("Workspace refuses to grow while arrays are in use") {
  Workspace workspace;
  workspace.reserve(256);
  {
    const Workspace::Frame frame(workspace);
    static_cast<void>(workspace.take<char>(100));
    CHECK(adr_test::refusal([&] { workspace.reserve(128); }) == "(no error)");
    CHECK(adr_test::refusal([&] { workspace.reserve(129); }) ==
          "Workspace: cannot grow to 257 bytes while 128 bytes are in use");
    CHECK(workspace.capacity_bytes() == 256);
  }
  CHECK(adr_test::refusal([&] { workspace.reserve(129); }) == "(no error)");
  CHECK(workspace.capacity_bytes() == 256);
  workspace.reserve(4096);
  CHECK(workspace.capacity_bytes() >= 4096);
}

TEST_CASE("Workspace refuses more than the address space") {
  Workspace workspace;
  CHECK_THROWS_AS(workspace.reserve(std::numeric_limits<std::size_t>::max()), std::exception);
  CHECK(workspace.capacity_bytes() == 0);
}
