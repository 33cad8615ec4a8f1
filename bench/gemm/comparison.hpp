// One matrix shape: the dense rivals beside reuse_gemm on inputs of rising redundancy, in every
// pass.
#pragma once

#include <adr/adapt/plan_label.hpp>
#include <adr/options.hpp>
#include <adr/reuse_gemm.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/gemm/break_even.hpp"
#include "bench/gemm/pass.hpp"
#include "bench/support/engines.hpp"
#include "bench/support/library_engines.hpp"
#include "bench/support/matrix.hpp"
#include "bench/support/paired_rounds.hpp"
#include "bench/support/redundant_data.hpp"
#include "bench/support/shapes.hpp"
#include "bench/support/statistics.hpp"

namespace adr_bench {

struct ComparisonSettings {
  std::vector<Pass> passes;
  std::vector<double> remaining_ratios;  ///< asked for; what is found is measured
  adr::Published published;
  adr::Clustered clustered;
  std::string product;  ///< what the published method multiplies centroids with
  int threads = 1;
  int rounds = 7;
};

/// A contender in one pass.
struct PassResult {
  std::vector<double> seconds;       ///< per round
  double speedup_vs_best_dense = 0;  ///< median over rounds
  double speedup_vs_exact = 0;       ///< the same against the library without reuse
  double relative_error = 0;         ///< of the pass's result, against Eigen on the same data
};

struct ContenderResult {
  std::string engine;
  std::string config;
  bool dense = true;  ///< exact: a rival, or the library without reuse
  double asked_remaining_ratio = 1;
  double remaining_ratio = 1;
  std::size_t workspace_bytes = 0;
  std::vector<PassResult> passes;  ///< as in ComparisonSettings::passes
};

/// Where an engine that reuses begins to pay.
struct EngineBreakEven {
  std::string engine;
  std::vector<BreakEven> passes;  ///< as in ComparisonSettings::passes
};

struct ComparisonResult {
  std::vector<ContenderResult> contenders;
  std::vector<std::string> best_dense;  ///< per pass
  std::vector<EngineBreakEven> break_even;
};

namespace detail {

/// The matrices of all contenders, and the reusing products with their clusters.
class GemmWorkbench {
 public:
  GemmWorkbench(const GemmShape& shape, const ComparisonSettings& settings)
      : shape_(shape),
        engines_(dense_engines()),
        inner_(dense_engine(settings.product)),
        b_(normal_matrix(shape.k, shape.m, 1.0, 11)),
        d_c_(normal_matrix(shape.n, shape.m, 1.0, 12)),
        c_(shape.n, shape.m),
        d_b_(shape.k, shape.m),
        d_a_(shape.n, shape.k),
        context_(settings.threads),
        threads_(settings.threads) {
    exact_ = std::make_unique<adr::ReuseGemm<float>>(adr::Options(), context_);
    for (const DenseEngine& engine : engines_) name_contender(engine.name, "dense");
    name_contender(engine_of(adr::Exact()), "exact");
    for (const double ratio : settings.remaining_ratios) {
      // Rows that repeat as a whole: their slices do as well.
      Redundancy redundancy;
      redundancy.vector_length = shape.k;
      redundancy.remaining_ratio = ratio;
      inputs_.push_back(redundant_matrix(shape.n, shape.k, redundancy));
      add_reuse(settings.published, ratio, ", products by " + settings.product)
          .set_dense_gemm(inner_.multiply);
      add_reuse(settings.clustered, ratio, "");
    }
    inner_.set_threads(1);
    // The gradients need the clusters of a forward pass, whichever passes are measured.
    run_reuse(Pass::forward, *exact_, inputs_.front());
    for (std::size_t i = 0; i < reuse_.size(); ++i) run_reuse(Pass::forward, *reuse_[i], input(i));
  }

  void measure(Pass pass, int rounds) {
    std::vector<Contender> contenders;
    for (std::size_t i = 0; i < engines_.size(); ++i) {
      contenders.push_back({engines_[i].name, [this, i] { engines_[i].set_threads(threads_); },
                            [this, pass, i] { run_dense(pass, engines_[i], inputs_.front()); },
                            [this, pass, i] { inspect(pass, i, inputs_.front()); }, threads_});
    }
    contenders.push_back({engine_of(adr::Exact()), [] {},
                          [this, pass] { run_reuse(pass, *exact_, inputs_.front()); },
                          [this, pass] { inspect(pass, engines_.size(), inputs_.front()); },
                          threads_});
    for (std::size_t i = 0; i < reuse_.size(); ++i) {
      contenders.push_back(
          {result_.contenders[first_reuse() + i].engine, [this] { inner_.set_threads(1); },
           [this, pass, i] { run_reuse(pass, *reuse_[i], input(i)); },
           [this, pass, i] { inspect(pass, first_reuse() + i, input(i)); }, threads_});
    }
    summarise(paired_rounds(contenders, rounds));
  }

  [[nodiscard]] ComparisonResult result() {
    for (std::size_t i = 0; i < reuse_.size(); ++i) {
      ContenderResult& contender = result_.contenders[first_reuse() + i];
      contender.remaining_ratio = reuse_[i]->report().remaining_ratio();
      contender.workspace_bytes = reuse_[i]->workspace_bytes(shape_.n);
    }
    for (const char* engine : {engine_of(adr::Published()), engine_of(adr::Clustered())}) {
      result_.break_even.push_back({engine, {}});
      for (std::size_t p = 0; p < result_.best_dense.size(); ++p) {
        std::vector<RelativeCost> costs;
        for (const ContenderResult& contender : result_.contenders) {
          if (contender.engine != engine) continue;
          // What found nothing worth it has run the exact product.
          costs.push_back(
              {contender.asked_remaining_ratio, 1 / contender.passes[p].speedup_vs_best_dense});
        }
        result_.break_even.back().passes.push_back(find_break_even(costs));
      }
    }
    return result_;
  }

 private:
  /// Rivals come first, then the library without reuse.
  [[nodiscard]] std::size_t first_reuse() const noexcept { return engines_.size() + 1; }

  ContenderResult& name_contender(const std::string& engine, const std::string& config) {
    result_.contenders.emplace_back();
    result_.contenders.back().engine = engine;
    result_.contenders.back().config = config;
    return result_.contenders.back();
  }
  adr::ReuseGemm<float>& add_reuse(const adr::Setting& setting, double ratio,
                                   const std::string& more) {
    const adr::Options options = options_with(setting);
    ContenderResult& contender =
        name_contender(engine_of(setting), adr::label(options.plan()) + more);
    contender.dense = false;
    contender.asked_remaining_ratio = ratio;
    reuse_.push_back(std::make_unique<adr::ReuseGemm<float>>(options, context_));
    return *reuse_.back();
  }
  /// Two settings reuse on every input.
  [[nodiscard]] const Matrix& input(std::size_t reuse) const { return inputs_[reuse / 2]; }

  void run_dense(Pass pass, const DenseEngine& engine, const Matrix& a) {
    using adr::as_is;
    using adr::transposed;
    const adr::Update replace = adr::Update::replace;
    const auto input = a.view();
    const auto weights = std::as_const(b_).view();
    const auto gradient = std::as_const(d_c_).view();
    switch (pass) {
      case Pass::forward:
        return engine.multiply(as_is(input), as_is(weights), replace, c_.view());
      case Pass::weight_gradient:
        return engine.multiply(transposed(input), as_is(gradient), replace, d_b_.view());
      case Pass::input_gradient:
        return engine.multiply(as_is(gradient), transposed(weights), replace, d_a_.view());
    }
  }

  void run_reuse(Pass pass, adr::ReuseGemm<float>& reuse, const Matrix& a) {
    switch (pass) {
      case Pass::forward:
        return adr::reuse_gemm(a.view(), b_.view(), c_.view(), reuse);
      case Pass::weight_gradient:
        return adr::reuse_gemm_weight_gradient(a.view(), d_c_.view(), d_b_.view(), reuse);
      case Pass::input_gradient:
        return adr::reuse_gemm_input_gradient(d_c_.view(), b_.view(), d_a_.view(), reuse);
    }
  }

  Matrix& output(Pass pass) {
    return pass == Pass::forward ? c_ : pass == Pass::weight_gradient ? d_b_ : d_a_;
  }

  /// Compares what the contender just wrote with Eigen's result on the same input.
  void inspect(Pass pass, std::size_t contender, const Matrix& a) {
    Matrix& out = output(pass);
    const Matrix written = std::move(out);
    out = Matrix(written.rows(), written.cols());
    run_dense(pass, engines_.front(), a);
    result_.contenders[contender].passes.push_back({{}, 0, 0, relative_error(written, out)});
  }

  void summarise(const std::vector<std::vector<double>>& seconds) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < engines_.size(); ++i) {
      if (median(seconds[i]) < median(seconds[best])) best = i;
    }
    result_.best_dense.push_back(engines_[best].name);
    for (std::size_t i = 0; i < seconds.size(); ++i) {
      PassResult& pass = result_.contenders[i].passes.back();
      pass.seconds = seconds[i];
      pass.speedup_vs_best_dense = median_ratio(seconds[best], seconds[i]);
      pass.speedup_vs_exact = median_ratio(seconds[engines_.size()], seconds[i]);
    }
  }

  GemmShape shape_;
  std::vector<DenseEngine> engines_;
  DenseEngine inner_;
  std::vector<Matrix> inputs_;
  Matrix b_;
  Matrix d_c_;
  Matrix c_;
  Matrix d_b_;
  Matrix d_a_;
  adr::Context context_;
  std::unique_ptr<adr::ReuseGemm<float>> exact_;
  std::vector<std::unique_ptr<adr::ReuseGemm<float>>> reuse_;
  int threads_;
  ComparisonResult result_;
};

}  // namespace detail

/// Measures one shape. Memory: (inputs + 2) N K floats.
inline ComparisonResult compare(const GemmShape& shape, const ComparisonSettings& settings) {
  ComparisonSettings fitted = settings;
  fitted.published.vector_length = std::min(settings.published.vector_length, shape.k);
  detail::GemmWorkbench workbench(shape, fitted);
  for (const Pass pass : fitted.passes) workbench.measure(pass, fitted.rounds);
  return workbench.result();
}

}  // namespace adr_bench
