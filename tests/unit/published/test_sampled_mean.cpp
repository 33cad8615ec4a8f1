// sampled_mean: which rows it looks at and what it leaves out.
#include <limits>
#include <vector>

#include "adr/core/matrix_rows.hpp"
#include "adr/published/sampled_mean.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

using adr::AlignedBuffer;
using adr::index_t;
using adr::MatrixRows;
using adr_test::Data;
using adr_test::GuardedBuffer;
using Catch::Matchers::WithinRel;

TEMPLATE_TEST_CASE("sampled_mean of up to 1024 rows is their mean", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t rows : {1, 2, 1023, 1024}) {
    GuardedBuffer<T> x(rows, 5, 8);
    data.fill_normal(x.view());
    AlignedBuffer<T> mean;
    adr::sampled_mean(MatrixRows<const T>(x.view()), mean);
    REQUIRE(mean.size() == 5);
    for (index_t k = 0; k < 5; ++k) {
      double sum = 0;
      for (index_t i = 0; i < rows; ++i) sum += static_cast<double>(x(i, k));
      CHECK(mean[k] == static_cast<T>(sum / static_cast<double>(rows)));
    }
  }
}

TEST_CASE("sampled_mean of more rows takes 1024 evenly spaced ones", "") {
  // The row number as the value tells which rows were taken.
  const index_t rows = 2500;
  GuardedBuffer<double> x(rows, 1, 1);
  for (index_t i = 0; i < rows; ++i) x(i, 0) = static_cast<double>(i);
  double sum = 0;
  for (index_t i = 0; i < 1024; ++i) sum += static_cast<double>(i * rows / 1024);
  AlignedBuffer<double> mean;
  adr::sampled_mean(MatrixRows<const double>(x.view()), mean);
  CHECK_THAT(mean[0], WithinRel(sum / 1024, 1e-14));
  CHECK(std::abs(mean[0] - (static_cast<double>(rows) - 1) / 2) < 2);
}

TEST_CASE("sampled_mean leaves out what is not finite", "") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {1, nan, nan, 3, 5, inf, 5, -inf, nan};
  AlignedBuffer<float> mean;
  adr::sampled_mean(MatrixRows<const float>({x.data(), 3, 3}), mean);
  REQUIRE(mean.size() == 3);
  CHECK(mean[0] == 3.0f);
  CHECK(mean[1] == 5.0f);
  CHECK(mean[2] == 0.0f);
}

TEST_CASE("sampled_mean of no rows is zero", "") {
  AlignedBuffer<float> mean;
  mean.assign(2, 7.0f);
  adr::sampled_mean(MatrixRows<const float>({nullptr, 0, 3}), mean);
  REQUIRE(mean.size() == 3);
  for (index_t k = 0; k < 3; ++k) CHECK(mean[k] == 0.0f);
}
