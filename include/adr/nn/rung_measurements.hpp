// Tries settings on a part of a layer's own input: the errors that ladders are made of.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "adr/adapt/measurement_plan.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Which images of a batch, or rows of a matrix, settings learn from and are judged by.
struct MeasuredParts {
  IndexRange learned;
  IndexRange judged;

  /// Enough to fit a subspace to, and others to look at, where there are any others.
  MeasuredParts(index_t parts, index_t vectors, index_t rows) noexcept {
    const auto parts_for = [parts](index_t wanted, index_t of) {
      return of > 0 ? (wanted * parts + of - 1) / of : parts;
    };
    const index_t half = std::max<index_t>(parts / 2, 1);
    learned = {0, std::clamp<index_t>(parts_for(k_learned_vectors, vectors), 1, half)};
    const index_t first = parts > 1 ? learned.last : 0;
    judged = {first, first + std::clamp<index_t>(parts_for(k_judged_rows, rows), 1, parts - first)};
  }
};

/// Root of the quotient of the energies of a - b and of b. Requires: a of as many elements.
template <class T>
double relative_difference(const T* a, const AlignedBuffer<T>& b) {
  double difference = 0;
  double energy = 0;
  for (index_t i = 0; i < b.size(); ++i) {
    const auto exact = static_cast<double>(b[i]);
    const double error = static_cast<double>(a[i]) - exact;
    difference += error * error;
    energy += exact * exact;
  }
  return energy > 0 ? std::sqrt(difference / energy) : 0.0;
}

}  // namespace detail

/// Lets each setting learn from one part of an input and multiply another part, or cluster and
/// multiply all of it (Method::clustered), and compares with the dense product. Settings that do
/// not fit the layer or its input are left out. Math: see RungMeasurement. Shapes: weights K x M.
/// Cost: per setting a fit, and forward passes over some 4096 neuron vectors and 1024 rows, or one
/// over the whole input; memory for their outputs is allocated. Thread-safety: distinct contexts.
/// Errors: std::bad_alloc. Source: this library.
template <class Domain>
std::vector<RungMeasurement> measure_rungs(
    const ProductShape& shape, const std::vector<Plan>& configs, MakeProduct<Domain> make,
    const typename Domain::Input& input, const GemmFactor<typename Domain::Element>& weights,
    const DenseGemm<typename Domain::Element>& gemm, Context& context) {
  using T = typename Domain::Element;
  using Input = typename Domain::Input;
  std::vector<RungMeasurement> found;
  const VectorMap map = input.vectors(shape.input.kind).map();
  if (map.rows() == 0) return found;
  const detail::MeasuredParts parts(input.parts(), map.vectors(), map.rows());
  const Input learned = input.part(parts.learned);
  const Input judged = input.part(parts.judged);
  AlignedBuffer<T> learned_output;
  AlignedBuffer<T> exact;
  AlignedBuffer<T> output;
  const auto multiply = [&](LayerProduct<Domain>& product, const Input& x, AlignedBuffer<T>& y) {
    product.forward(x, weights, VectorView<const T>(), output_of(x, shape.outputs, y), context);
  };
  Plan dense;
  dense.method = Method::exact;
  LayerProduct<Domain> reference(shape, dense, make);
  reference.set_dense_gemm(gemm);
  multiply(reference, judged, exact);
  for (const Plan& config : configs) {
    Plan trial = config;
    trial.meter_interval = 0;
    if (!config.validate(shape.columns).empty()) continue;
    if (config.method == Method::clustered) {
      // Who is alike shows in the whole batch. What a search takes is known less well than a
      // subspace: near its break-even (r_c 0.75, decision 0019) the other one is the better choice.
      constexpr double k_most_remaining = 0.5;
      Report report;
      const auto product = make(shape, trial);
      const auto whole = output_of(input, shape.outputs, output);
      if (!product->forward(input, weights, VectorView<const T>(), whole,
                            {gemm, context, report, nullptr})) {
        continue;
      }
      if (report.remaining_ratio() > k_most_remaining) continue;
      const index_t first = exact.size() / parts.judged.size() * parts.judged.first;
      found.push_back({config, detail::relative_difference(output.data() + first, exact),
                       report.relative_input_error(), report.remaining_ratio()});
      continue;
    }
    LayerProduct<Domain> product(shape, trial, make);
    product.set_dense_gemm(gemm);
    multiply(product, learned, learned_output);
    if (product.report().dense_fallbacks > 0) continue;
    if (product.can_freeze()) product.freeze();
    multiply(product, judged, output);
    if (product.report().dense_fallbacks > 0) continue;
    found.push_back({config, detail::relative_difference(output.data(), exact),
                     product.report().relative_input_error(), 1.0});
  }
  return found;
}

ADR_NAMESPACE_END
