// A CSV file with a row every few steps: the loss, and what each convolution ran with. The plot of
// docs/adaptive.md is made from it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "adr/adapt/reuse_stats.hpp"
#include "training/errors.hpp"
#include "training/layers/conv.hpp"
#include "training/reuse_options.hpp"

namespace training {

class StepTrace {
 public:
  /// Starts the file anew, or keeps the rows up to step kept_steps of a run that is resumed.
  /// Without a path nothing is written. Errors: UserError when the file cannot be written or its
  /// columns are not those of the resumed run.
  StepTrace(const std::string& path, std::size_t convolution_count, index_t kept_steps)
      : path_(path), errors_(convolution_count) {
    if (path.empty()) return;
    std::vector<std::string> lines = {header(convolution_count)};
    if (kept_steps > 0 && std::filesystem::exists(path)) keep_rows(kept_steps, lines);
    file_.open(path, std::ios::trunc);
    for (const std::string& line : lines) {
      file_ << line;
      end_line();
    }
  }

  /// The loss is averaged over the steps since the last row.
  template <class T>
  void append(index_t step, double loss, const std::vector<Conv<T>*>& convolutions) {
    constexpr index_t k_interval = 10;  // the meter's
    if (path_.empty()) return;
    loss_sum_ += loss;
    ++losses_;
    for (std::size_t i = 0; i < errors_.size(); ++i) {
      const adr::ReuseStats& stats = convolutions[i]->stats();
      if (stats.has_output_error()) errors_[i] = stats.relative_output_error();
      if (stats.method == adr::Method::dense) errors_[i] = 0;
    }
    if (step % k_interval != 0) return;
    file_ << step << ',' << loss_sum_ / static_cast<double>(losses_);
    for (std::size_t i = 0; i < convolutions.size(); ++i) {
      const adr::ReuseStats& stats = convolutions[i]->stats();
      const adr::Decision& decision = stats.decision;
      file_ << ',' << adr::label(convolutions[i]->config()) << ',' << decision.rung << ','
            << decision.rungs << ',' << decision.phase << ',' << decision.error_budget << ','
            << errors_[i] << ',' << stats.seconds.total() << ',' << stats.gradient_density;
    }
    end_line();
    loss_sum_ = 0;
    losses_ = 0;
  }

 private:
  static std::string header(std::size_t convolution_count) {
    std::string line = "step,loss";
    for (std::size_t i = 1; i <= convolution_count; ++i) {
      for (const char* column :
           {"config", "rung", "rungs", "phase", "budget", "error", "seconds", "density"}) {
        line += message(",conv", i, '_', column);
      }
    }
    return line;
  }

  /// Adds the rows of the file up to that step to the header.
  void keep_rows(index_t kept_steps, std::vector<std::string>& lines) const {
    std::ifstream file(path_);
    std::string line;
    require(std::getline(file, line) && line == lines.front(), path_,
            ": to be continued, the trace must begin with the columns of this run");
    while (std::getline(file, line) && std::strtoll(line.c_str(), nullptr, 10) <= kept_steps) {
      lines.push_back(line);
    }
  }

  void end_line() {
    file_ << '\n' << std::flush;
    require(file_.good(), "--trace: cannot write to '", path_, "'");
  }

  std::string path_;
  std::ofstream file_;
  double loss_sum_ = 0;
  index_t losses_ = 0;
  std::vector<double> errors_;  ///< the last that was metered, 0 before the first
};

}  // namespace training
