// The training loop: epochs of batches, test accuracy, a CSV row and a checkpoint per epoch.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "adr/adapt/scheduler.hpp"
#include "training/checkpoint.hpp"
#include "training/csv_file.hpp"
#include "training/csv_log.hpp"
#include "training/evaluation.hpp"
#include "training/run_settings.hpp"
#include "training/step_trace.hpp"

#if defined(TRAINING_HAS_XTENSOR)
#include "training/snapshots.hpp"
#endif

namespace training {

struct StepReport {
  index_t epoch;  ///< counted from 1
  index_t step;   ///< counted from 1
  index_t steps_per_epoch;
  double mean_loss;  ///< of the epoch so far
};

/// Who wants to know how it goes; either may be empty.
struct TrainingObserver {
  std::function<void(const StepReport&)> on_step;
  std::function<void(const EpochReport&)> on_epoch;
};

inline index_t steps_per_epoch(const DataSet& data, const TrainingPlan& plan) {
  return (data.train.size() + plan.batch - 1) / plan.batch;
}

template <class T>
class Trainer {
 public:
  /// Everything handed over must outlive the trainer; without a scheduler settings stay as they
  /// are. Errors: UserError.
  Trainer(Network<T>& network, const DataSet& data, const TrainingPlan& plan, RunSettings settings,
          adr::Context& context, adr::ReuseScheduler* scheduler = nullptr)
      : network_(network),
        data_(data),
        plan_(plan),
        settings_(std::move(settings)),
        context_(context),
        scheduler_(scheduler),
        sgd_(plan.sgd),
        scale_(data.train),
        train_loader_(data.train, scale_, network.layout(), context),
        test_loader_(data.test, scale_, network.layout(), context),
        random_(plan.seed) {
    require(data.train.size() > 0 && data.test.size() > 0,
            "training needs images to learn from and to test on, got ", data.train.size(), " and ",
            data.test.size());
    require_images_of(network.input_shape(), data);
    const std::string problem = plan.sgd.validate();
    require(problem.empty(), problem);
    require(plan.batch >= 1, "--batch must be at least 1 image, got ", plan.batch);
    require(!plan.resume || !plan.checkpoint.empty(), "--resume needs --checkpoint FILE");
    if (!plan.checkpoint.empty()) {
      const auto folder = std::filesystem::absolute(plan.checkpoint).parent_path();
      require(std::filesystem::is_directory(folder),
              "--checkpoint must name a file in an existing folder, got '", plan.checkpoint, "'");
    }
    if (scheduler != nullptr) {
      for (Conv<T>* conv : network.convolutions()) {
        scheduler->attach(conv->adaptive(), conv->name());
      }
      // The published method reuses in convolutions alone.
      if (scheduler->options().strategy == adr::Strategy::error_budget) {
        for (Linear<T>* linear : network.linears()) {
          scheduler->attach(linear->adaptive(), linear->name());
        }
      }
    }
    if (plan.resume) resume();
    require(epochs_done() < plan.epochs, "--epochs must be above the epochs already done (",
            epochs_done(), "), got ", plan.epochs);
  }

  [[nodiscard]] index_t epochs_done() const { return static_cast<index_t>(progress_.epochs_done); }
  [[nodiscard]] index_t steps_per_epoch() const { return training::steps_per_epoch(data_, plan_); }

  /// Trains up to the planned epoch and returns the last report.
  /// Errors: Diverged when the loss stops being finite, after the epoch's row is written.
  EpochReport run(const TrainingObserver& observer = {}) {
    CsvFile csv = csv_log(plan_.csv, network_.convolutions().size(), epochs_done());
    StepTrace trace(plan_.trace, network_.convolutions().size(), epochs_done() * steps_per_epoch());
    EpochReport report;
    if (epochs_done() == 0) write_snapshots("initial");
    while (epochs_done() < plan_.epochs) {
      report = train_epoch(observer, trace);
      const bool diverged = !std::isfinite(report.train_loss);
      if (!diverged) evaluate(report);
      csv.append(csv_row(report));
      if (diverged) {
        throw Diverged(message("the loss is ", report.train_loss, " in epoch ", report.epoch,
                               " at a learning rate of ", report.learning_rate,
                               "; a smaller --lr may help"));
      }
      finish_epoch(report);
      if (observer.on_epoch) observer.on_epoch(report);
    }
    write_snapshots("trained");
    return report;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  void resume() {
    progress_ = load_checkpoint(plan_.checkpoint, settings_, network_.parameters());
    random_ = adr::Random(progress_.random_state);
    // The schedule first: the files of the layers hold what belongs to its settings.
    if (scheduler_ != nullptr) scheduler_->load_state(side_file(progress_.epochs_done, "schedule"));
    for (ReusedLayer<T>* layer : network_.reused_layers()) {
      layer->load_state(side_file(progress_.epochs_done, layer->name()));
    }
  }

  /// What belongs to the checkpoint after that many epochs and lies beside it.
  [[nodiscard]] std::string side_file(std::uint64_t epochs, const std::string& part) const {
    return message(plan_.checkpoint, '.', epochs, '.', part);
  }
  /// The checkpoint is written last and names the epoch, so that an interrupted program leaves the
  /// files of one epoch whole.
  void save_run() {
    const std::uint64_t epochs = progress_.epochs_done;
    std::vector<std::string> parts;
    if (scheduler_ != nullptr) {
      scheduler_->save_state(side_file(epochs, "schedule"));
      parts.emplace_back("schedule");
    }
    for (const ReusedLayer<T>* layer : network_.reused_layers()) {
      layer->save_state(side_file(epochs, layer->name()));
      parts.push_back(layer->name());
    }
    save_checkpoint(plan_.checkpoint, settings_, progress_, network_.parameters());
    for (const std::string& part : parts) std::filesystem::remove(side_file(epochs - 1, part));
  }

  void write_snapshots([[maybe_unused]] const std::string& moment) {
#if defined(TRAINING_HAS_XTENSOR)
    if (plan_.snapshots.empty()) return;
    training::write_snapshots(network_, train_loader_, std::min(data_.train.size(), plan_.batch),
                              std::filesystem::path(plan_.snapshots) / moment);
#endif
  }

  EpochReport train_epoch(const TrainingObserver& observer, StepTrace& trace) {
    const auto start = Clock::now();
    EpochReport report;
    report.epoch = epochs_done() + 1;
    report.learning_rate = sgd_.learning_rate(epochs_done());
    report.test_accuracy = std::numeric_limits<double>::quiet_NaN();
    report.convolutions.resize(network_.convolutions().size());
    if (scheduler_ != nullptr) scheduler_->note_learning_rate(report.learning_rate);

    const std::vector<index_t> order = shuffled_order(data_.train.size(), random_);
    double loss_sum = 0;
    index_t correct = 0;
    index_t seen = 0;
    for (index_t step = 1; step <= steps_per_epoch() && std::isfinite(loss_sum); ++step) {
      const index_t count = std::min(plan_.batch, data_.train.size() - seen);
      const BatchResult result = train_batch(order.data() + seen, count, report);
      loss_sum += result.loss_sum;
      correct += result.correct;
      seen += count;
      const double batch_loss = result.loss_sum / static_cast<double>(count);
      if (scheduler_ != nullptr) scheduler_->observe(batch_loss);
      trace.append(epochs_done() * steps_per_epoch() + step, batch_loss, network_.convolutions());
      if (observer.on_step) {
        observer.on_step(
            {report.epoch, step, steps_per_epoch(), loss_sum / static_cast<double>(seen)});
      }
    }
    report.train_loss = loss_sum / static_cast<double>(seen);
    report.train_accuracy = static_cast<double>(correct) / static_cast<double>(seen);
    report.seconds = seconds_since(start);
    report.total_seconds = progress_.training_seconds + report.seconds;
    for (const Conv<T>* conv : network_.convolutions()) report.plans.push_back(conv->plan());
    return report;
  }

  BatchResult train_batch(const index_t* indices, index_t count, EpochReport& report) {
    std::vector<Augmentation> augmentations;
    if (plan_.augment) {
      for (index_t i = 0; i < count; ++i) augmentations.push_back(Augmentation::draw(random_));
    }
    train_loader_.load(indices, count, augmentations, batch_);
    const adr::MatrixView<const T> logits = network_.forward(batch_.images.const_view());
    const BatchResult result = softmax_loss(logits, batch_.labels, network_.logit_gradient());
    network_.backward();
    sgd_.step(network_.parameters(), report.learning_rate, context_);
    for (std::size_t i = 0; i < report.convolutions.size(); ++i) {
      report.convolutions[i].add(network_.convolutions()[i]->report());
    }
    return result;
  }

  void evaluate(EpochReport& report) {
    const auto start = Clock::now();
    // Test images must not teach the clusters anything; a setting that is new since the last step
    // learns from its batch.
    const auto& layers = network_.reused_layers();
    if (!std::all_of(layers.begin(), layers.end(),
                     [](const ReusedLayer<T>* layer) { return layer->can_freeze(); })) {
      network_.forward(batch_.images.const_view());
    }
    for (ReusedLayer<T>* layer : layers) layer->freeze();
    network_.set_training(false);
    report.test_accuracy =
        accuracy(network_, test_loader_, {0, data_.test.size()}, plan_.batch, batch_);
    network_.set_training(true);
    for (ReusedLayer<T>* layer : layers) layer->unfreeze();
    report.evaluation_seconds = seconds_since(start);
  }

  void finish_epoch(const EpochReport& report) {
    progress_.epochs_done = static_cast<std::uint64_t>(report.epoch);
    progress_.training_seconds = report.total_seconds;
    progress_.random_state = random_.state();
    if (!plan_.checkpoint.empty()) save_run();
  }

  Network<T>& network_;
  const DataSet& data_;
  TrainingPlan plan_;
  RunSettings settings_;
  adr::Context& context_;
  adr::ReuseScheduler* scheduler_;
  Sgd sgd_;
  PixelScale scale_;
  BatchLoader<T> train_loader_;
  BatchLoader<T> test_loader_;
  Batch<T> batch_;
  adr::Random random_;
  Progress progress_;
};

}  // namespace training
