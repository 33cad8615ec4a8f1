// Rounding rows of values that carry their errors on.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "adr/simd/rounding.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/sizes.hpp"

namespace {

namespace simd = adr::simd;
using adr::index_t;
using adr_test::awkward_sizes;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

/// Rows of values, and what they are rounded to one after the other.
template <class T, class B>
std::vector<std::vector<T>> rounded_rows(const std::vector<std::vector<T>>& rows, T unit,
                                         std::uint64_t seed) {
  const auto count = static_cast<index_t>(rows.front().size());
  GuardedBuffer<T> carry(count, Start::misaligned);
  GuardedBuffer<T> rounded(count, Start::misaligned);
  simd::start_carries(seed, 7, count, carry.data());
  std::vector<std::vector<T>> result;
  for (const std::vector<T>& row : rows) {
    simd::round_and_carry<T, B>(row.data(), count, unit, carry.data(), rounded.data());
    result.emplace_back(rounded.data(), rounded.data() + count);
    for (index_t i = 0; i < count; ++i) {
      CHECK((carry(0, i) >= T(-0.5) && carry(0, i) < T(0.5)));
    }
  }
  CHECK(carry.damage() == "");
  CHECK(rounded.damage() == "");
  return result;
}

template <class T>
std::vector<std::vector<T>> normal_rows(index_t row_count, index_t count, Data& data) {
  std::vector<std::vector<T>> rows(static_cast<std::size_t>(row_count));
  for (std::vector<T>& row : rows) {
    for (index_t i = 0; i < count; ++i) {
      row.push_back(data.between(0, 3) == 0 ? T(0) : data.normal<T>());
    }
  }
  return rows;
}

}  // namespace

TEMPLATE_TEST_CASE("values below the unit become that or zero, and no sum of errors reaches it", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const auto check = [&](auto batch) {
    using B = decltype(batch);
    for (const index_t count : awkward_sizes<T>()) {
      for (const T unit : {T(0.3), T(1), T(4)}) {
        INFO(count << " values, unit " << unit << ", registers of " << B::size);
        const auto rows = normal_rows<T>(40, count, data);
        const auto result = rounded_rows<T, B>(rows, unit, 3);
        std::vector<double> sums(static_cast<std::size_t>(count), 0.0);
        bool right = true;
        double worst = 0;
        for (std::size_t r = 0; r < rows.size(); ++r) {
          for (std::size_t i = 0; i < sums.size(); ++i) {
            const T value = rows[r][i];
            const T now = result[r][i];
            if (std::abs(value) >= unit) {
              right = right && now == value;
            } else {
              right =
                  right && (now == T(0) || (value != T(0) && now == std::copysign(unit, value)));
            }
            sums[i] += static_cast<double>(now) - static_cast<double>(value);
            worst = std::max(worst, std::abs(sums[i]));
          }
        }
        CHECK(right);
        CHECK(worst <= static_cast<double>(unit) * 1.0001);
      }
    }
  };
  check(simd::Batch<T>{});
  check(simd::ScalarBatch<T>{});
}

TEMPLATE_TEST_CASE("rounding keeps the mean and has the variance of an independent choice", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr int k_seeds = 4000;
  const T unit = T(1.5);
  const auto rows = normal_rows<T>(6, 5, data);
  std::vector<std::vector<double>> sums(6, std::vector<double>(5, 0.0));
  auto squares = sums;
  for (int seed = 0; seed < k_seeds; ++seed) {
    const auto result =
        rounded_rows<T, simd::Batch<T>>(rows, unit, static_cast<std::uint64_t>(seed));
    for (std::size_t r = 0; r < 6; ++r) {
      for (std::size_t i = 0; i < 5; ++i) {
        const double error = static_cast<double>(result[r][i]) - static_cast<double>(rows[r][i]);
        sums[r][i] += error;
        squares[r][i] += error * error;
      }
    }
  }
  // 6 standard deviations of a mean, of numbers that are at most a unit and of their squares.
  const double u = static_cast<double>(unit);
  const double mean_tolerance = 6 * u / 2 / std::sqrt(double{k_seeds});
  const double variance_tolerance = 6 * u * u / 2 / std::sqrt(double{k_seeds});
  for (std::size_t r = 0; r < 6; ++r) {
    for (std::size_t i = 0; i < 5; ++i) {
      const double size = std::abs(static_cast<double>(rows[r][i]));
      INFO("row " << r << ", value " << rows[r][i]);
      CHECK(std::abs(sums[r][i] / k_seeds) <= mean_tolerance);
      const double expected = size < u ? size * (u - size) : 0.0;
      CHECK(std::abs(squares[r][i] / k_seeds - expected) <= variance_tolerance);
    }
  }
}

TEMPLATE_TEST_CASE("what is not finite, large or zero stays when its neighbours are rounded", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  const T infinity = std::numeric_limits<T>::infinity();
  const T special[] = {std::numeric_limits<T>::quiet_NaN(),
                       infinity,
                       -infinity,
                       T(1e12),
                       T(-3e30),
                       T(0.5),
                       T(-0.5),
                       T(0)};
  const T unit = T(0.5);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::vector<std::vector<T>> rows;
    for (const T value : special) {
      rows.push_back({T(0.2), value, T(-0.3), value, T(0.1), value, value, T(0.4), value, T(0.2),
                      T(-0.1), value, value, value, T(0.3), value, value});
    }
    const auto result = rounded_rows<T, simd::Batch<T>>(rows, unit, seed);
    bool same = true;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (const std::size_t i : {1, 3, 5, 6, 8, 11, 12, 13, 15, 16}) {
        same = same && std::memcmp(&result[r][i], &rows[r][i], sizeof(T)) == 0;
      }
    }
    CHECK(same);
  }
}

TEMPLATE_TEST_CASE("starts are spread evenly and differ from seed to seed", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  constexpr index_t k_count = 4000;
  std::vector<T> carry(static_cast<std::size_t>(k_count)), other(carry);
  simd::start_carries(1, 0, k_count, carry.data());
  simd::start_carries(std::uint64_t{1} << 32, 0, k_count, other.data());
  CHECK(carry != other);
  double sum = 0;
  double squares = 0;
  for (const T value : carry) {
    CHECK((value >= T(-0.5) && value < T(0.5)));
    sum += static_cast<double>(value);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  // A uniform number has a variance of 1 / 12, its square one of 1 / 180.
  CHECK(std::abs(sum / k_count) <= 6 * std::sqrt(1.0 / 12 / k_count));
  CHECK(std::abs(squares / k_count - 1.0 / 12) <= 6 * std::sqrt(1.0 / 180 / k_count));
}
