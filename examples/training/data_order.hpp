// What chance decides about the data of an epoch: the order of the images and how each one is
// changed. Both are drawn from one generator whose state a checkpoint holds.
#pragma once

#include <numeric>
#include <utility>
#include <vector>

#include "adr/core/random.hpp"
#include "training/tensor.hpp"

namespace training {

/// The images 0 .. count-1 in random order.
inline std::vector<index_t> shuffled_order(index_t count, adr::Random& random) {
  std::vector<index_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), index_t{0});
  for (index_t i = count - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(random.below(i + 1))]);
  }
  return order;
}

/// A random shift and reflection of one image.
struct Augmentation {
  index_t shift_y = 0;
  index_t shift_x = 0;
  bool mirrored = false;

  /// Shifts by up to an eighth of a CIFAR image, as in the usual pad-by-4-and-crop.
  static Augmentation draw(adr::Random& random) {
    constexpr index_t k_largest_shift = 4;
    Augmentation drawn;
    drawn.shift_y = random.below(2 * k_largest_shift + 1) - k_largest_shift;
    drawn.shift_x = random.below(2 * k_largest_shift + 1) - k_largest_shift;
    drawn.mirrored = random.below(2) == 1;
    return drawn;
  }
};

}  // namespace training
