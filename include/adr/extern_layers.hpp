// Layers that are compiled once for a whole program.
//
// Every file that uses layers compiles what it uses of them. In a program of many such files,
// include this header in each of them: what takes the time is then left to one file (or one for
// each type), which says so before it includes this header:
//   #define ADR_DEFINE_LAYERS_FLOAT
//   #define ADR_DEFINE_LAYERS_DOUBLE
//   #include <adr/extern_layers.hpp>
// Layers that are made with one setting alone are compiled where they are used. All of these files
// need the same instruction set and macros.
#pragma once

#include <memory>

#include "adr/adapt/layer_policy.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/nn/layer_parts.hpp"
#include "adr/nn/layer_passes.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/products.hpp"
#include "adr/product/operands.hpp"
#include "adr/product/product_shape.hpp"
#include "adr/product/reusing_product.hpp"

#define ADR_DETAIL_LAYERS_OVER(prefix, Domain)                                                 \
  prefix void LayerProduct<Domain>::forward(                                                   \
      const Domain::Input&, const GemmFactor<Domain::Element>&,                                \
      const VectorView<const Domain::Element>&, const Domain::Output&, Context&);              \
  prefix bool LayerProduct<Domain>::backward(                                                  \
      const Domain::Input&, const GemmFactor<Domain::Element>&, const Domain::OutputGradient&, \
      const GemmResult<Domain::Element>&, const Domain::InputGradient&, Domain::Element*,      \
      Context&);                                                                               \
  prefix std::unique_ptr<ReusingProduct<Domain>> make_product<Domain>(const ProductShape&,     \
                                                                      const Plan&);            \
  prefix std::unique_ptr<LayerPolicy> make_tuner<Domain>(const Plan&, const SchedulerOptions&)
#define ADR_DETAIL_LAYERS(prefix, T)              \
  ADR_DETAIL_LAYERS_OVER(prefix, ImageDomain<T>); \
  ADR_DETAIL_LAYERS_OVER(prefix, MatrixDomain<T>)

ADR_NAMESPACE_BEGIN
#if defined(ADR_DEFINE_LAYERS_FLOAT)
ADR_DETAIL_LAYERS(template, float);
#else
ADR_DETAIL_LAYERS(extern template, float);
#endif
#if defined(ADR_DEFINE_LAYERS_DOUBLE)
ADR_DETAIL_LAYERS(template, double);
#else
ADR_DETAIL_LAYERS(extern template, double);
#endif
ADR_NAMESPACE_END

#undef ADR_DETAIL_LAYERS
#undef ADR_DETAIL_LAYERS_OVER
