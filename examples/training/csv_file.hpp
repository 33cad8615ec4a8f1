// A CSV file that grows by a row at a time, each on disk before the next is computed, and that goes
// on where a resumed run left off.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "training/errors.hpp"
#include "training/tensor.hpp"

namespace training {

/// The rows of a run that is resumed: those whose first column, an epoch or a step, is at most
/// `last`, and how many there must be.
struct KeptRows {
  index_t last = 0;
  index_t count = 0;
};

class CsvFile {
 public:
  /// Starts the file anew, with the rows to keep where there is one. Without a path nothing is
  /// written. option: where the path comes from, for messages. Errors: UserError when the file
  /// cannot be written, begins with another header or lacks rows; it is left as it is then.
  CsvFile(std::string option, std::string path, const std::string& header, const KeptRows& kept)
      : option_(std::move(option)), path_(std::move(path)) {
    if (path_.empty()) return;
    std::vector<std::string> rows;
    if (kept.last > 0 && std::filesystem::exists(path_)) rows = rows_to_keep(header, kept);
    file_.open(path_, std::ios::trunc);
    append(header);
    for (const std::string& row : rows) append(row);
  }

  [[nodiscard]] bool is_open() const { return file_.is_open(); }

  void append(const std::string& row) {
    if (path_.empty()) return;
    file_ << row << '\n' << std::flush;
    require(file_.good(), option_, ": cannot write to '", path_, "'");
  }

 private:
  [[nodiscard]] std::vector<std::string> rows_to_keep(const std::string& header,
                                                      const KeptRows& kept) const {
    std::ifstream file(path_);
    std::string line;
    require(std::getline(file, line) && line == header, option_, ": to be continued, '", path_,
            "' must begin with the columns of this run");
    std::vector<std::string> rows;
    while (std::getline(file, line) && std::strtoll(line.c_str(), nullptr, 10) <= kept.last) {
      rows.push_back(line);
    }
    require(static_cast<index_t>(rows.size()) == kept.count, option_, ": to be continued, '", path_,
            "' must hold the ", kept.count, " rows up to the checkpoint, got ", rows.size());
    return rows;
  }

  std::string option_;
  std::string path_;
  std::ofstream file_;
};

}  // namespace training
