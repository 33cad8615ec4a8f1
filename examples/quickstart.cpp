// The smallest complete use of the library, that of the README: one number says how much error a
// product may have, and the report says what came of it. `quickstart noise` shows the same on data
// in which nothing resembles anything.
#include <adr/adr.hpp>
#include <cmath>
#include <iostream>
#include <vector>

namespace {

constexpr adr::index_t k_rows = 2048, k_columns = 512, k_outputs = 1024;

/// Rows that resemble each other, as neighbouring patches of an image do, or noise.
std::vector<float> input(bool noise) {
  adr::Random random(1);
  std::vector<float> a(k_rows * k_columns);
  for (adr::index_t i = 0; i < k_rows; ++i) {
    for (adr::index_t k = 0; k < k_columns; ++k) {
      a[i * k_columns + k] =
          noise ? static_cast<float>(random.normal())
                : std::sin(0.003F * static_cast<float>(i) + 0.02F * static_cast<float>(k));
    }
  }
  return a;
}

}  // namespace

int main(int argc, char**) {
  const std::vector<float> a = input(argc > 1);
  std::vector<float> b(k_columns * k_outputs), c(k_rows * k_outputs);
  adr::Random random(2);
  for (float& weight : b) weight = static_cast<float>(random.normal());

  adr::Options options;
  options.max_error = 0.05;
  adr::ReuseGemm<float> product(options);
  for (int pass = 0; pass < 20; ++pass) {
    adr::reuse_gemm<float>({a.data(), k_rows, k_columns}, {b.data(), k_columns, k_outputs},
                           {c.data(), k_rows, k_outputs}, product);
  }
  std::cout << product.report() << '\n';
  return product.report().measured_error <= options.max_error ? 0 : 1;
}
