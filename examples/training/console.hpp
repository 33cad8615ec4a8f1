// What a run prints: a line per epoch, a table of layer times on request, and one line of summary.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "training/epoch_report.hpp"
#include "training/network.hpp"

namespace training {

inline void print_epoch(const EpochReport& report, index_t last_epoch) {
  std::printf("epoch %td/%td  %.1f s  loss %.4f  train accuracy %.2f %%  test accuracy %.2f %%",
              report.epoch, last_epoch, report.seconds, report.train_loss,
              100 * report.train_accuracy, 100 * report.test_accuracy);
  if (remaining_ratio(report) < 1) {
    std::printf("  r_c %.4f  input error %.3f", remaining_ratio(report), relative_error(report));
  }
  std::printf("\n");
  std::fflush(stdout);
}

inline void print_layer_times(const std::vector<LayerTime>& times) {
  double total = 0;
  for (const LayerTime& time : times) total += time.forward + time.backward;
  std::printf("%-10s %10s %10s %8s\n", "layer", "forward s", "backward s", "share");
  for (const LayerTime& time : times) {
    std::printf("%-10s %10.2f %10.2f %6.1f %%\n", time.name.c_str(), time.forward, time.backward,
                100 * (time.forward + time.backward) / total);
  }
}

inline void print_summary(const EpochReport& last, const std::string& mode,
                          const std::string& dense_backend) {
  std::printf("summary: mode=%s backend=%s isa=%s epochs=%td seconds=%.1f accuracy=%.4f r_c=%.4f\n",
              mode.c_str(), dense_backend.c_str(), ADR_ISA_NAME, last.epoch, last.total_seconds,
              last.test_accuracy, remaining_ratio(last));
}

}  // namespace training
