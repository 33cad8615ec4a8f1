// Everything that decides the numbers of a run, written down so that a checkpoint can be refused by
// another run. Threads, epochs and file names decide nothing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "adr/core/fingerprint.hpp"
#include "training/checkpoint.hpp"
#include "training/image_set.hpp"
#include "training/network_description.hpp"
#include "training/reuse_options.hpp"
#include "training/sgd.hpp"

namespace training {

struct TrainingPlan {
  index_t epochs = 10;
  index_t batch = 128;
  std::uint64_t seed = 1;
  bool augment = false;
  SgdSettings sgd;
  std::string csv;         ///< no file when empty
  std::string trace;       ///< no file when empty
  std::string checkpoint;  ///< no file when empty
  std::string snapshots;   ///< a folder; none when empty
  bool resume = false;
};

namespace detail {

inline std::string fingerprint_text(const ImageSet& set) {
  const adr::MatrixView<const std::uint8_t> pixels(set.pixels.data(), set.size(), set.shape.size());
  const adr::MatrixView<const std::uint8_t> labels(set.labels.data(), 1, set.size());
  return message(set.size(), " images ", std::hex, adr::fingerprint(pixels), '-',
                 adr::fingerprint(labels));
}

}  // namespace detail

inline RunSettings run_settings(const NetworkDescription& network, adr::Layout layout,
                                const ReuseOptions& reuse, const std::string& dense_backend,
                                const TrainingPlan& plan, const DataSet& data) {
  const auto exact = [](double value) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.17g", value);
    return std::string(text);
  };
  // A schedule is laid out over the epochs of a run.
  const bool scheduled = reuse.mode == Mode::automatic;
  const auto list = [&](const std::vector<double>& values) {
    std::string text;
    for (const double value : values) text += (text.empty() ? "" : ",") + exact(value);
    return text.empty() ? std::string("none given") : text;
  };
  return {{"network", to_string(network)},
          {"mode", to_string(reuse.mode)},
          {"strategy", scheduled ? adr::to_string(reuse.strategy) : "none"},
          {"planned epochs", scheduled ? std::to_string(plan.epochs) : "any"},
          {"layout", layout == adr::Layout::nhwc ? "nhwc" : "nchw"},
          {"setting", label(plans_of(convolution_options(network, reuse)))},
          {"gradient-rounding", list(reuse.gradient_rounding)},
          {"gradient-noise", list(reuse.gradient_noise)},
          {"dense backend", dense_backend},
          {"batch", std::to_string(plan.batch)},
          {"seed", std::to_string(plan.seed)},
          {"augment", plan.augment ? "yes" : "no"},
          {"lr", exact(plan.sgd.learning_rate)},
          {"lr-step", std::to_string(plan.sgd.step_epochs)},
          {"lr-gamma", exact(plan.sgd.step_factor)},
          {"momentum", exact(plan.sgd.momentum)},
          {"weight-decay", exact(plan.sgd.weight_decay)},
          {"training data", detail::fingerprint_text(data.train)},
          {"test data", detail::fingerprint_text(data.test)}};
}

}  // namespace training
