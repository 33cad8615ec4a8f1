// Waits between tries that grow.
#include "adr/adapt/growing_interval.hpp"
#include "support/catch.hpp"

using adr::GrowingInterval;

TEST_CASE("Intervals double up to the longest, and begin again") {
  GrowingInterval interval(50, 300);
  CHECK_FALSE(interval.is_longest());
  CHECK(interval.take() == 50);
  CHECK(interval.take() == 100);
  CHECK(interval.take() == 200);
  CHECK(interval.is_longest());
  CHECK(interval.take() == 300);
  CHECK(interval.take() == 300);
  interval.restart();
  CHECK(interval.take() == 50);
}

TEST_CASE("A first interval above the longest is taken once") {
  GrowingInterval interval(80, 30);
  CHECK(interval.is_longest());
  CHECK(interval.take() == 80);
  CHECK(interval.take() == 30);
}
