// The tests' own tools: a comparison that overlooks errors would make every other test worthless.
#include <cstring>
#include <limits>

#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/sizes.hpp"
#include "support/tolerance.hpp"

namespace {

using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::index_t;
using adr_test::Start;

/// Compares dot products in T with their references, one of them changed by a multiple of its
/// tolerance.
template <class T>
std::string fault_after_corruption(Data& data, index_t terms, double tolerances) {
  Comparison comparison;
  constexpr index_t k_results = 20;
  for (index_t i = 0; i < k_results; ++i) {
    T result = 0;
    double reference = 0;
    double magnitude = 0;
    for (index_t k = 0; k < terms; ++k) {
      const T x = data.normal<T>();
      const T y = data.normal<T>();
      result += x * y;
      reference += static_cast<double>(x) * static_cast<double>(y);
      magnitude += std::abs(static_cast<double>(x) * static_cast<double>(y));
    }
    const double tolerance = adr_test::sum_tolerance<T>(terms, magnitude);
    const double corruption = i == k_results / 2 ? tolerances * tolerance : 0;
    comparison.expect(static_cast<double>(result) + corruption, reference, tolerance);
  }
  return comparison.fault();
}

}  // namespace

TEMPLATE_TEST_CASE("Comparison accepts rounding and catches one corrupted element", "",
                   ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for (const index_t terms : {1, 2, 31, 100, 1000}) {
    INFO("terms " << terms);
    CHECK(fault_after_corruption<TestType>(data, terms, 0) == "");
    CHECK(fault_after_corruption<TestType>(data, terms, 10) != "");
    CHECK(fault_after_corruption<TestType>(data, terms, -10) != "");
  }
}

TEST_CASE("Comparison refuses tolerances that nothing can exceed") {
  Comparison comparison;
  comparison.expect(1.0, 1.0, 2.0);
  comparison.expect(-1.5, -1.5, 0.1);
  CHECK_THAT(comparison.fault(), adr_test::contains("vacuous"));
}

TEST_CASE("Comparison takes exact results without tolerance and all zeros") {
  Comparison comparison;
  CHECK(comparison.fault() == "");
  comparison.expect(0.0, 0.0, 0.0);
  CHECK(comparison.fault() == "");
  comparison.expect(0.0, std::numeric_limits<double>::denorm_min(), 0.0);
  CHECK(comparison.fault() != "");
}

TEST_CASE("Comparison takes a NaN for an error on either side") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Comparison actual;
  actual.expect(1.0, 1.0, 0.1);
  actual.expect(nan, 1.0, 0.1);
  CHECK_THAT(actual.fault(), adr_test::contains("element 1 is nan"));
  Comparison expected;
  expected.expect(1.0, nan, 0.1);
  CHECK(expected.fault() != "");
}

TEMPLATE_TEST_CASE("GuardedBuffer sees writes before, behind and between its rows", "", float,
                   double, std::int32_t, std::uint64_t) {
  for (const Start start : {Start::aligned, Start::misaligned}) {
    GuardedBuffer<TestType> buffer(3, 5, 7, start);
    for (index_t i = 0; i < 3; ++i) {
      for (index_t j = 0; j < 5; ++j) buffer(i, j) = TestType(1);
    }
    CHECK(buffer.damage() == "");
    const auto damaged_by_write_at = [&](index_t offset) {
      TestType kept;
      std::memcpy(&kept, buffer.data() + offset, sizeof(kept));
      buffer.data()[offset] = TestType(0);
      const std::string damage = buffer.damage();
      std::memcpy(buffer.data() + offset, &kept, sizeof(kept));
      return damage;
    };
    CHECK(damaged_by_write_at(-1) == "1 elements before the buffer was written");
    CHECK(damaged_by_write_at(5) == "the gap behind row 0, column 5, was written");
    CHECK(damaged_by_write_at(20) == "the gap behind row 2, column 6, was written");
    CHECK(damaged_by_write_at(21) == "1 elements behind the buffer was written");
    CHECK(damaged_by_write_at(0) == "");
    CHECK(buffer.damage() == "");
  }
}

TEMPLATE_TEST_CASE("GuardedBuffer sees arithmetic on poison and copies of poison", "",
                   ADR_TEST_ELEMENTS) {
  GuardedBuffer<TestType> buffer(2, 3, 4);
  GuardedBuffer<TestType> other(2, 3, 4);
  buffer.data()[3] += other.data()[3];
  CHECK(buffer.damage() != "");
  GuardedBuffer<TestType> copied(2, 3, 4);
  std::memcpy(copied.data() + 3, other.data() + 3, sizeof(TestType));
  CHECK(copied.damage() != "");
}

TEMPLATE_TEST_CASE("GuardedBuffer starts where it is told to", "", ADR_TEST_ELEMENTS) {
  for (const index_t cols : {0, 1, 17}) {
    const GuardedBuffer<TestType> aligned(2, cols, cols);
    const GuardedBuffer<TestType> misaligned(2, cols, cols, Start::misaligned);
    CHECK(reinterpret_cast<std::uintptr_t>(aligned.data()) % 64 == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(misaligned.data()) % 64 == sizeof(TestType));
  }
}

TEST_CASE("awkward_sizes holds each size once and both sides of the register width") {
  const auto sizes = adr_test::awkward_sizes<float>();
  const index_t width = adr::simd::Batch<float>::size;
  for (const index_t size : {index_t{0}, index_t{1}, width - 1, width, width + 1, 2 * width - 1}) {
    CHECK(std::count(sizes.begin(), sizes.end(), size) == 1);
  }
  CHECK(sizes.front() == 0);
}

TEST_CASE("Data repeats its numbers") {
  Data a;
  Data b;
  CHECK(a.normals<double>(5) == b.normals<double>(5));
  for (int i = 0; i < 100; ++i) {
    const index_t number = a.between(-2, 3);
    CHECK((number >= -2 && number <= 3));
  }
}
