// A CSV file with a row every few steps: the loss, and what each convolution ran with. The plot of
// docs/adaptive.md is made from it.
#pragma once

#include <cstddef>
#include <sstream>
#include <string>
#include <vector>

#include "adr/adapt/report.hpp"
#include "training/csv_file.hpp"
#include "training/layers/conv.hpp"
#include "training/reuse_options.hpp"

namespace training {

class StepTrace {
 public:
  /// Begins the file, or continues it after steps that a resumed run has done; see CsvFile.
  StepTrace(const std::string& path, std::size_t convolution_count, index_t steps_done)
      : file_("--trace", path, header(convolution_count), {steps_done, steps_done / k_interval}),
        errors_(convolution_count) {}

  /// The loss is averaged over the steps since the last row.
  template <class T>
  void append(index_t step, double loss, const std::vector<Conv<T>*>& convolutions) {
    if (!file_.is_open()) return;
    loss_sum_ += loss;
    ++losses_;
    for (std::size_t i = 0; i < errors_.size(); ++i) {
      const adr::Report& stats = convolutions[i]->report();
      if (stats.has_output_error()) errors_[i] = stats.relative_output_error();
      if (stats.method == adr::Method::exact) errors_[i] = 0;
    }
    if (step % k_interval != 0) return;
    std::ostringstream row;
    row << step << ',' << loss_sum_ / static_cast<double>(losses_);
    for (std::size_t i = 0; i < convolutions.size(); ++i) {
      const adr::Report& stats = convolutions[i]->report();
      const adr::Decision& decision = stats.decision;
      row << ',' << adr::label(convolutions[i]->plan()) << ',' << decision.rung << ','
          << decision.rungs << ',' << decision.phase << ',' << decision.max_error << ','
          << errors_[i] << ',' << stats.seconds.total() << ',' << stats.gradient_density;
    }
    file_.append(row.str());
    loss_sum_ = 0;
    losses_ = 0;
  }

 private:
  static constexpr index_t k_interval = 10;  // the meter's

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

  CsvFile file_;
  double loss_sum_ = 0;
  index_t losses_ = 0;
  std::vector<double> errors_;  ///< the last that was metered, 0 before the first
};

}  // namespace training
