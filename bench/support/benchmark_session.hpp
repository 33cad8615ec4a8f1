// The bridge to Google Benchmark: its flags, filters, statistics and output files apply to
// everything that is measured here. Accepts versions 1.7 to 1.9.
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/command_line.hpp"
#include "bench/support/user_error.hpp"

namespace adr_bench {

/// Registers a benchmark whose times are the rounds of a paired comparison (paired_rounds.hpp):
/// Google Benchmark's own repetitions come one benchmark after the other, or in random order over
/// all of them with all their data in memory, and cannot be paired. seconds() is called when the
/// benchmark is run, so that a filter decides what is measured at all; what it returns may be
/// empty.
inline void register_rounds(const std::string& name,
                            std::function<const std::vector<double>&()> seconds) {
  auto repetition = std::make_shared<std::size_t>(0);
  benchmark::RegisterBenchmark(name.c_str(),
                               [seconds = std::move(seconds), repetition](benchmark::State& state) {
                                 const std::vector<double>& rounds = seconds();
                                 if (rounds.empty()) {
                                   state.SkipWithError("there is no such kernel");
                                   return;
                                 }
                                 for (auto _ : state)
                                   state.SetIterationTime(rounds[(*repetition)++ % rounds.size()]);
                               })
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

/// Seconds per iteration of every repetition, by benchmark.
using MeasuredSeconds = std::map<std::string, std::vector<double>>;

namespace detail {

/// Keeps the times. Prints nothing, because the programs print tables of their own, unless the user
/// asked for a format of Google Benchmark's.
class CollectingReporter : public benchmark::BenchmarkReporter {
 public:
  explicit CollectingReporter(bool print)
      : printer_(print ? benchmark::CreateDefaultDisplayReporter() : nullptr) {}

  bool ReportContext(const Context& context) override {
    return printer_ == nullptr || printer_->ReportContext(context);
  }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration || run.iterations == 0) continue;
      seconds_[run.run_name.function_name].push_back(run.real_accumulated_time /
                                                     static_cast<double>(run.iterations));
    }
    if (printer_ != nullptr) printer_->ReportRuns(runs);
  }
  void Finalize() override {
    if (printer_ != nullptr) printer_->Finalize();
  }

  [[nodiscard]] const MeasuredSeconds& seconds() const noexcept { return seconds_; }

 private:
  benchmark::BenchmarkReporter* printer_;  // owned by Google Benchmark
  MeasuredSeconds seconds_;
};

}  // namespace detail

/// Runs the registered benchmarks that the flags select. Errors: UserError for a flag that Google
/// Benchmark does not know and when nothing is selected.
inline MeasuredSeconds run_benchmarks(const std::string& program, const CommonOptions& options) {
  std::vector<std::string> arguments = {program};
  arguments.insert(arguments.end(), options.benchmark_flags.begin(), options.benchmark_flags.end());
  arguments.push_back(message("--benchmark_repetitions=", options.rounds));
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int argc = static_cast<int>(arguments.size());
  benchmark::Initialize(&argc, argv.data());
  require(argc == 1, "Google Benchmark does not know ", argc > 1 ? argv[1] : "");
  detail::CollectingReporter reporter(options.has_benchmark_flag("--benchmark_format"));
  const std::size_t selected = benchmark::RunSpecifiedBenchmarks(&reporter);
  require(selected > 0, "no benchmark was selected; --benchmark_list_tests lists them");
  return reporter.seconds();
}

}  // namespace adr_bench
