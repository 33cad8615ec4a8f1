// Where the images come from: a folder when the user names one, else drawn here.
#pragma once

#include "training/cifar10.hpp"
#include "training/generated_images.hpp"
#include "training/options.hpp"

#if defined(TRAINING_HAS_XTENSOR)
#include "training/npy_images.hpp"
#endif

namespace training {

inline DataSet load_data(const Options& options, adr::Context& context) {
#if defined(TRAINING_HAS_XTENSOR)
  if (!options.images.empty()) return read_npy_images(options.images, options.train_images);
#endif
  if (!options.data.empty()) {
    return read_cifar10(options.data, options.train_images, options.test_images);
  }
  constexpr index_t k_train_images = 10000;
  constexpr index_t k_test_images = 2000;
  return generate_images(options.train_images > 0 ? options.train_images : k_train_images,
                         options.test_images > 0 ? options.test_images : k_test_images,
                         options.plan.seed, context);
}

}  // namespace training
