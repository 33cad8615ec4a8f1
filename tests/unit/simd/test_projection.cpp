// Projections, in registers and one number at a time, against plain loops in double precision.
#include <algorithm>
#include <cmath>
#include <vector>

#include "adr/simd/projection.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::index_t;
using adr_test::Data;
using adr_test::GuardedBuffer;
namespace simd = adr::simd;

constexpr index_t k_tile = simd::k_projection_tile;

}  // namespace

TEMPLATE_TEST_CASE("project adds the coordinates of a tile", "", simd::Batch<float>,
                   simd::ScalarBatch<float>) {
  Data data;
  INFO(data);
  for (const index_t elements : {0, 1, 2, 7, 64}) {
    for (index_t coordinates = 1; coordinates <= 19; ++coordinates) {
      INFO(elements << " elements, " << coordinates << " coordinates");
      GuardedBuffer<float> x(std::max<index_t>(1, elements), k_tile, k_tile,
                             adr_test::Start::misaligned);
      GuardedBuffer<float> axes(std::max<index_t>(1, elements), coordinates, coordinates + 3);
      GuardedBuffer<float> z(coordinates, k_tile, k_tile, adr_test::Start::misaligned);
      data.fill_normal(x.view());
      data.fill_normal(axes.view());
      data.fill_normal(z.view());
      std::vector<double> before;
      for (index_t d = 0; d < coordinates; ++d) {
        for (index_t i = 0; i < k_tile; ++i) before.push_back(static_cast<double>(z(d, i)));
      }
      simd::project<TestType>(x.data(), elements, axes.data(), coordinates + 3, coordinates,
                              z.data());
      adr_test::Comparison comparison;
      for (index_t d = 0; d < coordinates; ++d) {
        for (index_t i = 0; i < k_tile; ++i) {
          double sum = before[static_cast<std::size_t>(d * k_tile + i)];
          double magnitude = std::abs(sum);
          for (index_t e = 0; e < elements; ++e) {
            const double term = static_cast<double>(axes(e, d)) * static_cast<double>(x(e, i));
            sum += term;
            magnitude += std::abs(term);
          }
          comparison.expect(static_cast<double>(z(d, i)), sum,
                            adr_test::sum_tolerance<float>(elements + 1, magnitude));
        }
      }
      CHECK(comparison.fault() == "");
      CHECK(z.damage() + x.damage() + axes.damage() == "");
    }
  }
}
