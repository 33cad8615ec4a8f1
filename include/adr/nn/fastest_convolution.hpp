// The fastest of several dense convolutions, pass by pass, found by trying.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/fastest.hpp"
#include "adr/core/recently_used.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_convolution.hpp"

ADR_NAMESPACE_BEGIN

/// Runs each pass with the implementation that was the fastest on its operands.
///
/// The first pass of a kind over a batch size runs every implementation once, in which it may look
/// for its own fastest form, then up to three times by the clock (detail::fastest_of), and keeps
/// the one with the fastest run; the last four batch sizes are remembered. Layers of one geometry
/// that run one after the other can share an object, and what it has found out. Math, shapes: those
/// of DenseConvolution. Memory: that of the implementations. Determinism: which one is the fastest
/// may change from run to run, and with it the last bits of results; an empty clock takes the
/// first. Errors: std::invalid_argument from the constructor without an implementation; those of
/// the implementations. Thread-safety: none. Source: this library.
template <class T>
class FastestConvolution final : public DenseConvolution<T> {
 public:
  using Implementation = std::shared_ptr<DenseConvolution<T>>;

  explicit FastestConvolution(std::vector<Implementation> implementations,
                              Clock clock = steady_seconds)
      : implementations_(std::move(implementations)), clock_(std::move(clock)) {
    detail::require(!implementations_.empty(),
                    "FastestConvolution: needs an implementation, got 0");
    for (const Implementation& implementation : implementations_) {
      detail::require(implementation != nullptr, "FastestConvolution: got a null implementation");
    }
  }

  void forward(const TensorView<const T>& x, const MatrixView<const T>& w,
               const VectorView<const T>& bias, const TensorView<T>& y) override {
    run(k_forward, x.batch,
        [&](DenseConvolution<T>& convolution) { convolution.forward(x, w, bias, y); });
  }
  void weight_gradient(const TensorView<const T>& x, const TensorView<const T>& d_y,
                       const MatrixView<T>& d_w) override {
    run(k_weight_gradient, x.batch,
        [&](DenseConvolution<T>& convolution) { convolution.weight_gradient(x, d_y, d_w); });
  }
  void input_gradient(const TensorView<const T>& d_y, const MatrixView<const T>& w,
                      const TensorView<T>& d_x) override {
    run(k_input_gradient, d_y.batch,
        [&](DenseConvolution<T>& convolution) { convolution.input_gradient(d_y, w, d_x); });
  }

 private:
  enum Kind : std::size_t { k_forward, k_weight_gradient, k_input_gradient, k_kinds };

  /// The fastest by batch size. Training has four: a batch and what is left over at the end, and
  /// the same for tests.
  using Choices = detail::RecentlyUsed<index_t, DenseConvolution<T>*, 4>;

  template <class Run>
  void run(Kind kind, index_t batch, const Run& run_with) {
    DenseConvolution<T>** choice = choices_[kind].find(batch);
    if (choice == nullptr) choice = &choices_[kind].insert(batch, fastest(run_with));
    run_with(**choice);
  }

  template <class Run>
  DenseConvolution<T>* fastest(const Run& run_with) {
    const std::size_t count = implementations_.size();
    const auto run = [&](std::size_t i) { run_with(*implementations_[i]); };
    const bool is_timed = count > 1 && clock_;
    for (std::size_t i = 0; is_timed && i < count; ++i) run(i);
    return implementations_[detail::fastest_of(count, clock_, run)].get();
  }

  std::vector<Implementation> implementations_;
  Clock clock_;
  std::array<Choices, k_kinds> choices_;
};

ADR_NAMESPACE_END
