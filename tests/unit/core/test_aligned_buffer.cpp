#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "adr/core/aligned_buffer.hpp"
#include "support/catch.hpp"

namespace {

using adr::AlignedBuffer;
using adr::index_t;

static_assert(std::is_nothrow_move_constructible_v<AlignedBuffer<float>>);
static_assert(!std::is_copy_constructible_v<AlignedBuffer<float>>);

void fill_with_indices(AlignedBuffer<int>& buffer) {
  for (index_t i = 0; i < buffer.size(); ++i) buffer[i] = static_cast<int>(i);
}

bool holds_indices(const AlignedBuffer<int>& buffer, index_t count) {
  for (index_t i = 0; i < count; ++i) {
    if (buffer[i] != static_cast<int>(i)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("AlignedBuffer begins empty and lies on cache lines") {
  AlignedBuffer<float> empty;
  CHECK(empty.size() == 0);
  CHECK(empty.data() == nullptr);
  CHECK(empty.capacity_bytes() == 0);
  for (const index_t size : {1, 3, 16, 1000}) {
    const AlignedBuffer<float> buffer(size);
    CHECK(buffer.size() == size);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % adr::k_alignment_bytes == 0);
  }
  const AlignedBuffer<float> zero(0);
  CHECK(zero.size() == 0);
}

TEST_CASE("AlignedBuffer keeps its elements when it grows and its memory when it shrinks") {
  AlignedBuffer<int> buffer(5);
  fill_with_indices(buffer);
  buffer.resize(100);
  CHECK(holds_indices(buffer, 5));
  fill_with_indices(buffer);

  const int* place = buffer.data();
  buffer.resize(7);
  CHECK(buffer.size() == 7);
  CHECK(buffer.capacity_bytes() == 100 * sizeof(int));
  buffer.resize(100);
  CHECK(buffer.data() == place);
  CHECK(holds_indices(buffer, 100));

  buffer.reserve(1000);
  CHECK(buffer.size() == 100);
  CHECK(buffer.capacity_bytes() == 1000 * sizeof(int));
  CHECK(holds_indices(buffer, 100));
  buffer.reserve(10);
  CHECK(buffer.capacity_bytes() == 1000 * sizeof(int));

  buffer.clear();
  CHECK(buffer.size() == 0);
  CHECK(buffer.capacity_bytes() == 1000 * sizeof(int));
}

TEST_CASE("AlignedBuffer at least doubles, so that growing one by one is cheap") {
  AlignedBuffer<int> buffer;
  int moves = 0;
  for (index_t size = 1; size <= 1000; ++size) {
    const int* before = buffer.data();
    buffer.resize(size);
    buffer[size - 1] = static_cast<int>(size - 1);
    if (buffer.data() != before) ++moves;
  }
  CHECK(moves <= 11);
  CHECK(holds_indices(buffer, 1000));
}

TEST_CASE("AlignedBuffer assigns a value to all elements") {
  AlignedBuffer<int> buffer(3);
  buffer.assign(50, 7);
  CHECK(buffer.size() == 50);
  for (index_t i = 0; i < 50; ++i) CHECK(buffer[i] == 7);
  buffer.assign(2, 1);
  CHECK(buffer.size() == 2);
  CHECK(buffer[1] == 1);
}

TEST_CASE("AlignedBuffer refuses absurd sizes and stays as it was") {
  AlignedBuffer<double> buffer(4);
  buffer[3] = 5.0;
  CHECK_THROWS_AS(buffer.resize(std::numeric_limits<index_t>::max() / 4), std::overflow_error);
  CHECK_THROWS_AS(buffer.reserve(std::numeric_limits<index_t>::max() / 4), std::overflow_error);
  CHECK(buffer.size() == 4);
  CHECK(buffer[3] == 5.0);
}

TEST_CASE("AlignedBuffer moves its elements") {
  AlignedBuffer<int> buffer(20);
  fill_with_indices(buffer);
  const int* place = buffer.data();
  AlignedBuffer<int> moved(std::move(buffer));
  CHECK(moved.data() == place);
  CHECK(moved.size() == 20);
  CHECK(holds_indices(moved, 20));
  AlignedBuffer<int> assigned(3);
  assigned = std::move(moved);
  CHECK(assigned.data() == place);
  CHECK(holds_indices(assigned, 20));
}

TEST_CASE("AlignedBuffer can be used again after it was moved from") {
  AlignedBuffer<int> buffer(20);
  const AlignedBuffer<int> moved(std::move(buffer));
  CHECK(moved.size() == 20);
  // NOLINTNEXTLINE(bugprone-use-after-move): that is the point
  buffer.resize(10);
  REQUIRE(buffer.data() != nullptr);
  fill_with_indices(buffer);
  CHECK(holds_indices(buffer, 10));
}
