// The smallest complete use of the library: a matrix product whose input rows resemble each other,
// once dense and once with reuse. Prints what was saved and what it cost, and checks both.
#include <adr/adr.hpp>
#include <cmath>
#include <cstdio>
#include <vector>

namespace {

constexpr adr::index_t k_rows = 4096, k_columns = 256, k_outputs = 512, k_patterns = 50;

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace

int main() {
  // Rows are one of 50 patterns plus a little noise, as neighbouring patches of an image are.
  adr::Random random(1);
  std::vector<float> patterns(k_patterns * k_columns), a(k_rows * k_columns),
      b(k_columns * k_outputs);
  for (float& value : patterns) value = static_cast<float>(random.normal());
  for (float& value : b) value = static_cast<float>(random.normal());
  for (adr::index_t i = 0; i < k_rows; ++i) {
    const float* pattern = &patterns[random.below(k_patterns) * k_columns];
    for (adr::index_t k = 0; k < k_columns; ++k) {
      a[i * k_columns + k] = pattern[k] + 0.01F * static_cast<float>(random.normal());
    }
  }
  std::vector<float> exact(k_rows * k_outputs), reused(k_rows * k_outputs);
  const adr::MatrixView<const float> a_view(a.data(), k_rows, k_columns);
  const adr::MatrixView<const float> b_view(b.data(), k_columns, k_outputs);

  adr::ReuseConfig config;
  config.method = adr::Method::dense;
  adr::ReuseGemm dense(config);
  adr::reuse_gemm(a_view, b_view, {exact.data(), k_rows, k_outputs}, dense);

  config.method = adr::Method::subspace;  // as many coordinates as its error asks for
  adr::ReuseGemm reuse(config);
  adr::reuse_gemm(a_view, b_view, {reused.data(), k_rows, k_outputs}, reuse);

  const double error = relative_difference(reused, exact);
  const double saved = reuse.stats().forward.saved_share();
  std::printf("multiply-adds saved %.0f %%, relative output error %.4f\n", 100 * saved, error);
  return saved > 0.5 && error < 0.1 ? 0 : 1;
}
