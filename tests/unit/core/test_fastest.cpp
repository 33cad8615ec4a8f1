// The fastest of several ways: what runs how often, and which one is kept.
#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

#include "adr/core/fastest.hpp"
#include "support/catch.hpp"

namespace {

/// Ways that take the given seconds on a clock that they move, the first run of each something
/// more.
struct Ways {
  explicit Ways(std::vector<double> their_seconds, double their_warm_up = 0)
      : seconds(std::move(their_seconds)), warm_up(their_warm_up), runs(seconds.size()) {}

  std::size_t fastest() {
    return adr::detail::fastest_of(
        seconds.size(), [&] { return now; },
        [&](std::size_t way) { now += seconds[way] + (runs[way]++ == 0 ? warm_up : 0); });
  }

  std::vector<double> seconds;
  double warm_up;
  std::vector<int> runs;
  double now = 0;
};

}  // namespace

TEST_CASE("fastest_of runs again what can still be the fastest") {
  Ways ways({1.5, 2, 1, 1.05});
  CHECK(ways.fastest() == 2);
  CHECK(ways.runs == std::vector<int>{2, 1, 3, 3});
}

TEST_CASE("fastest_of ends when one way is left") {
  Ways at_once({1, 2, 3});
  CHECK(at_once.fastest() == 0);
  CHECK(at_once.runs == std::vector<int>{1, 1, 1});
  Ways after_two({1.5, 1});
  CHECK(after_two.fastest() == 1);
  CHECK(after_two.runs == std::vector<int>{2, 2});
}

TEST_CASE("fastest_of keeps the first of equals") {
  Ways ways({1, 1});
  CHECK(ways.fastest() == 0);
  CHECK(ways.runs == std::vector<int>{3, 3});
}

TEST_CASE("fastest_of does not count what warms up") {
  Ways ways({1, 0.25}, 2);
  CHECK(ways.fastest() == 1);
  CHECK(ways.runs == std::vector<int>{2, 2});
}

TEST_CASE("fastest_of has no need to run the only way, nor any without a clock") {
  const auto refuse = [](std::size_t) { throw std::logic_error("was run"); };
  CHECK(adr::detail::fastest_of(1, adr::steady_seconds, refuse) == 0);
  CHECK(adr::detail::fastest_of(2, {}, refuse) == 0);
}
