// Times several ways to do the same work so that they can be compared on a machine that is not
// quiet.
//
// Every round runs every contender once, one right after the other, so that all of them see the
// same disturbances; ratios are taken within a round (statistics.hpp).
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace adr_bench {

struct Contender {
  std::string name;
  std::function<void()> prepare;  ///< before every run, not timed: sets threads
  std::function<void()> run;
  std::function<void()> inspect;  ///< after the first run, not timed: measures the error
  int threads = 1;
};

/// How often contenders are compared: at least `least` times, then on until `seconds` have passed
/// or there are `most` rounds.
struct Rounds {
  int least = 1;
  int most = 1;
  double seconds = 0;
};

/// Runs every contender once to warm up, then in turn, round after round. Returns the seconds of
/// every round, one list per contender.
inline std::vector<std::vector<double>> paired_rounds(const std::vector<Contender>& contenders,
                                                      const Rounds& rounds) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  constexpr std::chrono::milliseconds k_pause(50);
  std::vector<std::vector<double>> seconds(contenders.size());
  bool others_spin = false;
  for (const Contender& contender : contenders) {
    if (contender.prepare) contender.prepare();
    contender.run();
    if (contender.inspect) contender.inspect();
    others_spin = contender.threads > 1;
  }
  const Clock::time_point first_round = Clock::now();
  for (int round = 0;
       round < rounds.least || (round < rounds.most && seconds_since(first_round) < rounds.seconds);
       ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      // Another one begins in every round, so that none always follows the same neighbour's caches.
      const std::size_t turn = (i + static_cast<std::size_t>(round)) % contenders.size();
      const Contender& contender = contenders[turn];
      if (contender.prepare) contender.prepare();
      // The threads of the contender before keep spinning on their cores for some milliseconds.
      if (others_spin) std::this_thread::sleep_for(k_pause);
      others_spin = contender.threads > 1;
      const Clock::time_point start = Clock::now();
      contender.run();
      seconds[turn].push_back(seconds_since(start));
    }
  }
  return seconds;
}

/// The same with a fixed number of rounds.
inline std::vector<std::vector<double>> paired_rounds(const std::vector<Contender>& contenders,
                                                      int rounds) {
  return paired_rounds(contenders, Rounds{rounds, rounds, 0});
}

}  // namespace adr_bench
