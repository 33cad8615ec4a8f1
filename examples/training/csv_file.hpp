// A CSV file that grows by a row at a time, each on disk before the next is computed, and that goes
// on where a resumed run left off.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>
#include <utility>

#include "training/errors.hpp"
#include "training/replaced_file.hpp"
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
    if (kept.last > 0 && std::filesystem::exists(path_)) {
      keep_rows(header, kept);
      file_.open(path_, std::ios::app);
    } else {
      file_.open(path_, std::ios::trunc);
      append(header);
    }
  }

  [[nodiscard]] bool is_open() const { return file_.is_open(); }

  void append(const std::string& row) {
    if (path_.empty()) return;
    file_ << row << '\n' << std::flush;
    require_written(file_.good());
  }

 private:
  void require_written(bool written) const {
    require(written, option_, ": cannot write to '", path_, "'");
  }

  /// Leaves the rows to keep in the file, or the file as it is.
  void keep_rows(const std::string& header, const KeptRows& kept) const {
    std::ifstream file(path_);
    std::string line;
    require(std::getline(file, line) && line == header, option_, ": to be continued, '", path_,
            "' must begin with the columns of this run");
    std::string rows = header + '\n';
    index_t count = 0;
    while (std::getline(file, line) && std::strtoll(line.c_str(), nullptr, 10) <= kept.last) {
      rows += line + '\n';
      ++count;
    }
    require(count == kept.count, option_, ": to be continued, '", path_, "' must hold the ",
            kept.count, " rows up to the checkpoint, got ", count);
    require_written(replace_file(path_, [&](std::ostream& to) { to << rows; }));
  }

  std::string option_;
  std::string path_;
  std::ofstream file_;
};

}  // namespace training
