// A report in one line, for logs.
#pragma once

#include <cmath>
#include <cstdio>
#include <iosfwd>
#include <string>

#include "adr/adapt/decision.hpp"
#include "adr/adapt/plan_label.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// A report in one line: what runs, since when and why; the measured error; milliseconds of every
/// pass, and of the exact one; the remaining ratio and the computed share where they are below 1;
/// the share of the forward pass that zeros spared; what a stream left aside; the bound on the
/// error where there is one; scratch. Thread-safety: reentrant.
inline std::string to_string(const Report& report) {
  const auto number = [](const char* format, double value) {
    char text[32];
    std::snprintf(text, sizeof text, format, value);
    return std::string(text);
  };
  const bool has_gradients = report.weight_gradient.multiply_adds_dense > 0 ||
                             report.input_gradient.multiply_adds_dense > 0;
  std::string line = has_gradients ? label(report.plan) : forward_label(report.plan);
  line += ", " + std::to_string(report.passes_of_plan) + " passes";
  if (report.decision.reason != Reason::none) {
    line += std::string(" (") + to_string(report.decision.reason) + ")";
  }
  if (report.dense_fallbacks > 0) line += ", fell back to exact";
  if (std::isnan(report.measured_error)) {
    line += ", error not measured yet";
  } else {
    line += ", error " + number("%.2g", report.measured_error);
  }
  if (report.output_error_bound() > 0) {
    line += " (at most " + number("%.2g", report.output_error_bound()) + ")";
  }
  if (report.max_error > 0) line += " of " + number("%.2g", report.max_error);
  const auto pass = [&](const char* name, double seconds, double exact) {
    if (!(seconds > 0)) return;
    line += std::string(", ") + name + " " + number("%.3g ms", 1e3 * seconds);
    if (exact > 0) line += " (exact " + number("%.3g", 1e3 * exact) + ")";
  };
  pass("forward", report.seconds.forward, report.exact_seconds.forward);
  pass("dW", report.seconds.weight_gradient, report.exact_seconds.weight_gradient);
  pass("dX", report.seconds.input_gradient, report.exact_seconds.input_gradient);
  if (report.remaining_ratio() < 1) line += ", r_c " + number("%.3g", report.remaining_ratio());
  if (report.computed_share() < 1) line += ", computed " + number("%.3g", report.computed_share());
  if (report.zero_multiply_adds > 0) {
    line += ", zeros left out " +
            number("%.3g", report.zero_multiply_adds / report.forward.multiply_adds_dense);
  }
  if (report.stream_pass == StreamPass::compared) {
    line += ", stream up to " + number("%.2g", report.stream_threshold);
  } else if (report.stream_pass == StreamPass::left) {
    line += ", stream left to exact";
  }
  return line + ", scratch " +
         number("%.3g MB", 1e-6 * static_cast<double>(report.workspace_bytes));
}

/// Streams the report in one line.
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out,
                                             const Report& report) {
  return out << to_string(report);
}

ADR_NAMESPACE_END
