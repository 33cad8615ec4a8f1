// What a user says about a product: how much error it may have, or the setting to run with.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>

#include "adr/adapt/plan.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

namespace adr {

/// Whatever keeps Options::max_error and is the fastest on this machine, found by measuring on the
/// layer's own batches: the exact engine, a subspace, or clusters of rows where many repeat.
///
/// With max_error 0 and gradient_rounding 0 it is the exact engine, and nothing is measured. Cost:
/// measurements take at most 1 % of the time of 400 exact steps, or of the layer's own if it runs
/// longer; docs/adaptive.md. Determinism: with measurements, what runs follows the clock. Source:
/// this library.
struct Automatic {};

/// Products that lose nothing but rounding, in all three passes.
///
/// Gradients of convolutions leave out the zeros of an output gradient that has few other elements,
/// as behind a max pool (docs/decisions/0028); those of matrices where half of a factor is zero.
/// Source: this library; Lavin and Gray, CVPR 2016, for Winograd's algorithms.
struct Exact {
  /// Whether convolutions may use Winograd's algorithms, which are faster and round more
  /// (docs/numerics.md).
  bool winograd = true;
};

/// Exact products of the leading principal coordinates of neuron vectors, learned from the batches
/// themselves.
///
/// Math: v ~ mean + A z with z of `coordinates` elements; docs/concepts.md. The forward pass is
/// approximate, both gradients are exact unless Options::gradient_rounding says otherwise. A batch
/// with fewer vectors than one has elements is multiplied exactly: there is too little to learn
/// from. Cost: a fit is worth two to four forward passes. Source: this library.
struct Subspace {
  /// d: how many coordinates are kept; 0: the fewest that keep `error`.
  index_t coordinates = 0;
  /// With coordinates 0: how much of the output's variation may be lost, ||y - y_exact|| /
  /// ||y_exact|| on the vectors that were learned from. Above 0 and below 1.
  double error = 0.05;
  /// After how many forward passes the coordinates are learned anew.
  index_t refit_interval = 50;
};

/// The published method: neuron vectors with equal signatures share one product.
///
/// Math: a signature is the H signs of the projections on random hyperplanes; a product is that of
/// a cluster's centroid; docs/concepts.md. Cost: H / M + r_c + 1 / L + 1 / M of the exact forward
/// pass's multiply-adds. Source: Ning et al., ICDE 2019; what is not in the paper is this library's
/// and says so.
struct Published {
  /// L: how many consecutive columns of the unfolded input make one neuron vector. The last vector
  /// of a row may be shorter; above the number of columns, a row is one vector.
  index_t vector_length = 25;
  /// H: how many hyperplanes, hence bits of a signature. 1 to 64.
  int hash_count = 10;
  /// CR: a signature of an earlier batch takes its stored centroid and, for as long as the next
  /// field allows, its stored product.
  bool cluster_reuse = false;
  /// With cluster_reuse: how many changes of the weights a stored product survives. 0: none.
  index_t max_product_age = 0;
  /// With cluster_reuse: how many clusters are remembered per slice.
  index_t cluster_cache_limit = 65536;
  /// Where the hyperplanes pass.
  HashCenter hash_center = HashCenter::origin;
  /// One set of hyperplanes for all slices, as in the authors' code, or one for each.
  bool shared_hyperplanes = true;
  /// With HashCenter::mean: after how many forward passes the mean is estimated anew.
  index_t refit_interval = 50;
  /// Both gradients by exact products, in place of those from the clusters.
  bool exact_gradients = false;
};

/// Clusters with a radius: a row of the unfolded input, or a slice of one, takes the product of
/// another one of the batch only where that is within a radius of it; all others are multiplied as
/// they are.
///
/// Math: x takes the product of r where ||x - r|| <= radius ||x||; signs of a few elements propose
/// r, a comparison of all of them decides. The report states the bound that follows for the output
/// (Report::output_error_bound). The weight gradient is that of the clustered input, the input
/// gradient exact. Where a sample of the batch promises less than the search costs, the pass is
/// exact (Report::dense_fallbacks). Cost: one read of the input and r_c of the exact
/// multiply-adds. Source: this library, after Ning et al., ICDE 2019.
struct Clustered {
  /// How far a vector may be from the one whose product it takes, as a part of its own norm. At
  /// least 0, which lets equal ones share alone, and below 1.
  double radius = 0.01;
  /// L: how many consecutive columns of the unfolded input make one vector; 0: a whole row. Slices
  /// pay where rows share a part of theirs, as the items that one user is shown share the user.
  index_t vector_length = 0;
  /// H: of how many elements signs are taken. More of them propose fewer vectors in vain, fewer of
  /// them miss fewer that are alike. 1 to 64.
  int hash_count = 32;
  /// CR: representatives are kept from batch to batch, and their products for as long as the
  /// weights are the same: for inference, where batches resemble each other.
  bool cluster_reuse = false;
  /// With cluster_reuse: how many vectors, each with its product, are kept per slice.
  index_t cluster_cache_limit = 4096;
};

/// What a user asks for: one of five; a later edition may add alternatives at the end.
using Setting = std::variant<Automatic, Exact, Subspace, Published, Clustered>;

namespace checks {

/// Enables a template for the settings that a user can give by hand.
template <class Chosen>
using IfSetting =
    std::enable_if_t<std::is_same_v<Chosen, Exact> || std::is_same_v<Chosen, Subspace> ||
                     std::is_same_v<Chosen, Published> || std::is_same_v<Chosen, Clustered>>;

}  // namespace checks

/// What a user asks of a product or layer. The default is exact.
///
/// Plain data: whoever takes it validates. Thread-safety: that of plain data. Source: this library.
struct Options {
  /// With Automatic: the relative output error that a forward pass may have, ||y - y_exact|| /
  /// ||y_exact||. At least 0 and below 1. Settings given by hand are taken as they are. With
  /// stream, the same for a pass of a stream.
  double max_error = 0;
  /// How products are computed.
  Setting setting = Automatic{};
  /// How coarsely gradients may be rounded: values of the output gradient below this many root mean
  /// squares become that or zero, without bias. 0: gradients are not rounded. With Automatic, they
  /// are where that was measured to be faster. At most 1e6.
  double gradient_rounding = 0;
  /// Of everything random: hyperplanes, samples, rounding.
  std::uint64_t seed = 1;
  /// Refuse operands that hold a NaN or an infinity with std::invalid_argument, at the cost of one
  /// more read of each. Gradients check d_y and the weights, not x.
  bool check_finite = false;

  /// Whether convolutions see the frames of streams (adr::Stream), and max_error is what forward
  /// passes of a stream may have: docs/streams.md. For inference, with Automatic or Exact; passes
  /// that belong to no stream are exact then. Other layers ignore it.
  bool stream = false;

  /// The defaults, with that setting.
  static Options with(const Setting& setting) {
    Options options;
    options.setting = setting;
    return options;
  }

  /// Returns an empty string where all options are in range, else one sentence that names the rule
  /// and the value. Thread-safety: reentrant.
  [[nodiscard]] std::string validate() const {
    if (!(max_error >= 0 && max_error < 1)) {
      return checks::message("max_error must be at least 0 and below 1, got ", max_error);
    }
    if (!(gradient_rounding >= 0 && gradient_rounding <= 1e6)) {
      return checks::message("gradient_rounding must be between 0 and 1e6, got ",
                             gradient_rounding);
    }
    const char* const approximation = std::holds_alternative<Subspace>(setting)    ? "Subspace"
                                      : std::holds_alternative<Clustered>(setting) ? "Clustered"
                                      : std::holds_alternative<Published>(setting) ? "Published"
                                                                                   : nullptr;
    if (stream && approximation != nullptr) {
      return checks::message("stream needs the setting Automatic or Exact, got ", approximation);
    }
    if (stream && gradient_rounding > 0) {
      return checks::message("stream needs gradient_rounding 0, got ", gradient_rounding);
    }
    const Plan plan = this->plan();
    if (const auto* published = std::get_if<Published>(&setting)) {
      if (published->vector_length < 1) {
        return checks::message("vector_length must be at least 1, got ", published->vector_length);
      }
    }
    if (const auto* subspace = std::get_if<Subspace>(&setting)) {
      if (subspace->coordinates < 0) {
        return checks::message("coordinates must be at least 0, got ", subspace->coordinates);
      }
      if (subspace->coordinates > Plan::k_most) {
        return checks::message("coordinates must be at most ", Plan::k_most, ", got ",
                               subspace->coordinates);
      }
      if (!(subspace->error > 0 && subspace->error < 1)) {
        return checks::message("error must be between 0 and 1, both excluded, got ",
                               subspace->error);
      }
    }
    return plan.validate(Plan::k_most);
  }

  /// The plan that the setting asks for at first; with Automatic an exact one. Thread-safety:
  /// reentrant.
  [[nodiscard]] Plan plan() const {
    Plan plan = std::visit([](const auto& chosen) { return plan_of(chosen); }, setting);
    plan.seed = seed;
    plan.check_finite = check_finite;
    const bool by_hand = !std::holds_alternative<Automatic>(setting);
    if (by_hand && gradient_rounding > 0) {
      plan.gradient_rounding = gradient_rounding;
      plan.weight_gradient = WeightGradient::rounded;
      plan.input_gradient = InputGradient::rounded;
    }
    return plan;
  }

 private:
  /// Every so many forward passes of a product that approximates, its error is measured.
  static constexpr index_t k_meter_interval = 10;

  static Plan exact_plan(bool winograd) {
    Plan plan;
    plan.method = Method::exact;
    plan.input_gradient = InputGradient::exact;
    plan.weight_gradient = WeightGradient::exact;
    plan.winograd = winograd;
    return plan;
  }
  static Plan plan_of(const Automatic&) { return exact_plan(true); }
  static Plan plan_of(const Exact& exact) { return exact_plan(exact.winograd); }
  static Plan plan_of(const Subspace& subspace) {
    Plan plan;
    plan.method = Method::subspace;
    plan.kept_coordinates = subspace.coordinates;
    plan.subspace_error = subspace.error;
    plan.refit_interval = subspace.refit_interval;
    // Where a subspace pays forward, exact gradients are the faster ones.
    plan.input_gradient = InputGradient::exact;
    plan.weight_gradient = WeightGradient::exact;
    plan.meter_interval = k_meter_interval;
    return plan;
  }
  static Plan plan_of(const Clustered& clustered) {
    Plan plan;
    plan.method = Method::clustered;
    plan.radius = clustered.radius;
    plan.vector_length = clustered.vector_length;
    plan.hash_count = clustered.hash_count;
    plan.cluster_reuse = clustered.cluster_reuse;
    plan.cluster_cache_limit = clustered.cluster_cache_limit;
    plan.weight_gradient = WeightGradient::clusters;
    plan.input_gradient = InputGradient::dense;
    plan.meter_interval = k_meter_interval;
    return plan;
  }
  static Plan plan_of(const Published& published) {
    Plan plan;
    plan.method = Method::published;
    plan.vector_length = published.vector_length;
    plan.hash_count = published.hash_count;
    plan.hash_center = published.hash_center;
    plan.shared_hyperplanes = published.shared_hyperplanes;
    plan.cluster_reuse = published.cluster_reuse;
    plan.max_product_age = published.max_product_age;
    plan.cluster_cache_limit = published.cluster_cache_limit;
    plan.refit_interval = published.refit_interval;
    plan.meter_interval = k_meter_interval;
    if (published.exact_gradients) {
      plan.input_gradient = InputGradient::dense;
      plan.weight_gradient = WeightGradient::dense;
    }
    return plan;
  }
};

}  // namespace adr
