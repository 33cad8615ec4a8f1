#include <cstring>
#include <set>
#include <vector>

#include "adr/core/fingerprint.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/sizes.hpp"

namespace {

using adr::index_t;
using adr::MatrixView;
using adr_test::Data;
using adr_test::GuardedBuffer;

template <class T>
std::uint64_t of(const MatrixView<T>& matrix) {
  return adr::fingerprint<T>(MatrixView<const T>(matrix));
}

}  // namespace

TEMPLATE_TEST_CASE("fingerprint sees the elements and neither the gaps nor the place", "",
                   ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for (const index_t cols : adr_test::awkward_sizes<TestType>()) {
    INFO("columns " << cols);
    GuardedBuffer<TestType> dense(3, cols, cols);
    GuardedBuffer<TestType> spaced(3, cols, cols + 5, adr_test::Start::misaligned);
    data.fill_normal(dense.view());
    for (index_t i = 0; i < 3; ++i) {
      for (index_t j = 0; j < cols; ++j) spaced(i, j) = dense(i, j);
    }
    CHECK(of(dense.view()) == of(spaced.view()));
  }
}

TEMPLATE_TEST_CASE("fingerprint changes with every bit of every element", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for (const index_t cols : {1, 3, 4, 7, 8, 9, 33}) {
    GuardedBuffer<TestType> buffer(2, cols, cols);
    data.fill_normal(buffer.view());
    std::set<std::uint64_t> seen = {of(buffer.view())};
    std::size_t changes = 1;
    for (index_t i = 0; i < 2; ++i) {
      for (index_t j = 0; j < cols; ++j) {
        for (std::size_t bit = 0; bit < 8 * sizeof(TestType); ++bit) {
          unsigned char bytes[sizeof(TestType)];
          std::memcpy(bytes, &buffer(i, j), sizeof(bytes));
          bytes[bit / 8] = static_cast<unsigned char>(bytes[bit / 8] ^ (1u << (bit % 8)));
          std::memcpy(&buffer(i, j), bytes, sizeof(bytes));
          seen.insert(of(buffer.view()));
          ++changes;
          bytes[bit / 8] = static_cast<unsigned char>(bytes[bit / 8] ^ (1u << (bit % 8)));
          std::memcpy(&buffer(i, j), bytes, sizeof(bytes));
        }
      }
    }
    INFO("columns " << cols);
    CHECK(seen.size() == changes);
  }
}

TEST_CASE("fingerprint changes with the shape and with the order of elements") {
  const std::vector<float> zeros(24, 0.0f);
  std::set<std::uint64_t> seen;
  const index_t shapes[][2] = {{0, 0}, {0, 4}, {4, 0}, {1, 24}, {24, 1}, {2, 12}, {3, 8}, {8, 3},
                               {1, 1}, {1, 2}, {1, 3}, {1, 4},  {1, 7},  {1, 8},  {1, 9}};
  for (const auto& shape : shapes) {
    seen.insert(adr::fingerprint(MatrixView<const float>(zeros.data(), shape[0], shape[1])));
  }
  CHECK(seen.size() == std::size(shapes));

  std::vector<float> numbers(48);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  const MatrixView<float> matrix(numbers.data(), 3, 16);
  const std::uint64_t before = of(matrix);
  std::swap(matrix(0, 0), matrix(0, 8));
  CHECK(of(matrix) != before);
  std::swap(matrix(0, 0), matrix(0, 8));
  CHECK(of(matrix) == before);
  for (index_t j = 0; j < 16; ++j) std::swap(matrix(0, j), matrix(2, j));
  CHECK(of(matrix) != before);
}

TEST_CASE("fingerprint tells zero from minus zero as documented") {
  const float positive[1] = {0.0f};
  const float negative[1] = {-0.0f};
  CHECK(adr::fingerprint(MatrixView<const float>(positive, 1, 1)) !=
        adr::fingerprint(MatrixView<const float>(negative, 1, 1)));
}

TEST_CASE("A sample meets every channel, every place of a kernel and every part of the rows") {
  const index_t shapes[][2] = {{64, 27},   {64, 75},    {256, 576}, {64, 1600},
                               {32, 3072}, {384, 3456}, {128, 69},  {10, 4096}};
  for (const auto& shape : shapes) {
    for (const index_t period : {2, 3, 5, 8, 9, 16, 23, 64}) {
      if (shape[1] % period != 0) continue;
      for (index_t place = 0; place < period; ++place) {
        INFO(shape[0] << " x " << shape[1] << ", columns " << place << " of every " << period);
        std::vector<float> elements(static_cast<std::size_t>(shape[0] * shape[1]), 1.0F);
        const MatrixView<float> matrix(elements.data(), shape[0], shape[1]);
        const auto sample = [&] {
          return adr::sampled_fingerprint(MatrixView<const float>(matrix));
        };
        const std::uint64_t before = sample();
        CHECK(sample() == before);
        for (index_t i = 0; i < shape[0]; ++i) {
          for (index_t j = place; j < shape[1]; j += period) matrix(i, j) = 2.0F;
        }
        CHECK(sample() != before);
      }
    }
    for (index_t part = 0; part < 8; ++part) {
      std::vector<float> elements(static_cast<std::size_t>(shape[0] * shape[1]), 1.0F);
      const MatrixView<float> matrix(elements.data(), shape[0], shape[1]);
      const std::uint64_t before = adr::sampled_fingerprint(MatrixView<const float>(matrix));
      for (index_t i = shape[0] * part / 8; i < shape[0] * (part + 1) / 8 + 1 && i < shape[0];
           ++i) {
        for (index_t j = 0; j < shape[1]; ++j) matrix(i, j) = 2.0F;
      }
      CHECK(adr::sampled_fingerprint(MatrixView<const float>(matrix)) != before);
    }
  }
}
