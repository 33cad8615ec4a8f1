#include <algorithm>
#include <cmath>

#include "adr/core/random.hpp"
#include "support/catch.hpp"

namespace {

using adr::index_t;
using adr::Random;

}  // namespace

// The expected numbers come from an independent implementation of xoshiro256** seeded by
// splitmix64.
TEST_CASE("Random gives the bits of xoshiro256 starstar") {
  Random random(1);
  CHECK(random.state().words[0] == 0x910a2dec89025cc1u);
  CHECK(random.state().words[1] == 0xbeeb8da1658eec67u);
  CHECK(random.state().words[2] == 0xf893a2eefb32555eu);
  CHECK(random.state().words[3] == 0x71c18690ee42c90bu);
  CHECK(random.bits() == 0xb3f2af6d0fc710c5u);
  CHECK(random.bits() == 0x853b559647364ceau);
  CHECK(random.bits() == 0x92f89756082a4514u);
  CHECK(random.bits() == 0x642e1c7bc266a3a7u);
  CHECK(random.bits() == 0xb27a48e29a233673u);
  CHECK(random.bits() == 0x24c123126ffda722u);
  CHECK(Random(0).bits() == 0x99ec5f36cb75f2b4u);
}

TEST_CASE("Random derives the same numbers from the bits everywhere") {
  Random uniform(1);
  CHECK(uniform.uniform() == 0x1.67e55eda1f8e2p-1);
  CHECK(uniform.uniform() == 0x1.0a76ab2c8e6c9p-1);
  Random integer(1);
  for (const index_t expected : {557, 522, 900, 383}) CHECK(integer.below(1000) == expected);
  Random normal(1);
  for (const double expected : {-0x1.99816e66p-1, 0x1.4d4d38fep+0, 0x1.19c8f07cp-1,
                                -0x1.42434418p-2, 0x1.7be40f2cp-2, -0x1.6b4e04p-9}) {
    CHECK(normal.normal() == expected);
  }
}

TEST_CASE("Random continues from a saved state") {
  Random random(7);
  for (int i = 0; i < 5; ++i) random.bits();
  Random resumed(random.state());
  for (int i = 0; i < 5; ++i) CHECK(resumed.bits() == random.bits());
}

TEST_CASE("Random uniform stays in its range and has its moments") {
  Random random(3);
  constexpr int k_count = 100000;
  double sum = 0;
  double sum_of_squares = 0;
  bool inside = true;
  for (int i = 0; i < k_count; ++i) {
    const double x = random.uniform();
    inside = inside && x >= 0 && x < 1;
    sum += x;
    sum_of_squares += x * x;
  }
  CHECK(inside);
  // Five standard deviations of the means of x and x^2.
  CHECK_THAT(sum / k_count, Catch::Matchers::WithinAbs(1.0 / 2, 5 * std::sqrt(1.0 / 12 / k_count)));
  CHECK_THAT(sum_of_squares / k_count,
             Catch::Matchers::WithinAbs(1.0 / 3, 5 * std::sqrt(4.0 / 45 / k_count)));
}

TEST_CASE("Random normal has the moments of the normal distribution") {
  Random random(4);
  constexpr int k_count = 100000;
  double power_sums[5] = {};
  double largest = 0;
  for (int i = 0; i < k_count; ++i) {
    const double x = random.normal();
    double power = 1;
    for (double& sum : power_sums) {
      sum += power;
      power *= x;
    }
    largest = std::max(largest, std::abs(x));
  }
  const auto moment = [&](int n) { return power_sums[n] / k_count; };
  const auto deviations = [](double count, double variance) {
    return count * std::sqrt(variance / k_count);
  };
  CHECK_THAT(moment(1), Catch::Matchers::WithinAbs(0, deviations(5, 1)));
  CHECK_THAT(moment(2), Catch::Matchers::WithinAbs(1, deviations(5, 2)));
  CHECK_THAT(moment(3), Catch::Matchers::WithinAbs(0, deviations(5, 15)));
  // The sum of 12 uniforms has excess kurtosis -0.1.
  CHECK_THAT(moment(4), Catch::Matchers::WithinAbs(2.9, deviations(5, 96)));
  CHECK(largest <= 6);
  CHECK(largest > 3);
}

TEST_CASE("Random below gives every number below the bound about equally often") {
  Random random(5);
  constexpr int k_count = 70000;
  for (int i = 0; i < 100; ++i) CHECK(random.below(1) == 0);
  int hits[7] = {};
  int outside = 0;
  for (int i = 0; i < k_count; ++i) {
    const index_t number = random.below(7);
    if (number >= 0 && number < 7) {
      ++hits[number];
    } else {
      ++outside;
    }
  }
  CHECK(outside == 0);
  const double deviation = std::sqrt(k_count * (1.0 / 7) * (6.0 / 7));
  for (const int count : hits) {
    CHECK_THAT(count, Catch::Matchers::WithinAbs(k_count / 7.0, 5 * deviation));
  }
}

TEST_CASE("Random seeds give different numbers") {
  Random a(1);
  Random b(2);
  int equal = 0;
  for (int i = 0; i < 100; ++i) equal += a.bits() == b.bits() ? 1 : 0;
  CHECK(equal == 0);
}
