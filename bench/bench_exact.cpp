// Is this library's exact convolution faster than every package? All passes of layers and of whole
// networks in sequence, beside oneDNN, OpenBLAS and Eigen by their own calls, and the goals.
#include <adr/core/context.hpp>
#include <cstdio>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "bench/exact/goals.hpp"
#include "bench/exact/networks.hpp"
#include "bench/exact/physical_limit.hpp"
#include "bench/exact/rows.hpp"
#include "bench/exact/tables.hpp"
#include "bench/support/benchmark_session.hpp"
#include "bench/support/command_line.hpp"
#include "bench/support/machine.hpp"
#include "bench/support/report.hpp"

namespace {

using namespace adr_bench;

/// All sequences, each measured when Google Benchmark asks for its first time.
class ExactSession {
 public:
  ExactSession(const std::vector<std::string>& networks, const CommonOptions& common)
      : contenders_(exact_contenders()),
        sequences_(exact_sequences(networks, common.rounds, common.quick)),
        summaries_(sequences_.size()),
        threads_(common.threads) {}

  /// One benchmark per sequence, pass and contender: exact/vgg19/sequence/64/forward/adr_exact.
  void register_all() {
    for (std::size_t s = 0; s < sequences_.size(); ++s) {
      const Sequence& sequence = sequences_[s];
      for (const LayerPass pass : passes_of(sequence)) {
        for (std::size_t c = 0; c < contenders_.size(); ++c) {
          register_rounds(message("exact/", sequence.network, "/", sequence.name, "/",
                                  sequence.batch, "/", to_string(pass), "/", contenders_[c].name),
                          [this, s, c, pass]() -> const std::vector<double>& {
                            asked_ = summary(s).seconds(c, {std::nullopt, pass});
                            return asked_;
                          });
        }
      }
    }
  }

  /// What was measured.
  [[nodiscard]] std::list<SequenceSummary> summaries() const {
    std::list<SequenceSummary> measured;
    for (const auto& summary : summaries_) {
      if (summary) measured.push_back(*summary);
    }
    return measured;
  }
  [[nodiscard]] const std::vector<ExactContender>& contenders() const { return contenders_; }
  [[nodiscard]] bool has_winograd() const {
    for (const auto& summary : summaries_) {
      for (std::size_t c = 0; summary && c < contenders_.size(); ++c) {
        const bool is_winograd = contenders_[c].name == "onednn_winograd";
        if (is_winograd && !summary->seconds(c, {0, LayerPass::forward}).empty()) return true;
      }
    }
    return false;
  }

 private:
  const SequenceSummary& summary(std::size_t s) {
    if (!summaries_[s]) {
      const Sequence& sequence = sequences_[s];
      std::printf("%s %s, batch %td", sequence.network.c_str(), sequence.name.c_str(),
                  sequence.batch);
      std::fflush(stdout);
      const double start = adr::steady_seconds();
      summaries_[s].emplace(sequence, contenders_,
                            compare_contenders(sequence, contenders_, threads_));
      std::printf(": %zu rounds, %.1f s\n", summaries_[s]->rounds(), adr::steady_seconds() - start);
      std::fflush(stdout);
    }
    return *summaries_[s];
  }

  std::vector<ExactContender> contenders_;
  std::vector<Sequence> sequences_;
  std::vector<std::optional<SequenceSummary>> summaries_;
  int threads_;
  std::vector<double> asked_;
};

void print_header(const nlohmann::json& header, double peak) {
  std::printf(
      "%s\nLayout nhwc, generated data; paired rounds, medians. x is the speed-up over the fastest "
      "fp32 package of\nevery pass, %% the share of the limit: %.0f GF/s of multiply-adds, times "
      "the multiplications that the form saves\n\n",
      to_text(header).c_str(), 1e-9 * peak);
#if defined(ADR_BENCH_HAS_ONEDNN) && !defined(__AVX512F__)
  if (onednn_has(dnnl_cpu_isa_avx512_core)) {
    std::printf(
        "oneDNN uses AVX-512 and this program does not: for goals among equals, set "
        "DNNL_MAX_CPU_ISA=AVX2\nand OPENBLAS_CORETYPE=Haswell\n\n");
  }
#endif
  std::fflush(stdout);
}

void run(const std::vector<std::string>& networks, const CommonOptions& common) {
  ReportFile file(common.json);
  nlohmann::json header = machine(common.threads);
  const double peak = measure_fma_peak() * common.threads;
  header["fma_peak_flops"] = peak;
  if (!common.lists_only()) print_header(header, peak);
  ExactSession session(networks, common);
  session.register_all();
  run_benchmarks("bench_exact", common);

  const std::list<SequenceSummary> summaries = session.summaries();
  if (summaries.empty()) return;  // the benchmarks were only listed
  for (const std::string& network : exact_networks()) {
    for (const SequenceSummary& summary : summaries) {
      if (summary.sequence().network != network) continue;
      print_layers(network, summaries, peak);
      break;
    }
  }
  std::printf("\n");
  const std::vector<Goal> goals = exact_goals(summaries, session.has_winograd());
  print_goals(goals, !common.quick);
  std::vector<Row> rows;
  for (const SequenceSummary& summary : summaries) {
    add_rows(summary, session.contenders(), common.threads, rows);
  }
  nlohmann::json report = make_report(header, rows);
  if (!common.quick) report["goals"] = to_json(goals);
  file.write(report);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> networks;
  return run_program(
      argc, argv, "bench_exact",
      "Times this library's exact convolutions beside the packages by their own calls.",
      [&](CLI::App& app) {
        app.add_option("--network", networks, "Measure these alone, separated by commas")
            ->delimiter(',')
            ->check(CLI::IsMember(exact_networks()));
      },
      [&](const CommonOptions& common) { run(networks, common); });
}
