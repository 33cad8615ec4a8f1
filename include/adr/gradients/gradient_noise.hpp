// What unbiased rounding adds to the gradients of a pass, measured beside exact ones.
#pragma once

#include <algorithm>
#include <cstddef>

#include "adr/adapt/report.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/row_major.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/product/exact_product.hpp"
#include "adr/product/operands.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Calls use(part, rows) for images or rows of an output gradient; rows are its rows in memory
/// where the exact product reads them. `bytes` is the scratch of that product.
template <class Domain, class Use>
void with_gradient_part(const ExactProduct<Domain>& exact,
                        const typename Domain::OutputGradient& d_output, const IndexRange& range,
                        std::size_t bytes, Context& context, const Use& use) {
  using T = typename Domain::Element;
  const typename Domain::OutputGradient part = d_output.part(range);
  const auto rows = part.rows();
  const bool by_rows = !exact.takes_images(rows.rows());
  if (by_rows && !rows.in_place()) bytes += row_major_bytes<T>("d_y", rows.rows(), rows.cols());
  context.workspace().reserve(bytes);
  const Workspace::Frame frame(context.workspace());
  MatrixView<const T> in_memory;
  if (by_rows) in_memory = row_major(rows, context);
  use(part, in_memory);
}

/// See measure_weight_noise.
template <class Domain>
void add_weight_noise(const ExactProduct<Domain>& exact, const typename Domain::Input& input,
                      const typename Domain::OutputGradient& d_output,
                      const GemmResult<typename Domain::Element>& rounded, Context& context,
                      Report& report) {
  using T = typename Domain::Element;
  const index_t rows = rounded.matrix.rows;
  const index_t cols = rounded.matrix.cols;
  AlignedBuffer<T> halves(checked_product("weight gradients", 2, rows, cols));
  std::fill_n(halves.data(), halves.size(), T(0));
  for (index_t h = 0; h < 2; ++h) {
    const IndexRange half = partition(input.parts(), 2, h);
    if (half.size() == 0) continue;
    const GemmResult<T> to{MatrixView<T>(halves.data() + h * rows * cols, rows, cols),
                           rounded.transposed};
    const index_t half_rows = d_output.part(half).rows().rows();
    const std::size_t bytes =
        exact.weight_gradient_workspace_bytes(half_rows, rounded.cols(), context.threads());
    with_gradient_part(exact, d_output, half, bytes, context,
                       [&](const auto& part, const MatrixView<const T>& by_rows) {
                         exact.weight_gradient(input.part(half), part, by_rows, to, nullptr,
                                               context);
                       });
  }
  for (index_t r = 0; r < rows; ++r) {
    const T* a = halves.data() + r * cols;
    const T* b = a + rows * cols;
    const T* w = rounded.matrix.row(r);
    for (index_t c = 0; c < cols; ++c) {
      const double first = a[c];
      const double second = b[c];
      const double noise = static_cast<double>(w[c]) - first - second;
      report.weight_noise_energy += noise * noise;
      report.weight_gradient_variance += (first - second) * (first - second);
    }
  }
}

/// Sums of the squares of a - b and of b over all channels and pixels.
template <class T>
void add_difference(const PixelView<T>& a, const PixelView<T>& b, double& difference,
                    double& energy) {
  for (index_t i = 0; i < b.images; ++i) {
    for (index_t c = 0; c < b.channels; ++c) {
      for (index_t p = 0; p < b.pixels; ++p) {
        const auto exact = static_cast<double>(*b.at(i, p, c));
        const double error = static_cast<double>(*a.at(i, p, c)) - exact;
        difference += error * error;
        energy += exact * exact;
      }
    }
  }
}

}  // namespace detail

/// Measures the noise of a rounded weight gradient against what it varies from batch to batch; of
/// matrices on an eighth of the outputs, at least 64.
///
/// Math: with the exact gradients a and b of the two halves of the batch, noise = ||d_w - a -
/// b||^2, and ||a - b||^2 is an unbiased estimate of the variance of a + b where the halves are
/// alike and independent. A batch of one has the energy of its gradient for a variance. Adds both
/// to the report. Requires: rounded is the weight gradient of input and d_output, K x M. Cost: an
/// exact weight gradient of those outputs; memory for two is allocated. Errors: std::bad_alloc.
/// Thread-safety: distinct contexts. Source: VCAS (ICLR 2024) for the measure; this library.
template <class Domain>
void measure_weight_noise(const ExactProduct<Domain>& exact, const typename Domain::Input& input,
                          const typename Domain::OutputGradient& d_output,
                          const GemmResult<typename Domain::Element>& rounded, Context& context,
                          Report& report) {
  if constexpr (Domain::k_images) {
    detail::add_weight_noise(exact, input, d_output, rounded, context, report);
  } else {
    constexpr index_t k_share = 8;
    constexpr index_t k_fewest = 64;
    const index_t outputs = std::min(std::max(rounded.cols() / k_share, k_fewest), rounded.cols());
    detail::add_weight_noise(exact, input, some_columns(d_output, {0, outputs}),
                             rounded.block(0, 0, rounded.rows(), outputs), context, report);
  }
}

/// Measures the noise of a rounded input gradient against its energy, on an eighth of the batch.
///
/// Math: ||d_x - e||^2 and ||e||^2 with the exact gradient e; adds both to the report. Requires:
/// rounded is the input gradient of d_output, and nothing was added to it. Cost: an eighth of an
/// exact input gradient, or one image or row; memory for it is allocated. Otherwise as
/// measure_weight_noise.
template <class Domain>
void measure_input_noise(const ExactProduct<Domain>& exact,
                         const GemmFactor<typename Domain::Element>& weights,
                         const typename Domain::OutputGradient& d_output,
                         const typename Domain::InputGradient& rounded, Context& context,
                         Report& report) {
  using T = typename Domain::Element;
  constexpr index_t k_share = 8;
  const IndexRange range{0, blocks_of(rounded.parts(), k_share)};
  if (range.size() == 0) return;
  const typename Domain::InputGradient found = rounded.part(range);
  AlignedBuffer<T> storage;
  const typename Domain::InputGradient expected = zeros_like(found, storage);
  const index_t rows = d_output.part(range).rows().rows();
  detail::with_gradient_part(exact, d_output, range,
                             exact.input_gradient_workspace_bytes(rows, context.threads()), context,
                             [&](const auto& part, const MatrixView<const T>& by_rows) {
                               exact.input_gradient(part, by_rows, weights, expected, context);
                             });
  detail::add_difference(found.pixels(), expected.pixels(), report.input_noise_energy,
                         report.input_gradient_energy);
}

ADR_NAMESPACE_END
