// The passes of a layer's product. Outside the class and not inline, so that a program can compile
// them once: behind `extern template` declarations of these two, a file that uses a layer compiles
// in a third of the time.
#pragma once

#include <cstddef>

#include "adr/adapt/plan.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/output_error_meter.hpp"
#include "adr/nn/pass_timer.hpp"
#include "adr/nn/rung_measurements.hpp"

ADR_NAMESPACE_BEGIN

template <class Domain>
void LayerProduct<Domain>::forward(const Input& input, const GemmFactor<T>& weights,
                                   const VectorView<const T>& bias, const Output& output,
                                   Context& context) {
  PassTimer timer(context);
  pass_.has_forward = false;
  pass_.clusters_usable = true;
  pass_.pass = ++pass_count_;
  pass_.plan = plan_count_;
  pass_.map = last_map_ = input.vectors(shape_.input.kind).map();
  if (state_->shared) {
    forward_shared(input, weights, bias, output, context);
  } else if (config_.method == Method::dense) {
    stats_.reset();
    multiply_densely(input, weights, bias, output, context);
  } else {
    state_->rows.forward(input.rows(), weights, bias, output.rows(), context);
    stats_ = state_->rows.report();
  }
  pass_.has_forward = true;
  stats_.seconds.forward = timer.lap();
  stats_.decision = decision_;
  if (config_.method == Method::dense && requested_.empty()) return;
  if (config_.method != Method::dense && state_->meter.is_due(config_.meter_interval)) {
    context.workspace().reserve(
        OutputErrorMeter::workspace_bytes<T>(pass_.map.rows(), shape_.columns, shape_.outputs));
    state_->meter.measure(input.rows(), weights, bias, output.rows(), config_.seed, gemm_, context,
                          stats_);
  }
  if (!requested_.empty() && learns_ && !frozen()) {
    measurements_ = measure_rungs<Domain>(shape_, requested_, input, weights, gemm_, context);
    requested_.clear();
  }
  stats_.seconds.meter = timer.lap();
}

template <class Domain>
void LayerProduct<Domain>::backward(const Input& input, const GemmFactor<T>& weights,
                                    const OutputGradient& d_output, const GemmResult<T>& d_weights,
                                    const InputGradientOperand& d_input, Context& context) {
  require_clusters_of(d_output.pixels().rows());
  if (config_.method == Method::dense) {
    pass_.map = last_map_ = input.vectors(shape_.input.kind).map();
  }
  state_->gradients.compute(forward_state(pass_.map), state_->rows, input, weights, d_output,
                            d_weights, d_input, context, stats_);
}

ADR_NAMESPACE_END
