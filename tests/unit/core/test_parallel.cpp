#include <atomic>
#include <stdexcept>
#include <vector>

#include "adr/core/parallel.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

namespace {

using adr::index_t;

}  // namespace

TEST_CASE("partition covers every index once in order and evenly") {
  for (const index_t count : {0, 1, 2, 3, 7, 8, 9, 64, 97, 1000}) {
    for (const index_t parts : {1, 2, 3, 4, 7, 8, 16}) {
      index_t next = 0;
      bool consecutive = true;
      bool even = true;
      for (index_t part = 0; part < parts; ++part) {
        const adr::IndexRange range = adr::partition(count, parts, part);
        consecutive = consecutive && range.first == next && range.last >= range.first;
        even = even && range.size() >= count / parts && range.size() <= count / parts + 1;
        next = range.last;
      }
      INFO(count << " in " << parts << " parts");
      CHECK(consecutive);
      CHECK(even);
      CHECK(next == count);
    }
  }
}

TEST_CASE("parallel_for visits every index once with a thread below the thread count") {
  for (const int threads : {1, 2, 3, 8}) {
    for (const index_t count : {0, 1, 2, 7, 100}) {
      INFO(count << " tasks on " << threads << " threads");
      std::vector<int> visits(static_cast<std::size_t>(count));
      std::atomic<int> wrong_threads{0};
      adr::parallel_for(count, threads, [&](index_t i, int thread) {
        ++visits[static_cast<std::size_t>(i)];
        if (thread < 0 || thread >= threads) ++wrong_threads;
      });
      CHECK(visits == std::vector<int>(static_cast<std::size_t>(count), 1));
      CHECK(wrong_threads == 0);
    }
  }
}

TEST_CASE("parallel_for never runs two tasks with the same thread number at once") {
  constexpr int k_threads = 4;
  std::atomic<int> running[k_threads] = {};
  std::atomic<int> clashes{0};
  adr::parallel_for(500, k_threads, [&](index_t, int thread) {
    if (running[thread].fetch_add(1) != 0) ++clashes;
    running[thread].fetch_sub(1);
  });
  CHECK(clashes == 0);
}

TEST_CASE("parallel_for rethrows what a task throws") {
  for (const int threads : {1, 2, 8}) {
    INFO(threads << " threads");
    CHECK(adr_test::message_of<std::runtime_error>([&] {
            adr::parallel_for(20, threads, [](index_t i, int) {
              if (i == 13) throw std::runtime_error("task 13");
            });
          }) == "task 13");
    CHECK(adr_test::message_of<std::runtime_error>([&] {
            adr::parallel_for(20, threads,
                              [](index_t, int) { throw std::runtime_error("every task"); });
          }) == "every task");
  }
}

TEST_CASE("max_threads asks for at least one thread") { CHECK(adr::max_threads() >= 1); }
