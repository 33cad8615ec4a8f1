// What is known about an epoch when it is over: one row of the CSV file.
#pragma once

#include <string>
#include <vector>

#include "adr/adapt/report.hpp"
#include "training/tensor.hpp"

namespace training {

struct EpochReport {
  index_t epoch = 0;  ///< counted from 1
  double seconds = 0;
  double total_seconds = 0;
  double evaluation_seconds = 0;
  double learning_rate = 0;
  double train_loss = 0;
  double train_accuracy = 0;
  double test_accuracy = 0;
  std::vector<adr::Report> convolutions;  ///< merged over the batches of the epoch
  std::vector<adr::Plan> plans;           ///< in force at the end of the epoch
};

/// The mean of a statistic over the convolutions.
template <class Statistic>
double mean_over_convolutions(const EpochReport& report, Statistic statistic) {
  double sum = 0;
  for (const adr::Report& stats : report.convolutions) sum += statistic(stats);
  return report.convolutions.empty() ? 0.0 : sum / static_cast<double>(report.convolutions.size());
}

inline double remaining_ratio(const EpochReport& report) {
  return mean_over_convolutions(report, [](const auto& s) { return s.remaining_ratio(); });
}
inline double relative_error(const EpochReport& report) {
  return mean_over_convolutions(report, [](const auto& s) { return s.relative_input_error(); });
}
inline double reuse_rate(const EpochReport& report) {
  return mean_over_convolutions(report, [](const auto& s) { return s.cluster_reuse_rate(); });
}

}  // namespace training
