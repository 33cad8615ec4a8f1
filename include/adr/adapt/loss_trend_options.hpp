// When a training loss counts as falling: plain data.
#pragma once

#include <string>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"

namespace adr {

/// When a loss counts as falling. The paper's window and threshold are not public; these are ours.
struct LossTrendOptions {
  index_t warm_up = 200;   ///< steps at the beginning that are left out
  index_t window = 100;    ///< steps of which the loss is averaged
  double min_drop = 0.01;  ///< a fall of the mean by this share of the best one counts
  int patience = 2;        ///< windows in a row without a fall that make a plateau
  /// A mean above this multiple of the best one has diverged.
  double divergence = 2.0;

  /// Returns an empty string, or one sentence that names the rule and the value. Thread-safety:
  /// reentrant.
  [[nodiscard]] std::string validate() const {
    using checks::message;
    if (warm_up < 0) return message("warm_up must be at least 0 steps, got ", warm_up);
    if (window < 1) return message("window must be at least 1 step, got ", window);
    if (!(min_drop >= 0 && min_drop < 1)) {
      return message("min_drop must be at least 0 and below 1, got ", min_drop);
    }
    if (patience < 1) return message("patience must be at least 1 window, got ", patience);
    if (!(divergence > 1)) return message("divergence must be above 1, got ", divergence);
    return {};
  }
};

}  // namespace adr
