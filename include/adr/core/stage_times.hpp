// Where the time of a pass goes: a fixed list of stages, as plain data.
#pragma once

#include <array>
#include <cstddef>

#include "adr/core/abi.hpp"

namespace adr {

/// The stages that a pass through a reusing product can consist of.
enum class Stage {
  unfold,                  ///< copying neuron vectors out of the input (im2col)
  hash,                    ///< projections and signatures
  cluster,                 ///< signatures to ids, sums and means of the members
  cluster_reuse,           ///< looking clusters up in the cache of earlier batches
  centroid_product,        ///< centroids times weights
  gather,                  ///< adding the product rows of every row's clusters
  gradient_sums,           ///< sums of the output gradient per cluster
  weight_gradient,         ///< centroids transposed times sums
  input_gradient,          ///< means times weights transposed, and folding back (col2im)
  fit,                     ///< axes from a sample
  encode,                  ///< rotation to principal coordinates
  measure,                 ///< error of a sample
  rotate_weights,          ///< products of axes with the weights
  subspace_product,        ///< products of principal coordinates with rotated weights
  non_zeros,               ///< counting, rounding and listing an output gradient
  sparse_weight_gradient,  ///< products over the non-zeros of the output gradient
  sparse_input_gradient,   ///< the same for the input
  dense,                   ///< products of the dense path
};
/// How many stages there are.
inline constexpr int k_stage_count = static_cast<int>(Stage::dense) + 1;

/// The name of a stage as it appears in tables.
inline const char* to_string(Stage stage) noexcept {
  constexpr const char* names[k_stage_count] = {"unfold",
                                                "hash",
                                                "cluster",
                                                "cluster_reuse",
                                                "centroid_product",
                                                "gather",
                                                "gradient_sums",
                                                "weight_gradient",
                                                "input_gradient",
                                                "fit",
                                                "encode",
                                                "measure",
                                                "rotate_weights",
                                                "subspace_product",
                                                "non_zeros",
                                                "sparse_weight_gradient",
                                                "sparse_input_gradient",
                                                "dense"};
  return names[static_cast<int>(stage)];
}

/// Seconds per stage, added up over the threads that worked on it.
class StageTimes {
 public:
  /// Those of one stage.
  [[nodiscard]] double seconds(Stage stage) const noexcept {
    return seconds_[static_cast<std::size_t>(stage)];
  }
  /// Adds to a stage.
  void add(Stage stage, double seconds) noexcept {
    seconds_[static_cast<std::size_t>(stage)] += seconds;
  }
  /// Adds stage by stage.
  void add(const StageTimes& other) noexcept {
    for (std::size_t i = 0; i < seconds_.size(); ++i) seconds_[i] += other.seconds_[i];
  }

 private:
  std::array<double, k_stage_count> seconds_{};
};

}  // namespace adr
