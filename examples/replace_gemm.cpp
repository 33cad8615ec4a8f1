// Replaces the three products of a training step by their reusing forms: a small regression is
// trained twice, with plain Eigen and with reuse, on Eigen matrices through adr/eigen.hpp.
#include <Eigen/Core>
#include <adr/adr.hpp>
#include <adr/eigen.hpp>
#include <cstdio>

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr int k_rows = 2048, k_columns = 128, k_outputs = 32, k_steps = 60;
constexpr float k_learning_rate = 0.05F;

Matrix random_matrix(adr::Random& random, int rows, int cols) {
  Matrix matrix(rows, cols);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < cols; ++j) matrix(i, j) = static_cast<float>(random.normal());
  }
  return matrix;
}

/// Trains weights so that input * weights = target; returns the final mean squared error.
template <class Forward, class WeightGradient>
float train(const Matrix& input, const Matrix& target, const Forward& forward,
            const WeightGradient& weight_gradient) {
  Matrix weights = Matrix::Zero(k_columns, k_outputs);
  Matrix output(k_rows, k_outputs);
  Matrix d_weights(k_columns, k_outputs);
  for (int step = 0; step < k_steps; ++step) {
    forward(input, weights, output);
    const Matrix d_output = (output - target) / k_rows;
    weight_gradient(input, d_output, d_weights);
    weights -= k_learning_rate * d_weights;
  }
  output.noalias() = input * weights;
  return (output - target).squaredNorm() / static_cast<float>(target.size());
}

}  // namespace

int main() {
  // Every row is one of 32 patterns plus noise, so that there is something to reuse.
  adr::Random random(7);
  const Matrix patterns = random_matrix(random, 32, k_columns);
  Matrix input = 0.05F * random_matrix(random, k_rows, k_columns);
  for (int i = 0; i < k_rows; ++i) input.row(i) += patterns.row(static_cast<int>(random.below(32)));
  const Matrix target = input * random_matrix(random, k_columns, k_outputs) / 8.0F;

  const float plain = train(
      input, target, [](const Matrix& x, const Matrix& w, Matrix& y) { y.noalias() = x * w; },
      [](const Matrix& x, const Matrix& d_y, Matrix& d_w) { d_w.noalias() = x.transpose() * d_y; });

  adr::ReuseConfig config;
  config.sub_vector_length = 32;
  config.hash_count = 12;
  config.hash_center = adr::HashCenter::mean;
  adr::ReuseGemm reuse(config);
  const float reused = train(
      input, target,
      [&](const Matrix& x, const Matrix& w, Matrix& y) {
        adr::reuse_gemm(adr::view(x), adr::view(w), adr::view(y), reuse);
      },
      [&](const Matrix& x, const Matrix& d_y, Matrix& d_w) {
        adr::reuse_gemm_weight_gradient(adr::view(x), adr::view(d_y), adr::view(d_w), reuse);
      });

  const adr::ReuseStats& stats = reuse.stats();
  std::printf("mean squared error: Eigen %.4f, reuse %.4f\n", plain, reused);
  std::printf(
      "remaining ratio %.3f, multiply-adds saved: forward %.0f %%, weight gradient %.0f %%\n",
      stats.remaining_ratio(), 100 * stats.forward.saved_share(),
      100 * stats.weight_gradient.saved_share());
  return reused < 1.2F * plain + 0.02F ? 0 : 1;
}
