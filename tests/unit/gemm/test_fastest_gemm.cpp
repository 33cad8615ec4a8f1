// The fastest of several products is the one that the clock says, for each shape.
#include <stdexcept>
#include <vector>

#include "adr/gemm/fastest_gemm.hpp"
#include "support/catch.hpp"

using adr::DenseGemm;
using adr::GemmFactor;
using adr::index_t;
using adr::MatrixView;
using adr::Update;
using adr_test::contains;

namespace {

/// Products that take the time given for one column and for more, on a clock that they move, and
/// mark their result.
struct TimedProducts {
  double now = 0;
  std::vector<int> calls;

  DenseGemm<float> product(double seconds_of_one, double seconds_of_more) {
    const std::size_t mark = calls.size();
    calls.push_back(0);
    return DenseGemm<float>([=](const GemmFactor<float>&, const GemmFactor<float>& b, Update update,
                                const MatrixView<float>& result) {
      ++calls[mark];
      now += b.cols() == 1 ? seconds_of_one : seconds_of_more;
      const auto value = static_cast<float>(mark + 1);
      result.data[0] = update == Update::accumulate ? result.data[0] + value : value;
    });
  }
};

float run(const DenseGemm<float>& gemm, index_t cols, Update update = Update::replace) {
  const std::vector<float> a(6);
  const std::vector<float> b(static_cast<std::size_t>(3 * cols));
  std::vector<float> c(static_cast<std::size_t>(2 * cols), 10.0f);
  gemm(adr::as_is(MatrixView<const float>(a.data(), 2, 3)),
       adr::as_is(MatrixView<const float>(b.data(), 3, cols)), update,
       MatrixView<float>(c.data(), 2, cols));
  return c[0];
}

}  // namespace

TEST_CASE("The fastest product is found for each shape, and kept") {
  TimedProducts timed;
  const std::vector<DenseGemm<float>> products = {timed.product(1.0, 9.0), timed.product(5.0, 2.0)};
  const DenseGemm<float> gemm = adr::fastest_gemm(products, [&] { return timed.now; });
  CHECK(run(gemm, 1) == 1.0f);
  CHECK(run(gemm, 4) == 2.0f);
  const std::vector<int> tried = timed.calls;
  CHECK(run(gemm, 1) == 1.0f);
  CHECK(timed.calls[0] == tried[0] + 1);
  CHECK(timed.calls[1] == tried[1]);
}

TEST_CASE("The fastest product adds to a result once, in its first call, too") {
  TimedProducts timed;
  const std::vector<DenseGemm<float>> products = {timed.product(1.0, 9.0), timed.product(5.0, 2.0)};
  const DenseGemm<float> gemm = adr::fastest_gemm(products, [&] { return timed.now; });
  CHECK(run(gemm, 4, Update::accumulate) == 12.0f);
  CHECK(run(gemm, 4, Update::accumulate) == 12.0f);
}

TEST_CASE("The fastest product is the first without a clock, and needs a product") {
  TimedProducts timed;
  const std::vector<DenseGemm<float>> products = {timed.product(9.0, 9.0), timed.product(1.0, 1.0)};
  CHECK(run(adr::fastest_gemm(products, adr::Clock()), 1) == 1.0f);
  CHECK_THROWS_WITH(adr::fastest_gemm(std::vector<DenseGemm<float>>()),
                    contains("needs a product"));
}
