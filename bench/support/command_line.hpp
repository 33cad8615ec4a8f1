// The flags that all benchmarks share, and the way from a mistake to exit code 2.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "bench/support/user_error.hpp"

namespace adr_bench {

struct CommonOptions {
  std::string json;
  int threads = 1;
  /// Of a program that compares several counts; otherwise `threads` alone.
  std::vector<int> thread_counts = {1};
  int rounds = 7;
  bool quick = false;
  /// Flags for Google Benchmark, without --benchmark_repetitions, which is `rounds`.
  std::vector<std::string> benchmark_flags;

  /// True when a flag of Google Benchmark begins with this.
  [[nodiscard]] bool has_benchmark_flag(const std::string& name) const {
    for (const std::string& flag : benchmark_flags) {
      if (flag.rfind(name, 0) == 0) return true;
    }
    return false;
  }
  /// True when benchmarks are to be listed and not run.
  [[nodiscard]] bool lists_only() const {
    return has_benchmark_flag("--benchmark_list_tests") &&
           !has_benchmark_flag("--benchmark_list_tests=false");
  }
};

/// What --threads takes.
enum class ThreadsFlag { one_count, list_of_counts };

/// Runs a benchmark program: reads the command line, calls body(options), returns the exit code: 0,
/// 1 after a failure, 2 after a mistake of the user, which is told on stderr.
/// add_options(app) adds the program's own flags.
template <class AddOptions, class Body>
int run_program(int argc, char** argv, const std::string& name, const std::string& description,
                const AddOptions& add_options, const Body& body,
                ThreadsFlag threads_flag = ThreadsFlag::one_count) {
  constexpr int k_failure = 1;
  constexpr int k_user_error = 2;
  const bool one_count = threads_flag == ThreadsFlag::one_count;
  CommonOptions options;
#if defined(ADR_OPENMP)
  if (!one_count) options.thread_counts = {1, 2};
#endif
  CLI::App app(description, name);
  app.footer(
      "Flags that begin with --benchmark_ go to Google Benchmark: --benchmark_filter=REGEX,\n"
      "--benchmark_list_tests, --benchmark_out=FILE, ...");
  app.allow_extras();
  app.add_option("--json", options.json, "File for the results");
  (one_count ? app.add_option("--threads", options.threads, "Threads of every contender")
             : app.add_option("--threads", options.thread_counts,
                              "Threads of every contender, counts separated by commas")
                   ->delimiter(','))
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  const CLI::Option* rounds = app.add_option("--benchmark_repetitions", options.rounds,
                                             "Rounds; every contender runs once in each")
                                  ->check(CLI::Range(1, 1024))
                                  ->capture_default_str();
  app.add_flag("--quick", options.quick,
               "Small shapes and 2 rounds: shows that it works, not how fast");
  add_options(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : k_user_error;
  }
  try {
    if (options.quick && rounds->count() == 0) options.rounds = 2;
    options.benchmark_flags = app.remaining();
    for (const std::string& flag : options.benchmark_flags) {
      require(flag.rfind("--benchmark_", 0) == 0 || flag.rfind("--v=", 0) == 0,
              "unknown argument: ", flag, " (--help lists what there is)");
    }
    if (one_count) options.thread_counts = {options.threads};
#if !defined(ADR_OPENMP)
    for (const int threads : options.thread_counts) {
      require(threads == 1, "--threads must be 1 in a build without ADR_OPENMP, got ", threads);
    }
#endif
    body(options);
  } catch (const UserError& error) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
    return k_user_error;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
    return k_failure;
  }
  return 0;
}

}  // namespace adr_bench
