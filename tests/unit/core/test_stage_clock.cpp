#include <chrono>
#include <set>
#include <string>
#include <thread>

#include "adr/core/stage_clock.hpp"
#include "support/catch.hpp"

namespace {

using adr::Stage;
using adr::StageClock;
using adr::StageTimes;
using adr::ThreadStageTimes;

double total(const StageTimes& times) {
  double sum = 0;
  for (int i = 0; i < adr::k_stage_count; ++i) sum += times.seconds(static_cast<Stage>(i));
  return sum;
}

}  // namespace

TEST_CASE("every stage has a name of its own") {
  std::set<std::string> names;
  for (int i = 0; i < adr::k_stage_count; ++i) names.insert(to_string(static_cast<Stage>(i)));
  CHECK(names.size() == static_cast<std::size_t>(adr::k_stage_count));
  CHECK(std::string(to_string(Stage::unfold)) == "unfold");
  CHECK(std::string(to_string(Stage::cluster_reuse)) == "cluster_reuse");
  CHECK(std::string(to_string(Stage::dense)) == "dense");
}

TEST_CASE("StageTimes adds up per stage") {
  StageTimes times;
  CHECK(total(times) == 0);
  times.add(Stage::hash, 1.5);
  times.add(Stage::hash, 0.5);
  times.add(Stage::dense, 4);
  StageTimes other;
  other.add(Stage::hash, 10);
  other.add(Stage::unfold, 7);
  times.add(other);
  CHECK(times.seconds(Stage::hash) == 12);
  CHECK(times.seconds(Stage::dense) == 4);
  CHECK(times.seconds(Stage::unfold) == 7);
  CHECK(total(times) == 23);
}

TEST_CASE("StageClock gives the time since the last call to the stage that finished") {
  using namespace std::chrono_literals;
  StageTimes times;
  StageClock clock(&times);
  std::this_thread::sleep_for(4ms);
  clock.finish(Stage::unfold);
  clock.finish(Stage::hash);
  std::this_thread::sleep_for(2ms);
  clock.finish(Stage::cluster);
  CHECK(times.seconds(Stage::unfold) >= 0.004);
  CHECK(times.seconds(Stage::cluster) >= 0.002);
  CHECK(times.seconds(Stage::hash) >= 0);
  CHECK(times.seconds(Stage::dense) == 0);
}

TEST_CASE("StageClock and ThreadStageTimes do nothing without times") {
  StageClock clock(nullptr);
  clock.finish(Stage::unfold);
  ThreadStageTimes none(nullptr, 4);
  CHECK(none.of(3) == nullptr);
}

TEST_CASE("ThreadStageTimes adds the threads to the total when it ends") {
  StageTimes times;
  times.add(Stage::hash, 1);
  {
    ThreadStageTimes per_thread(&times, 3);
    for (int thread = 0; thread < 3; ++thread) per_thread.of(thread)->add(Stage::hash, 2);
    per_thread.of(1)->add(Stage::gather, 5);
    CHECK(total(times) == 1);
  }
  CHECK(times.seconds(Stage::hash) == 7);
  CHECK(times.seconds(Stage::gather) == 5);
}
