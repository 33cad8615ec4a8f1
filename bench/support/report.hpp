// The results as JSON: one object with the machine and a list of rows, one row per measured thing.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "bench/support/statistics.hpp"
#include "bench/support/user_error.hpp"

namespace adr_bench {

/// One measured thing. What does not apply stays empty and is null in the file.
struct Row {
  std::string bench;
  nlohmann::json shape;  ///< {n, k, m}, for a layer {layer, layout, n, k, m}
  std::string pass;
  std::string engine;
  std::string config;
  int threads = 1;
  std::vector<double> seconds;  ///< one per round
  std::optional<double> speedup_vs_best_dense;
  std::optional<double> relative_error;
  std::optional<double> remaining_ratio;
  std::optional<std::size_t> workspace_bytes;
  nlohmann::json extra = nlohmann::json::object();  ///< fields of one benchmark alone
};

template <class T>
nlohmann::json json_or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

inline nlohmann::json to_json(const Row& row) {
  nlohmann::json json = row.extra;
  json["bench"] = row.bench;
  json["shape"] = row.shape;
  json["pass"] = row.pass;
  json["engine"] = row.engine;
  json["config"] = row.config;
  json["threads"] = row.threads;
  json["seconds_median"] = median(row.seconds);
  json["seconds_least"] = least(row.seconds);
  json["seconds_most"] = most(row.seconds);
  json["speedup_vs_best_dense"] = json_or_null(row.speedup_vs_best_dense);
  json["relative_error"] = json_or_null(row.relative_error);
  json["remaining_ratio"] = json_or_null(row.remaining_ratio);
  json["workspace_bytes"] = json_or_null(row.workspace_bytes);
  return json;
}

/// Five digits of what was measured; counts stay.
inline nlohmann::json rounded(nlohmann::json value) {
  if (value.is_number_float()) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.5g", value.get<double>());
    return std::strtod(digits, nullptr);
  }
  if (value.is_structured()) {
    for (auto& element : value) element = rounded(element);
  }
  return value;
}

/// The elements of a list have a line each, so that files can be searched and compared.
inline std::string text_of(const nlohmann::json& report) {
  const nlohmann::json all = rounded(report);
  std::string text = "{";
  for (const auto& [key, value] : all.items()) {
    if (text.size() > 1) text += ',';
    text += '\n' + nlohmann::json(key).dump() + ": ";
    if (!value.is_array() || value.empty()) {
      text += value.dump();
      continue;
    }
    char before = '[';
    for (const auto& element : value) {
      text += before + ('\n' + element.dump());
      before = ',';
    }
    text += "\n]";
  }
  return text + "\n}\n";
}

/// A file that appears under its name when it is complete and not before: the text goes to a
/// neighbouring file that is renamed at the end. Opened before the measurements, so that a name
/// that cannot be written is refused at once and not after minutes.
class ReportFile {
 public:
  /// Errors: UserError when the file cannot be written. An empty path writes nothing.
  explicit ReportFile(const std::string& path) : path_(path), partial_(path + ".partial") {
    if (path.empty()) return;
    const auto there = std::filesystem::symlink_status(path);
    require(!std::filesystem::exists(there) || std::filesystem::is_regular_file(there), "--json: '",
            path, "' is no regular file: nothing else is replaced");
    file_.open(partial_);
    require(file_.good(), "--json: cannot write '", path, "'");
  }
  ~ReportFile() {
    if (!file_.is_open()) return;
    file_.close();
    std::remove(partial_.c_str());
  }
  ReportFile(const ReportFile&) = delete;
  ReportFile& operator=(const ReportFile&) = delete;

  void write(const nlohmann::json& report) {
    if (!file_.is_open()) return;
    file_ << text_of(report) << std::flush;
    require(file_.good(), "--json: cannot write '", path_, "'");
    file_.close();
    std::error_code failure;
    std::filesystem::rename(partial_, path_, failure);
    if (failure) std::remove(partial_.c_str());
    require(!failure, "--json: cannot write '", path_, "': ", failure.message());
    std::printf("\nResults: %s\n", path_.c_str());
  }

 private:
  std::string path_;
  std::string partial_;
  std::ofstream file_;
};

/// The whole report: {"machine": ..., "rows": [...]}.
inline nlohmann::json make_report(const nlohmann::json& machine, const std::vector<Row>& rows) {
  nlohmann::json report;
  report["machine"] = machine;
  report["rows"] = nlohmann::json::array();
  for (const Row& row : rows) report["rows"].push_back(to_json(row));
  return report;
}

}  // namespace adr_bench
