// The CSV file of a run: a row per epoch.
#pragma once

#include <cstddef>
#include <sstream>
#include <string>

#include "training/csv_file.hpp"
#include "training/epoch_report.hpp"
#include "training/errors.hpp"
#include "training/reuse_options.hpp"

namespace training {

inline std::string csv_header(std::size_t convolution_count) {
  std::string header =
      "epoch,seconds,total_seconds,learning_rate,train_loss,train_accuracy,test_accuracy,"
      "relative_error,remaining_ratio,reuse_rate,config,eval_seconds";
  for (std::size_t i = 1; i <= convolution_count; ++i) {
    for (const char* column :
         {"remaining_ratio", "relative_error", "reuse_rate", "product_reuse_rate", "config",
          "output_error", "rung", "rungs", "budget", "forward_cost", "reason"}) {
      header += message(",conv", i, '_', column);
    }
  }
  return header;
}

inline std::string csv_row(const EpochReport& report) {
  std::ostringstream row;
  row.precision(9);
  row << report.epoch << ',' << report.seconds << ',' << report.total_seconds << ','
      << report.learning_rate << ',' << report.train_loss << ',' << report.train_accuracy << ','
      << report.test_accuracy << ',' << relative_error(report) << ',' << remaining_ratio(report)
      << ',' << reuse_rate(report) << ',' << label(report.plans) << ','
      << report.evaluation_seconds;
  for (std::size_t i = 0; i < report.convolutions.size(); ++i) {
    const adr::Report& stats = report.convolutions[i];
    const adr::Decision& decision = stats.decision;
    row << ',' << stats.remaining_ratio() << ',' << stats.relative_input_error() << ','
        << stats.cluster_reuse_rate() << ',' << stats.product_reuse_rate() << ','
        << adr::label(report.plans[i]) << ',' << stats.relative_output_error() << ','
        << decision.rung << ',' << decision.rungs << ',' << decision.max_error << ','
        << decision.cost << ',' << adr::to_string(decision.reason);
  }
  return row.str();
}

/// Begins, or continues after epochs that a resumed run has done, the CSV file of a run.
inline CsvFile csv_log(const std::string& path, std::size_t convolution_count,
                       index_t epochs_done) {
  return {"--csv", path, csv_header(convolution_count), {epochs_done, epochs_done}};
}

}  // namespace training
