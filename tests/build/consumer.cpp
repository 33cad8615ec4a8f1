// The program of a user's project: every header has to be found, and Eigen, the kernels and the
// threads have to arrive with adr::adr. All that reuse_gemm is made of would take a minute to
// compile and needs nothing more.
#include <adr/adr.hpp>
#include <cstdio>
#include <vector>

int main() {
  const adr::index_t rows = 4, inner = 6, cols = 2;
  const std::vector<float> a(rows * inner, 1.0f), b(inner * cols, 1.0f);
  std::vector<float> c(rows * cols);
  const adr::DenseGemm<float> gemm;
  adr::parallel_for(rows, 2, [&](adr::index_t row, int) {
    gemm(adr::as_is(adr::MatrixView<const float>(a.data() + row * inner, 1, inner)),
         adr::as_is(adr::MatrixView<const float>(b.data(), inner, cols)), adr::Update::replace,
         adr::MatrixView<float>(c.data() + row * cols, 1, cols));
  });
  const float sum = adr::simd::total(c.data(), rows * cols);
  std::printf("adr %d.%d.%d: %g, expected 48\n", ADR_VERSION_MAJOR, ADR_VERSION_MINOR,
              ADR_VERSION_PATCH, static_cast<double>(sum));
  return sum == 48 ? 0 : 1;
}
