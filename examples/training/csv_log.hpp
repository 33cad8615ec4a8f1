// The CSV file of a run: a header and one row per epoch, each on disk before the next epoch begins.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

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
      << ',' << reuse_rate(report) << ',' << label(report.configs) << ','
      << report.evaluation_seconds;
  for (std::size_t i = 0; i < report.convolutions.size(); ++i) {
    const adr::ReuseStats& stats = report.convolutions[i];
    const adr::Decision& decision = stats.decision;
    row << ',' << stats.remaining_ratio() << ',' << stats.relative_input_error() << ','
        << stats.cluster_reuse_rate() << ',' << stats.product_reuse_rate() << ','
        << adr::label(report.configs[i]) << ',' << stats.relative_output_error() << ','
        << decision.rung << ',' << decision.rungs << ',' << decision.error_budget << ','
        << decision.cost << ',' << adr::to_string(decision.reason);
  }
  return row.str();
}

class CsvLog {
 public:
  /// Starts the file anew, or keeps the rows of the first kept_epochs of a run that is resumed.
  /// Without a path nothing is written. Errors: UserError when the file cannot be written or its
  /// rows are not those of the resumed run.
  CsvLog(const std::string& path, std::size_t convolution_count, index_t kept_epochs)
      : path_(path) {
    if (path.empty()) return;
    const std::string header = csv_header(convolution_count);
    std::vector<std::string> lines = {header};
    if (kept_epochs > 0 && std::filesystem::exists(path)) lines = rows_to_keep(header, kept_epochs);
    file_.open(path, std::ios::trunc);
    for (const std::string& line : lines) write_line(line);
  }

  void append(const EpochReport& report) {
    if (!path_.empty()) write_line(csv_row(report));
  }

 private:
  [[nodiscard]] std::vector<std::string> rows_to_keep(const std::string& header,
                                                      index_t kept_epochs) const {
    std::ifstream file(path_);
    std::vector<std::string> lines;
    for (std::string line;
         static_cast<index_t>(lines.size()) <= kept_epochs && std::getline(file, line);) {
      lines.push_back(line);
    }
    require(!lines.empty() && lines.front() == header, path_,
            ": to be continued, the CSV file must begin with the columns of this run");
    require(static_cast<index_t>(lines.size()) == kept_epochs + 1, path_,
            ": to be continued, the CSV file must hold the ", kept_epochs,
            " epochs of the checkpoint, got ", lines.size() - 1);
    return lines;
  }

  void write_line(const std::string& line) {
    file_ << line << '\n' << std::flush;
    require(file_.good(), "--csv: cannot write to '", path_, "'");
  }

  std::string path_;
  std::ofstream file_;
};

}  // namespace training
