// How coarsely one weight matrix reuses products: plain data in the terms of the papers.
//
// The policy side of the library speaks through this struct and nothing else; it holds no matrices.
#pragma once

#include <cstdint>
#include <string>

#include "adr/core/errors.hpp"
#include "adr/core/neuron_vector_kind.hpp"
#include "adr/core/types.hpp"

namespace adr {

/// Which algorithm multiplies.
enum class Method {
  exact,      ///< every product computed: the baseline and the last rung of ladders
  published,  ///< sign hashes of im2col slices, one product per cluster
  subspace,   ///< exact products in the leading principal coordinates of shared neuron vectors
  clustered,  ///< one product for all rows, or slices of rows, within a radius of one of them
};

/// Where the hash's hyperplanes pass.
enum class HashCenter {
  origin,  ///< through 0, as published; splits non-negative (post-ReLU) data badly
  mean,    ///< through the mean of the slice, estimated on a sample of rows (this library)
};

/// How the gradient with respect to the input is formed.
enum class InputGradient {
  automatic,     ///< cluster_mean for the published method, dense for clusters with a radius; else
                 ///< over_non_zeros where d_y has few, rounded elsewhere
  cluster_mean,  ///< published: every member of a cluster receives the mean over its cluster
  dense,         ///< the product d_y W^T
  over_non_zeros,  ///< the same over the non-zeros of d_y alone
  rounded,         ///< unbiased rounding of d_y, then over its non-zeros
  exact,           ///< dense or over_non_zeros, whichever costs less
};

/// How the gradient with respect to the weights is formed.
enum class WeightGradient {
  automatic,       ///< clusters where the method has them; else the cheaper of clusters and
                   ///< over_non_zeros, by the density of d_y
  clusters,        ///< sums of d_y per cluster, times centroids; or from coordinates of a subspace
  dense,           ///< the product X^T d_y
  over_non_zeros,  ///< the same over the non-zeros of d_y alone
  rounded,         ///< unbiased rounding of d_y, then over its non-zeros
  exact,           ///< dense or over_non_zeros, whichever costs less
};

/// The name of a method as it appears in tables, files and command lines.
inline const char* to_string(Method method) noexcept {
  constexpr const char* names[] = {"exact", "published", "subspace", "clustered"};
  return names[static_cast<int>(method)];
}

/// What one product runs with: the method and the form of each gradient. A setting
/// (Options::setting) becomes a plan, a tuner chooses among many.
///
/// Plain data: whoever takes it validates. Defaults are those of the published CifarNet conv2.
/// Thread-safety: that of plain data. Source: Ning et al., ICDE 2019; this library.
struct Plan {
  static constexpr index_t k_most = index_t{1} << 60;  ///< of everything that is a number of things

  /// Which algorithm multiplies.
  Method method = Method::published;

  /// L in the papers: how many consecutive columns of the unfolded input make one neuron vector.
  /// Need not divide the number of columns; the last neuron vector of a row may be shorter. With
  /// Method::clustered 0 is a whole row.
  index_t vector_length = 25;

  /// H in the papers: how many hyperplanes, hence bits of a signature. 1 to 64.
  int hash_count = 10;

  /// With Method::clustered: how far a neuron vector may be from the one that stands for it, as a
  /// part of its norm. At least 0 and below 1.
  double radius = 0.001;

  /// Where the hyperplanes of the published method pass.
  HashCenter hash_center = HashCenter::origin;

  /// True: all slices share one set of hyperplanes (as in the authors' code); false: one set each.
  bool shared_hyperplanes = true;

  /// CR in the papers: a signature seen in an earlier batch takes its stored centroid.
  bool cluster_reuse = false;

  /// With cluster_reuse: how many changes of the weights a stored product row survives. 0, the
  /// exact setting, reuses rows only while the weights are unchanged; the published early phase of
  /// training corresponds to a positive age.
  index_t max_product_age = 0;

  /// With cluster_reuse: how many clusters are remembered per slice; later ones are not stored.
  index_t cluster_cache_limit = 65536;

  /// After how many forward passes a subspace is fitted anew, and with HashCenter::mean the
  /// mean is estimated anew (which empties the cluster cache, because signatures change their
  /// meaning).
  index_t refit_interval = 50;

  /// How the input gradient is formed.
  InputGradient input_gradient = InputGradient::automatic;
  /// How the weight gradient is formed.
  WeightGradient weight_gradient = WeightGradient::automatic;

  /// Unbiased rounding: values below this many root mean squares of d_y become that, or zero, and
  /// hand their errors on to the same channel of the next pixel.
  double gradient_rounding = 2.0;

  /// Measure what rounding adds to the gradients (Report::weight_gradient_noise), at the cost of
  /// exact ones, and of memory and scratch for them that workspace_bytes() does not count.
  bool measure_rounding = false;

  /// What one neuron vector of a subspace is.
  NeuronVectorKind neuron_vectors = NeuronVectorKind::automatic;

  /// How many principal coordinates of a neuron vector are kept with Method::subspace; 0: as many
  /// as explain the data to subspace_error.
  index_t kept_coordinates = 0;

  /// With Method::subspace and kept_coordinates 0: the part of the root mean square of the output's
  /// variation that may be lost. Above 0 and below 1.
  double subspace_error = 0.05;

  /// Whether exact passes of convolutions may use Winograd's algorithms, which are faster and round
  /// more (docs/numerics.md); false keeps to the multiplications of the definition.
  bool winograd = true;

  /// Of everything random: hyperplanes, samples, rounding.
  std::uint64_t seed = 1;

  /// After how many forward passes the true error of the output is measured on a few rows, each at
  /// the cost of its dense product; 0: never.
  index_t meter_interval = 0;

  /// Refuse operands that hold a NaN or an infinity, at the cost of one more read of each.
  bool check_finite = false;

  /// Measure the time of every stage (a few clock reads per block of rows).
  bool time_stages = false;

  /// Returns an empty string when the plan can be used for an unfolded input of the given number
  /// of columns, else one sentence that names the rule and the value. Thread-safety: reentrant.
  [[nodiscard]] std::string validate(index_t columns) const {
    using checks::message;
    if (meter_interval < 0) {
      return message("meter_interval must be at least 0 forward passes, got ", meter_interval);
    }
    if (!(gradient_rounding > 0 && gradient_rounding <= 1e6)) {
      return message("gradient_rounding must be above 0 and at most 1e6, got ", gradient_rounding);
    }
    const struct {
      const char* name;
      index_t value;
    } limited[] = {{"vector_length", vector_length},
                   {"max_product_age", max_product_age},
                   {"cluster_cache_limit", cluster_cache_limit},
                   {"refit_interval", refit_interval},
                   {"kept_coordinates", kept_coordinates},
                   {"meter_interval", meter_interval}};
    for (const auto& field : limited) {
      if (field.value > k_most) {
        return message(field.name, " must be at most ", k_most, ", got ", field.value);
      }
    }
    if (method == Method::exact) return {};
    if (method == Method::published && vector_length < 1) {
      return message("vector_length must be at least 1, got ", vector_length);
    }
    if (method == Method::published && vector_length > columns) {
      return message("vector_length must be at most the number of unfolded columns (", columns,
                     "), got ", vector_length);
    }
    if (method == Method::clustered && vector_length < 0) {
      return message("vector_length must be at least 0, got ", vector_length);
    }
    if (!(radius >= 0 && radius < 1)) {
      return message("radius must be at least 0 and below 1, got ", radius);
    }
    if (hash_count < 1 || hash_count > 64) {
      return message("hash_count must be between 1 and 64, got ", hash_count);
    }
    if (kept_coordinates < 0) {
      return message("kept_coordinates must be at least 0, got ", kept_coordinates);
    }
    if (!(subspace_error > 0 && subspace_error < 1)) {
      return message("subspace_error must be between 0 and 1, both excluded, got ", subspace_error);
    }
    if (max_product_age < 0) {
      return message("max_product_age must be at least 0 changes of the weights, got ",
                     max_product_age);
    }
    if (max_product_age > 0 && !cluster_reuse) {
      return message("max_product_age must be 0 unless cluster_reuse is on, got ", max_product_age);
    }
    if (cluster_cache_limit < 1) {
      return message("cluster_cache_limit must be at least 1 cluster, got ", cluster_cache_limit);
    }
    if (refit_interval < 1) {
      return message("refit_interval must be at least 1 forward pass, got ", refit_interval);
    }
    return {};
  }

  /// Whether a forward pass under the other plan uses the same clusters or subspace: all but the
  /// gradients and the meter agrees, so that what was learned stays useful.
  [[nodiscard]] bool clusters_as(const Plan& other) const noexcept {
    return method == other.method && vector_length == other.vector_length &&
           hash_count == other.hash_count && radius == other.radius &&
           hash_center == other.hash_center && shared_hyperplanes == other.shared_hyperplanes &&
           cluster_reuse == other.cluster_reuse && max_product_age == other.max_product_age &&
           cluster_cache_limit == other.cluster_cache_limit &&
           refit_interval == other.refit_interval && neuron_vectors == other.neuron_vectors &&
           kept_coordinates == other.kept_coordinates && subspace_error == other.subspace_error &&
           seed == other.seed;
  }

  /// Whether everything agrees.
  friend bool operator==(const Plan& a, const Plan& b) noexcept {
    return a.clusters_as(b) && a.input_gradient == b.input_gradient &&
           a.weight_gradient == b.weight_gradient && a.gradient_rounding == b.gradient_rounding &&
           a.measure_rounding == b.measure_rounding && a.winograd == b.winograd &&
           a.meter_interval == b.meter_interval && a.check_finite == b.check_finite &&
           a.time_stages == b.time_stages;
  }
  /// Whether anything differs.
  friend bool operator!=(const Plan& a, const Plan& b) noexcept { return !(a == b); }
};

}  // namespace adr
