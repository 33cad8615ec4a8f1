// What the engines of this library are called in tables and result files.
#pragma once

#include <adr/options.hpp>
#include <variant>

namespace adr_bench {

/// The engine of a setting: "adr_auto", "adr_exact", "adr_subspace" or "adr_published".
inline const char* engine_of(const adr::Setting& setting) {
  struct Name {
    const char* operator()(const adr::Automatic& /*automatic*/) const { return "adr_auto"; }
    const char* operator()(const adr::Exact& /*exact*/) const { return "adr_exact"; }
    const char* operator()(const adr::Subspace& /*subspace*/) const { return "adr_subspace"; }
    const char* operator()(const adr::Clustered& /*clustered*/) const { return "adr_clustered"; }
    const char* operator()(const adr::Published& /*published*/) const { return "adr_published"; }
  };
  return std::visit(Name(), setting);
}

/// A setting with nothing else asked for.
inline adr::Options options_with(const adr::Setting& setting, double gradient_rounding = 0) {
  adr::Options options;
  options.setting = setting;
  options.gradient_rounding = gradient_rounding;
  return options;
}

}  // namespace adr_bench
