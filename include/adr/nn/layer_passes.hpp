// The passes of a layer's product. Outside the class and not inline, so that a program can compile
// them once: behind `extern template` declarations of these two, a file that uses a layer compiles
// in a third of the time.
#pragma once

#include "adr/adapt/plan.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/output_error_meter.hpp"
#include "adr/nn/rung_measurements.hpp"
#include "adr/product/pass_timer.hpp"

ADR_NAMESPACE_BEGIN

template <class Domain>
void LayerProduct<Domain>::forward(const Input& input, const GemmFactor<T>& weights,
                                   const VectorView<const T>& bias, const Output& output,
                                   Context& context) {
  PassTimer timer(context);
  begin_pass(input);
  if (state_->method) {
    stats_.forward.multiply_adds_dense = shape_.dense_work(pass_.map.rows());
    pass_.clusters_usable =
        state_->method->forward(input, weights, bias, output, tools(context, stats_.forward_times));
    // An empty batch that nothing can be learned from is no fallback.
    stats_.dense_fallbacks = !pass_.clusters_usable && pass_.map.rows() > 0 ? 1 : 0;
  }
  if (!state_->method || !pass_.clusters_usable) {
    multiply_exactly(input, weights, bias, output, context);
  }
  end_pass(timer);
  if (config_.method == Method::exact && requested_.empty()) return;
  if (config_.method != Method::exact && state_->meter.is_due(config_.meter_interval)) {
    context.workspace().reserve(
        OutputErrorMeter::workspace_bytes<T>(pass_.map.rows(), shape_.columns, shape_.outputs));
    state_->meter.measure(input.rows(), weights, bias, output.rows(), config_.seed, gemm_, context,
                          stats_);
  }
  if (!requested_.empty() && learns_ && !frozen()) {
    measurements_ =
        measure_rungs<Domain>(shape_, requested_, make_, input, weights, gemm_, context);
    requested_.clear();
  }
  stats_.seconds.meter = timer.lap();
}

template <class Domain>
bool LayerProduct<Domain>::backward(const Input& input, const GemmFactor<T>& weights,
                                    const OutputGradient& d_output, const GemmResult<T>& d_weights,
                                    const InputGradientOperand& d_input, T* channel_sums,
                                    Context& context) {
  require_clusters_of(d_output.pixels().rows());
  if (config_.method == Method::exact) {
    pass_.map = last_map_ = input.vectors(shape_.input.kind).map();
  }
  return state_->gradients.compute(forward_state(pass_.map), input, weights, d_output, d_weights,
                                   d_input, channel_sums, tools(context, stats_.backward_times));
}

ADR_NAMESPACE_END
