// Packed weights, and the metric that they put on neuron vectors, against products in double
// precision.
#include <vector>

#include "adr/reference/products.hpp"
#include "adr/subspace/packed_weights.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::AlignedBuffer;
using adr::Context;
using adr::index_t;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::GuardedBuffer;

/// Weights in the order of pack_weights.
AlignedBuffer<float> random_weights(index_t outputs, index_t offsets, index_t length, Data& data) {
  AlignedBuffer<float> packed(outputs * offsets * length);
  for (index_t i = 0; i < packed.size(); ++i) packed[i] = data.normal<float>();
  return packed;
}

}  // namespace

TEMPLATE_TEST_CASE("pack_weights puts weights in the order of vectors", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_rows = 18;
  constexpr index_t k_outputs = 7;
  std::vector<index_t> columns;
  for (index_t k = 0; k < k_rows; ++k) columns.push_back(k * 5 % k_rows);
  for (const bool transposed : {false, true}) {
    INFO("transposed " << transposed);
    GuardedBuffer<T> weights(transposed ? k_outputs : k_rows, transposed ? k_rows : k_outputs, 21);
    data.fill_normal(weights.view());
    AlignedBuffer<float> packed;
    Context context(2);
    adr::pack_weights(adr::GemmFactor<T>{weights.view(), transposed}, columns.data(), context,
                      packed);
    REQUIRE(packed.size() == k_rows * k_outputs);
    for (index_t m = 0; m < k_outputs; ++m) {
      for (index_t k = 0; k < k_rows; ++k) {
        const index_t column = columns[static_cast<std::size_t>(k)];
        const T expected = transposed ? weights(m, column) : weights(column, m);
        CHECK(packed[m * k_rows + k] == static_cast<float>(expected));
      }
    }
  }
}

TEST_CASE("weights_gram is the sum of W W^T over the offsets") {
  Data data;
  INFO(data);
  constexpr index_t k_length = 11;
  constexpr index_t k_rows = 9 * 14;
  const AlignedBuffer<float> packed = random_weights(14, 9, k_length, data);
  AlignedBuffer<float> gram;
  adr::weights_gram(packed, k_length, adr::DenseGemm<float>(), gram);
  REQUIRE(gram.size() == k_length * k_length);
  adr_test::Comparison comparison;
  for (index_t i = 0; i < k_length; ++i) {
    for (index_t j = 0; j < k_length; ++j) {
      double sum = 0;
      double magnitude = 0;
      for (index_t r = 0; r < k_rows; ++r) {
        const double term = static_cast<double>(packed[r * k_length + i]) *
                            static_cast<double>(packed[r * k_length + j]);
        sum += term;
        magnitude += std::abs(term);
      }
      comparison.expect(static_cast<double>(gram[i * k_length + j]), sum,
                        adr_test::sum_tolerance<float>(k_rows, magnitude));
    }
  }
  CHECK(comparison.fault() == "");
}
