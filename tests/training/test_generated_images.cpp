// The drawn image set: the same whatever the threads, different with another seed, and not to be
// told apart by simple means.
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "training/generated_images.hpp"

using training::DataSet;
using training::generate_images;
using training::index_t;

TEST_CASE("Images depend on the seed and not on the threads") {
  adr::Context one(1);
  adr::Context three(3);
  const DataSet first = generate_images(40, 20, 7, one);
  const DataSet again = generate_images(40, 20, 7, three);
  const DataSet other = generate_images(40, 20, 8, one);
  CHECK(first.train.pixels == again.train.pixels);
  CHECK(first.train.labels == again.train.labels);
  CHECK(first.test.pixels == again.test.pixels);
  CHECK(first.train.pixels != other.train.pixels);
  CHECK(std::vector<std::uint8_t>(first.train.pixels.begin(), first.train.pixels.begin() + 3072) !=
        std::vector<std::uint8_t>(first.test.pixels.begin(), first.test.pixels.begin() + 3072));
}

TEST_CASE("Every class occurs and no mean image gives a class away") {
  adr::Context context(1);
  const training::ImageSet set = generate_images(2000, 1, 3, context).train;
  std::vector<double> sum(10, 0.0);
  std::vector<int> count(10, 0);
  for (index_t i = 0; i < set.size(); ++i) {
    const std::uint8_t label = set.labels[static_cast<std::size_t>(i)];
    ++count[label];
    for (index_t p = 0; p < set.shape.size(); ++p) sum[label] += set.image(i)[p];
  }
  for (std::size_t label = 0; label < 10; ++label) {
    CHECK(count[label] > 100);
    // Brightness varies by more than 20 between images; class means must agree far better.
    CHECK(std::abs(sum[label] / (3072.0 * count[label]) - 127.5) < 6.0);
  }
}
