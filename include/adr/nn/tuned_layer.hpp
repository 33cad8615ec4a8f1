// What all layers have in common: options, what was learned, the tuner of an automatic setting, and
// the report.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "adr/adapt/layer_policy.hpp"
#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/adapt/scheduler_options.hpp"
#include "adr/adapt/tunable.hpp"
#include "adr/core/context.hpp"
#include "adr/core/types.hpp"
#include "adr/nn/layer_parts.hpp"
#include "adr/nn/layer_passes.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/saved.hpp"
#include "adr/options.hpp"

ADR_NAMESPACE_BEGIN

/// The products of a layer, one per group, and what decides how they are computed.
///
/// An automatic setting with a max_error or a gradient_rounding above 0 has a tuner, which is asked
/// before every forward pass in training what to run with. A scheduler that takes charge of the
/// layer takes its place. Thread-safety: none.
///
/// What is compiled follows from the constructor: a layer that was made with one setting has that
/// method and no tuner, and refuses other settings; one that was made with Options has all.
template <class Domain>
class TunedLayer : public Tunable {
 public:
  using T = typename Domain::Element;

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  /// Changes what is asked of the passes to come. What was learned stays if the setting does.
  /// Errors: std::invalid_argument for an option out of range: nothing has changed then.
  void set_options(const Options& options) {
    require_valid(options);
    detail::require(parts_.tuner != nullptr || !wants_tuner(options),
                    "a layer made for one setting has no tuner: make it with Options");
    if (!wants_tuner(options)) use_plan(fitted_plan(options.plan(), options));
    options_ = options;
    make_tuner();
  }

  /// What the last forward pass did, and the backward passes after it, over all groups; empty
  /// before the first.
  [[nodiscard]] const Report& report() const noexcept override { return report_; }

  [[nodiscard]] Mode mode() const noexcept { return mode_; }
  /// Mode::inference ends learning until Mode::training: a forward pass multiplies with what was
  /// learned, and exactly where nothing was. Methods that learn nothing go on as before.
  /// Transformed weights are kept while a sample of 64 weights stays what it was, as it does not
  /// after a training step or another file: after a change of a few weights alone, set the mode
  /// once more.
  void set_mode(Mode mode) {
    mode_ = mode;
    for (auto& product : products_) product.set_learning(mode == Mode::training);
  }
  /// Mode::inference for a layer that has learned. Errors: std::invalid_argument when nothing has
  /// been learned yet: nothing has changed then.
  void freeze() {
    detail::require(!products_.empty(), "freeze: nothing has been multiplied yet");
    for (auto& product : products_) {
      if (!product.can_freeze()) return product.freeze();  // which refuses
    }
    set_mode(Mode::inference);
  }
  void unfreeze() { set_mode(Mode::training); }
  /// Whether there is nothing to learn, or something was learned already.
  [[nodiscard]] bool can_freeze() const noexcept { return all(&LayerProduct<Domain>::can_freeze); }
  [[nodiscard]] bool frozen() const noexcept { return all(&LayerProduct<Domain>::frozen); }

  /// Forgets what earlier batches left behind: the cluster cache, the estimated mean, and the
  /// subspace, which the next forward pass learns anew unless the mode is inference.
  void clear_cache() {
    for (auto& product : products_) product.clear_cache();
  }
  /// Other products than the library's own; convolutions are unfolded for them.
  void set_dense_gemm(const DenseGemm<T>& gemm) {
    gemm_ = gemm;
    for (auto& product : products_) product.set_dense_gemm(gemm);
  }

  [[nodiscard]] Context& context() noexcept { return *context_; }

  // What schedulers and tuners see.
  [[nodiscard]] const Plan& plan() const noexcept override { return plan_; }
  void set_plan(const Plan& plan) override { use_plan(fitted_plan(plan, options_)); }
  void set_gradient_costs(const GradientCosts& costs) override {
    for (auto& product : products_) product.set_gradient_costs(costs);
  }
  void set_decision(const Decision& decision) override {
    decision_ = decision;
    for (auto& product : products_) product.set_decision(decision);
  }
  /// Settings are measured on the first group.
  void request_measurements(std::vector<Plan> plans) override {
    if (!products_.empty()) products_.front().request_measurements(parts_.taken(plans));
  }
  [[nodiscard]] bool awaits_measurements() const noexcept override {
    return !products_.empty() && products_.front().awaits_measurements();
  }
  [[nodiscard]] const std::vector<RungMeasurement>& measurements() const noexcept override {
    static const std::vector<RungMeasurement> none;
    return products_.empty() ? none : products_.front().measurements();
  }
  /// The mode, for those who see a Tunable.
  void set_learning(bool learns) override { set_mode(learns ? Mode::training : Mode::inference); }
  void hand_over(bool taken) override {
    is_handed_over_ = taken;
    make_tuner();
  }

 protected:
  using Parts = LayerParts<Domain>;

  /// context: null: one of its own.
  TunedLayer(const Options& options, const Parts& parts, Context* context)
      : parts_(parts), options_(options), plan_(options.plan()), context_(own_unless(context)) {
    require_valid(options);
    make_tuner();
  }
  /// A layer that runs with a plan given by hand.
  TunedLayer(const Plan& plan, const Parts& parts, Context* context)
      : parts_(parts), plan_(plan), context_(own_unless(context)) {
    const std::string problem = plan.validate(Plan::k_most);
    detail::require(problem.empty(), "Plan: ", problem);
  }

  /// The shape of every product under a plan.
  [[nodiscard]] virtual ProductShape shape_for(const Plan& plan) const = 0;
  /// Which layer of the program this is: addresses are used again.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

  /// One product per group, of that shape under the plan.
  void make_products(const ProductShape& shape, index_t count) {
    std::vector<LayerProduct<Domain>> products;
    products.reserve(static_cast<std::size_t>(count));
    const Plan plan = fitted_plan(plan_, options_, shape.columns);
    for (index_t g = 0; g < count; ++g) products.emplace_back(shape, plan, parts_.product);
    plan_ = plan;
    products_ = std::move(products);
    for (auto& product : products_) {
      product.set_dense_gemm(gemm_);
      product.set_learning(mode_ == Mode::training);
    }
  }
  [[nodiscard]] bool has_products() const noexcept { return !products_.empty(); }
  [[nodiscard]] int threads() const noexcept { return context_->threads(); }
  [[nodiscard]] LayerProduct<Domain>& product(index_t g = 0) noexcept {
    return products_[static_cast<std::size_t>(g)];
  }
  [[nodiscard]] const LayerProduct<Domain>& product(index_t g = 0) const noexcept {
    return products_[static_cast<std::size_t>(g)];
  }
  [[nodiscard]] std::vector<LayerProduct<Domain>>& products() noexcept { return products_; }
  [[nodiscard]] const std::vector<LayerProduct<Domain>>& products() const noexcept {
    return products_;
  }

  /// Lets the tuner, if there is one, choose the plan of a forward pass.
  void begin_forward() {
    if (!tuner_ || mode_ == Mode::inference) return;
    if (!is_tuned_) {
      tuner_->start(*this);
      is_tuned_ = true;
    } else if (passes_ > 0) {
      tuner_->step(*this, 0);
    }
  }
  /// Collects what the products of a forward pass report. input(): a fingerprint of what was read,
  /// taken where gradients may have to be of the same.
  template <class Input>
  void end_forward(const Input& input, Saved* saved) {
    ++passes_;
    ++passes_of_plan_;
    if (saved != nullptr || plan_.method != Method::exact) input_ = input();
    collect();
    if (report_.has_output_error()) measured_error_ = report_.relative_output_error();
    fill_in();
    if (saved != nullptr) save(*saved);
  }
  void end_backward() {
    collect();
    fill_in();
  }

  /// Lets `use` compute gradients of a kept pass, or of the last one where there is none.
  /// Errors: std::invalid_argument when the pass was another layer's.
  template <class Use>
  void with_pass(Saved* saved, const Use& use) {
    if (saved == nullptr) return use();
    SavedPasses& passes = saved_passes(*saved);
    const auto swap = [&] {
      for (std::size_t g = 0; g < products_.size(); ++g) products_[g].swap_pass(passes.states[g]);
    };
    swap();
    struct SwapBack {
      decltype(swap)& back;
      ~SwapBack() { back(); }
    } const swap_back{swap};
    use();
  }
  /// Throws std::invalid_argument when gradients that follow from a pass are asked for another
  /// input than it had.
  template <class Input>
  void require_input(const Input& input, const Saved* saved) const {
    if (saved != nullptr) {
      detail::require(saved_passes(*saved).input == input(),
                      "x is not what the saved forward pass had: its elements differ");
    } else if (plan_.method != Method::exact) {
      detail::require(input_ == input(),
                      "x is not what the last forward pass had: its elements differ; keep a Saved "
                      "for every pass whose gradients come later");
    }
  }

 private:
  struct SavedPasses final : Saved::Pass {
    std::vector<PassState<T>> states;
    std::uint64_t input = 0;
  };

  [[nodiscard]] bool all(bool (LayerProduct<Domain>::*is)() const noexcept) const noexcept {
    return !products_.empty() && std::all_of(products_.begin(), products_.end(),
                                             [&](const auto& product) { return (product.*is)(); });
  }
  static void require_valid(const Options& options) {
    const std::string problem = options.validate();
    detail::require(problem.empty(), "Options: ", problem);
  }
  static bool wants_tuner(const Options& options) noexcept {
    return std::holds_alternative<Automatic>(options.setting) && !options.stream &&
           (options.max_error > 0 || options.gradient_rounding > 0);
  }
  /// With vectors no longer than a row, where a published setting says how long they are.
  static Plan fitted_plan(Plan plan, const Options& options, index_t columns) noexcept {
    if (!std::holds_alternative<Automatic>(options.setting)) {
      plan.vector_length = std::min(plan.vector_length, columns);
    }
    return plan;
  }
  [[nodiscard]] Plan fitted_plan(const Plan& plan, const Options& options) const noexcept {
    return fitted_plan(plan, options, most_columns());
  }
  [[nodiscard]] index_t most_columns() const noexcept {
    return products_.empty() ? Plan::k_most : products_.front().columns();
  }
  void use_plan(const Plan& plan) {
    const std::string problem = plan.validate(most_columns());
    detail::require(problem.empty(), "Plan: ", problem);
    parts_.require_taken(plan);
    if (plan == plan_) return;
    for (auto& product : products_) product.set_plan(shape_for(plan), plan);
    if (!plan.clusters_as(plan_)) {
      passes_of_plan_ = 0;
      measured_error_ = std::numeric_limits<double>::quiet_NaN();
    }
    plan_ = plan;
  }

  void make_tuner() {
    tuner_.reset();
    is_tuned_ = false;
    if (is_handed_over_ || !wants_tuner(options_)) return;
    tuner_options_ = std::make_unique<SchedulerOptions>();
    tuner_options_->phases = {{options_.max_error, options_.gradient_rounding, 1.0}};
    tuner_ = parts_.tuner(options_.plan(), *tuner_options_);
  }

  void collect() {
    report_.reset();
    for (const auto& product : products_) {
      const Report& part = product.report();
      report_.add(part);
      report_.remaining_ratio_per_slice.insert(report_.remaining_ratio_per_slice.end(),
                                               part.remaining_ratio_per_slice.begin(),
                                               part.remaining_ratio_per_slice.end());
    }
  }
  void fill_in() {
    report_.plan = plan_;
    report_.passes_of_plan = passes_of_plan_;
    report_.max_error = is_handed_over_ ? decision_.max_error : options_.max_error;
    report_.measured_error = report_.is_exact() ? 0.0 : measured_error_;
    report_.exact_seconds = tuner_ ? tuner_->exact_seconds() : PassSeconds();
    report_.workspace_bytes = context_->workspace().peak_bytes();
  }

  void save(Saved& saved) {
    auto* passes = static_cast<SavedPasses*>(saved.pass());
    if (passes == nullptr || passes->layer != number_) {
      auto fresh = std::make_unique<SavedPasses>();
      fresh->layer = number_;
      fresh->states.resize(products_.size());
      passes = fresh.get();
      saved.set_pass(std::move(fresh));
    }
    passes->input = input_;
    for (std::size_t g = 0; g < products_.size(); ++g) {
      // What was there takes the place of the pass, as if nothing had been multiplied.
      passes->states[g].has_forward = false;
      passes->states[g].has_clusters = false;
      products_[g].swap_pass(passes->states[g]);
    }
  }
  SavedPasses& saved_passes(const Saved& saved) const {
    auto* pass = saved.pass();
    detail::require(pass != nullptr && pass->layer == number_,
                    "a gradient needs a Saved that a forward pass of the same layer has filled");
    return *static_cast<SavedPasses*>(pass);
  }

  Context* own_unless(Context* given) {
    if (given == nullptr) own_context_ = std::make_unique<Context>();
    return given != nullptr ? given : own_context_.get();
  }

  std::uint64_t number_ = detail::next_layer_number();
  Parts parts_;
  Options options_;
  Plan plan_;
  std::unique_ptr<Context> own_context_;
  Context* context_;
  DenseGemm<T> gemm_;
  std::vector<LayerProduct<Domain>> products_;
  Mode mode_ = Mode::training;
  Decision decision_;
  bool is_handed_over_ = false;
  bool is_tuned_ = false;
  std::unique_ptr<SchedulerOptions> tuner_options_;  // the tuner points to it
  std::unique_ptr<LayerPolicy> tuner_;
  std::uint64_t input_ = 0;
  index_t passes_ = 0;
  index_t passes_of_plan_ = 0;
  double measured_error_ = std::numeric_limits<double>::quiet_NaN();
  Report report_;
};

ADR_NAMESPACE_END
