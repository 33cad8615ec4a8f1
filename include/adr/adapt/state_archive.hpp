// Writes the state of a schedule to a state file or reads it back: one list of fields for both
// directions, so that they cannot differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "adr/adapt/decision.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/robust_median.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/state_file.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Visits fields one after the other: puts them into a writer, or takes them from a reader.
///
/// Errors: those of StateWriter and StateReader; a reader's fields outside their range are refused
/// with std::runtime_error that names the field. Thread-safety: none. Source: this library.
class StateArchive {
 public:
  explicit StateArchive(StateWriter& writer) noexcept : writer_(&writer) {}
  explicit StateArchive(StateReader& reader) noexcept : reader_(&reader) {}

  [[nodiscard]] bool is_reading() const noexcept { return reader_ != nullptr; }

  void operator()(std::string_view what, double& value) {
    if (is_reading()) {
      value = reader_->get_f64(what);
    } else {
      writer_->put_f64(what, value);
    }
  }
  /// A number from `least` to `most`, written or read: what could not be read again is refused.
  template <class Integer>
  void count(std::string_view what, Integer& value, index_t least, index_t most) {
    if (is_reading()) {
      value = static_cast<Integer>(reader_->get_count(what, 0, most - least) + least);
      return;
    }
    const auto number = static_cast<index_t>(value);
    detail::require(number >= least && number <= most, "state file: ", what, " must be between ",
                    least, " and ", most, ", got ", number);
    writer_->put_count(number - least);
  }
  void operator()(std::string_view what, index_t& value) { count(what, value, 0, k_most_index); }
  void operator()(std::string_view what, std::uint64_t& value) {
    if (is_reading()) {
      value = reader_->get_u64(what);
    } else {
      writer_->put_u64(value);
    }
  }
  void operator()(std::string_view what, bool& value) {
    auto number = static_cast<index_t>(value);
    count(what, number, 0, 1);
    value = number == 1;
  }
  /// An enumeration whose last value is given.
  template <class Enum>
  void choice(std::string_view what, Enum& value, Enum last) {
    auto number = static_cast<index_t>(value);
    count(what, number, 0, static_cast<index_t>(last));
    value = static_cast<Enum>(number);
  }

  /// Something that file and reader have to agree on.
  void agree(std::string_view what, std::string_view value) {
    if (is_reading()) {
      reader_->require_setting(what, value);
    } else {
      writer_->put_setting(what, value);
    }
  }
  void agree(std::string_view what, index_t value) { agree(what, std::to_string(value)); }

  /// A setting; a read one is valid for that many unfolded columns.
  void operator()(Plan& config, index_t columns) {
    choice("method", config.method, Method::subspace);
    (*this)("sub_vector_length", config.sub_vector_length);
    count("hash_count", config.hash_count, 0, 64);
    choice("hash_center", config.hash_center, HashCenter::mean);
    (*this)("shared_hyperplanes", config.shared_hyperplanes);
    (*this)("cluster_reuse", config.cluster_reuse);
    (*this)("max_product_age", config.max_product_age);
    (*this)("cluster_cache_limit", config.cluster_cache_limit);
    (*this)("refit_interval", config.refit_interval);
    choice("input_gradient", config.input_gradient, InputGradient::cheapest_exact);
    choice("weight_gradient", config.weight_gradient, WeightGradient::cheapest_exact);
    (*this)("rounding_step", config.rounding_step);
    choice("neuron_vectors", config.neuron_vectors, NeuronVectorKind::strip);
    (*this)("kept_coordinates", config.kept_coordinates);
    (*this)("subspace_error", config.subspace_error);
    (*this)("seed", config.seed);
    (*this)("meter_interval", config.meter_interval);
    (*this)("winograd", config.winograd);
    (*this)("check_finite", config.check_finite);
    (*this)("time_stages", config.time_stages);
    if (is_reading()) {
      const std::string problem = config.validate(columns);
      detail::require_state(problem.empty(), "state file: ", problem);
    }
  }
  void operator()(std::vector<Plan>& configs, index_t columns) {
    auto size = static_cast<index_t>(configs.size());
    count("settings", size, 0, k_most_rungs);
    configs.resize(static_cast<std::size_t>(size));
    for (Plan& config : configs) (*this)(config, columns);
  }
  void operator()(Ladder& ladder, index_t columns) {
    auto rungs = static_cast<index_t>(ladder.size());
    count("rungs", rungs, 0, k_most_rungs);
    ladder.resize(static_cast<std::size_t>(rungs));
    for (Rung& rung : ladder) {
      (*this)(rung.config, columns);
      (*this)("cost of a rung", rung.cost);
      (*this)("error of a rung", rung.error);
    }
  }
  void operator()(Decision& decision) {
    choice("reason", decision.reason, Reason::loss_diverged);
    count("rung", decision.rung, -1, k_most);
    count("rungs", decision.rungs, 0, k_most);
    count("phase", decision.phase, 0, k_most);
    (*this)("error_budget", decision.error_budget);
    (*this)("error", decision.error);
    (*this)("cost", decision.cost);
  }
  template <int Capacity>
  void operator()(std::string_view what, RobustMedian<Capacity>& median) {
    auto samples = median.samples();
    count(what, samples.count, 0, Capacity);
    for (int i = 0; i < samples.count; ++i) {
      (*this)(what, samples.values[static_cast<std::size_t>(i)]);
    }
    if (is_reading()) median.restore(samples);
  }

 private:
  static constexpr index_t k_most_rungs = 256;
  static constexpr index_t k_most = std::numeric_limits<int>::max();
  // Steps and intervals of a file are added to each other, and doubled; options have less.
  static constexpr index_t k_most_index = (index_t{1} << 62) - 1;

  StateWriter* writer_ = nullptr;
  StateReader* reader_ = nullptr;
};

ADR_NAMESPACE_END
