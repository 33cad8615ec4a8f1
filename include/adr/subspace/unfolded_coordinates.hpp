// Coordinates that are unfolded and multiplied by dense products: matrices, and what the exact
// engine does not convolve.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "adr/adapt/plan.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/stage_clock.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"
#include "adr/subspace/fitted_subspace.hpp"
#include "adr/subspace/subspace_basis.hpp"
#include "adr/subspace/subspace_gemm.hpp"
#include "adr/subspace/weight_metric.hpp"

ADR_NAMESPACE_BEGIN

/// The coordinates of a batch and the weights in the same subspace. Memory: the coordinates of a
/// batch, the rotated weights. Thread-safety: none. Source: this library.
template <class T>
class UnfoldedCoordinates {
 public:
  static constexpr AxesOrigin k_origin = AxesOrigin::mean;

  UnfoldedCoordinates(const ProductShape& shape, const Plan& /*plan*/)
      : outputs_(shape.outputs), offsets_(shape.input.offsets) {}

  void weights_changed() noexcept { rotated_version_ = k_no_version; }
  template <class Vectors>
  void axes_changed(const Vectors& /*vectors*/, const GemmFactor<T>& /*weights*/,
                    const FittedSubspace& /*subspace*/, const WeightMetric<T>& /*metric*/,
                    const Context& /*context*/) noexcept {}
  void resize(const ProductShape& /*shape*/, const FittedSubspace& /*subspace*/) noexcept {}
  void exchange(StateArchive& /*archive*/, const FittedSubspace& /*subspace*/) noexcept {}

  /// Projects all vectors. Returns whether they are finite.
  template <class Vectors>
  bool encode(const Vectors& vectors, const FittedSubspace& subspace, Context& context,
              StageClock& clock) {
    coordinates_.resize(vectors.map().vectors(), subspace.basis().coordinates);
    context.workspace().reserve(subspace.project_workspace_bytes(context.threads()));
    const bool finite = subspace.project(vectors, coordinates_, context);
    clock.finish(Stage::encode);
    return finite;
  }
  /// Rotates the weights, if they or the axes are others than before.
  void follow_weights(const FittedSubspace& subspace, const WeightMetric<T>& metric,
                      const PassTools<T>& tools, StageClock& clock) {
    if (rotated_version_ == subspace.version()) return;
    rotate_weights(subspace.basis(), metric.packed(), float_gemm(tools.gemm), tools.context,
                   rotated_);
    rotated_version_ = subspace.version();
    clock.finish(Stage::rotate_weights);
  }
  /// Multiplies what was encoded last.
  template <class Vectors>
  bool multiply(const Vectors& vectors, const FittedSubspace& subspace,
                const VectorView<const T>& bias, const PixelView<T>& output,
                const PassTools<T>& tools, StageClock& clock) const {
    tools.context.workspace().reserve(
        forward_workspace_bytes(vectors.map(), subspace, tools.context.threads()));
    subspace_forward(coordinates_, vectors.map(), rotated_, bias, output, float_gemm(tools.gemm),
                     tools.context);
    clock.finish(Stage::subspace_product);
    return true;
  }
  template <class Vectors>
  void weight_gradient(const Vectors& vectors, const FittedSubspace& subspace,
                       const index_t* columns, const PixelView<const T>& d_output,
                       const GemmResult<T>& d_weights, const PassTools<T>& tools,
                       StageClock& clock) const {
    subspace_weight_gradient(coordinates_, subspace.basis(), vectors.map(), columns, d_output,
                             d_weights, float_gemm(tools.gemm), tools.context);
    clock.finish(Stage::weight_gradient);
  }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map,
                                                    const FittedSubspace& subspace,
                                                    int thread_count) const {
    return std::max(subspace.project_workspace_bytes(thread_count),
                    subspace_forward_workspace_bytes(map, subspace.basis().coordinates, outputs_,
                                                     thread_count));
  }
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(const VectorMap& map,
                                                            const FittedSubspace& subspace,
                                                            int thread_count) const {
    return subspace_weight_gradient_workspace_bytes(map, subspace.basis(), outputs_, thread_count);
  }
  [[nodiscard]] double forward_multiply_adds(const VectorMap& map,
                                             const PrincipalAxes& axes) const noexcept {
    return products(map.rows(), axes) +
           static_cast<double>(map.vectors()) * static_cast<double>(axes.length * axes.kept);
  }
  [[nodiscard]] double weight_gradient_multiply_adds(const VectorMap& map,
                                                     const PrincipalAxes& axes) const noexcept {
    return products(map.rows() + axes.length, axes);
  }

 private:
  static constexpr std::uint64_t k_no_version = ~std::uint64_t{0};

  /// Coordinates are floats whatever the element type: the user's product serves floats only.
  static const DenseGemm<float>& float_gemm(const DenseGemm<T>& gemm) {
    if constexpr (std::is_same_v<T, float>) {
      return gemm;
    } else {
      static const DenseGemm<float> own;
      return own;
    }
  }
  /// Multiply-adds of that many rows of unfolded coordinates, the mean's among them, with the
  /// rotated weights.
  [[nodiscard]] double products(index_t rows, const PrincipalAxes& axes) const noexcept {
    return static_cast<double>(rows) * static_cast<double>(offsets_ * (axes.kept + 1) * outputs_);
  }

  index_t outputs_;
  index_t offsets_;
  SubspaceCoordinates coordinates_;
  AlignedBuffer<float> rotated_;
  std::uint64_t rotated_version_ = k_no_version;
};

ADR_NAMESPACE_END
