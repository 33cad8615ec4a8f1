// The fastest of several dense products, shape by shape, found by trying.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/fastest.hpp"
#include "adr/core/recently_used.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/dense_gemm.hpp"

ADR_NAMESPACE_BEGIN

namespace detail {

/// The state behind fastest_gemm().
template <class T>
class FastestGemm {
 public:
  FastestGemm(std::vector<DenseGemm<T>> products, Clock clock)
      : products_(std::move(products)), clock_(std::move(clock)) {}

  void operator()(const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                  const MatrixView<T>& result) {
    const Key key = {a.rows(), a.cols(), b.cols(), a.transposed, b.transposed};
    std::size_t choice = find(key);
    if (choice == products_.size()) choice = kept(key, fastest(a, b, result.rows, result.cols));
    products_[choice](a, b, update, result);
  }

 private:
  struct Key {
    index_t n = 0;
    index_t k = 0;
    index_t m = 0;
    bool a_transposed = false;
    bool b_transposed = false;

    bool operator==(const Key& other) const noexcept {
      return n == other.n && k == other.k && m == other.m && a_transposed == other.a_transposed &&
             b_transposed == other.b_transposed;
    }
  };
  /// The products of several layers, pass by pass, with what is left over at the end of each.
  using Choices = RecentlyUsed<Key, std::size_t, 64>;

  /// As many as there are products when it is not known.
  std::size_t find(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::size_t* choice = choices_.find(key);
    return choice == nullptr ? products_.size() : *choice;
  }
  /// Keeps a choice, unless another thread was first: then its choice is everyone's.
  std::size_t kept(const Key& key, std::size_t choice) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const std::size_t* earlier = choices_.find(key)) return *earlier;
    choices_.insert(key, choice);
    return choice;
  }
  /// Into memory of its own, because what is added to the user's result is added once.
  std::size_t fastest(const GemmFactor<T>& a, const GemmFactor<T>& b, index_t rows,
                      index_t cols) const {
    if (rows == 0 || cols == 0) return 0;
    AlignedBuffer<T> trial(checked_product("result", rows, cols));
    return fastest_of(products_.size(), clock_, [&](std::size_t i) {
      products_[i](a, b, Update::replace, MatrixView<T>(trial.data(), rows, cols));
    });
  }

  std::vector<DenseGemm<T>> products_;
  Clock clock_;
  std::mutex mutex_;
  Choices choices_;
};

}  // namespace detail

/// Multiplies with the product that was the fastest on the first operands of their shape.
///
/// Math, shapes, units: those of DenseGemm. A shape that is new is multiplied by each product up to
/// three times by the clock (detail::fastest_of); the last 64 shapes are remembered, by all copies
/// together. Memory: those and, in the first call of a shape, a result. Determinism: which one is
/// the fastest may change from run to run, and with it the last bits of results; an empty clock
/// takes the first. Errors: std::invalid_argument without a product; those of the products.
/// Thread-safety: reentrant, as the products are. Source: this library.
template <class T>
DenseGemm<T> fastest_gemm(std::vector<DenseGemm<T>> products, Clock clock = steady_seconds) {
  detail::require(!products.empty(), "fastest_gemm: needs a product, got 0");
  const auto state =
      std::make_shared<detail::FastestGemm<T>>(std::move(products), std::move(clock));
  return DenseGemm<T>([state](const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                              const MatrixView<T>& result) { (*state)(a, b, update, result); });
}

ADR_NAMESPACE_END
