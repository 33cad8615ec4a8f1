// The fastest of several dense convolutions, pass by pass, found by trying.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "adr/core/context.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/recently_used.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_convolution.hpp"

ADR_NAMESPACE_BEGIN

/// Runs each pass with the implementation that was the fastest on its operands.
///
/// The first pass of a kind over a batch size runs every implementation once, those that took less
/// than twice as long as the fastest two times more, and keeps the one with the fastest run; the
/// last four batch sizes are remembered. Math, shapes: those of
/// DenseConvolution. Memory: that of the implementations. Determinism: which one is the fastest may
/// change from run to run, and with it the last bits of results; an empty clock takes the first.
/// Errors: std::invalid_argument from the constructor without an implementation; those of the
/// implementations. Thread-safety: none. Source: this library.
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
    constexpr int k_runs = 3;
    constexpr double k_hopeless = 2;
    const std::size_t count = implementations_.size();
    if (count == 1 || !clock_) return implementations_.front().get();
    std::vector<double> seconds(count, std::numeric_limits<double>::max());
    std::size_t best = 0;
    for (int run = 0; run < k_runs; ++run) {
      for (std::size_t i = 0; i < count; ++i) {
        if (run > 0 && seconds[i] >= k_hopeless * seconds[best] && i != best) continue;
        const double start = clock_();
        run_with(*implementations_[i]);
        seconds[i] = std::min(seconds[i], clock_() - start);
        if (seconds[i] < seconds[best]) best = i;
      }
    }
    return implementations_[best].get();
  }

  std::vector<Implementation> implementations_;
  Clock clock_;
  std::array<Choices, k_kinds> choices_;
};

ADR_NAMESPACE_END
