// What a layer keeps of one stream of images.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// The frames of one camera as one layer sees them, kept by the caller: one per camera and layer.
///
/// `layer.forward(..., stream)` computes what has changed since the frames before; docs/streams.md.
/// Images of a batch are streams of their own that are handed over together: image n is compared
/// with image n. Memory: the input and output of the layer. Thread-safety: that of the layer.
/// Source: this library.
class Stream {
 public:
  /// What is kept of an output.
  enum class Output {
    as_it_is,  ///< all of it
    rectified  ///< its positive part, so that no pass over the output is needed for a ReLU
  };

  /// Keeps outputs as they are.
  Stream() = default;
  /// Keeps that of outputs.
  explicit Stream(Output output) : output_(output) {}

  /// What is kept of outputs.
  [[nodiscard]] Output output() const noexcept { return output_; }
  /// Whether nothing is kept: the next pass computes everything.
  [[nodiscard]] bool empty() const noexcept { return state_ == nullptr || state_->is_empty(); }
  /// Forgets what was kept, as before another scene; memory stays.
  void reset() noexcept {
    if (state_ != nullptr) state_->reset();
  }

  /// Says that the next input is the last one moved by (dy, dx) pixels, up to what entered at the
  /// border: what it has in common with that one stays. Shifts by anything but whole blocks (tiles
  /// of 2 or 4, squares of 8 or 16 outputs, times the stride), and where nothing is kept: as reset.
  void shift(index_t dy, index_t dx) {
    if (state_ != nullptr) state_->shift(dy, dx);
  }

  /// What layers of different kinds keep.
  struct State {
    virtual ~State() = default;
    /// Whether the next pass computes everything.
    [[nodiscard]] virtual bool is_empty() const noexcept = 0;
    /// As Stream::reset.
    virtual void reset() noexcept = 0;
    /// As Stream::shift.
    virtual void shift(index_t dy, index_t dx) = 0;
    /// Where the output is; null where there is none.
    [[nodiscard]] virtual const void* output() const noexcept = 0;
    std::uint64_t layer = 0;  ///< the number of that whose passes are kept
  };
  /// What the layer has kept; null where it is empty. For layers.
  [[nodiscard]] State* state() const noexcept { return state_.get(); }
  /// Keeps that in place of what was there. For layers.
  void set_state(std::unique_ptr<State> state) noexcept { state_ = std::move(state); }

 private:
  Output output_ = Output::as_it_is;
  std::unique_ptr<State> state_;
};

ADR_NAMESPACE_END
