// reuse_gemm in the place of gemm() of a convolution by im2col, as darknet and Caffe have it:
// weights on the left, the unfolded image on the right, one product per image, gradients that are
// added up. The network's code keeps its layout; nothing is copied for the library. Every result is
// checked.
#include <adr/adr.hpp>
#include <cmath>
#include <cstdio>
#include <vector>

namespace {

using adr::index_t;
using adr::Similar;

constexpr index_t k_batch = 3, k_channels = 16, k_size = 12, k_filters = 20, k_kernel = 3;
constexpr index_t k_pixels = k_size * k_size, k_unfolded = k_channels * k_kernel * k_kernel;

/// The plain product of the code base: c = alpha op(a) op(b) + beta c.
void gemm(bool trans_a, bool trans_b, index_t m, index_t n, index_t k, float alpha, const float* a,
          index_t lda, const float* b, index_t ldb, float beta, float* c, index_t ldc) {
  for (index_t i = 0; i < m; ++i) {
    for (index_t j = 0; j < n; ++j) {
      double sum = 0;
      for (index_t l = 0; l < k; ++l) {
        sum += double{trans_a ? a[l * lda + i] : a[i * lda + l]} *
               double{trans_b ? b[j * ldb + l] : b[l * ldb + j]};
      }
      const double before = beta == 0 ? 0.0 : double{beta} * double{c[i * ldc + j]};
      c[i * ldc + j] = static_cast<float>(double{alpha} * sum + before);
    }
  }
}

/// The unfolded image, k_unfolded x k_pixels: a column per output pixel.
void im2col(const float* image, float* unfolded) {
  for (index_t row = 0; row < k_unfolded; ++row) {
    const index_t channel = row / (k_kernel * k_kernel);
    for (index_t pixel = 0; pixel < k_pixels; ++pixel) {
      const index_t y = pixel / k_size + row / k_kernel % k_kernel - 1;
      const index_t x = pixel % k_size + row % k_kernel - 1;
      const bool inside = y >= 0 && y < k_size && x >= 0 && x < k_size;
      unfolded[row * k_pixels + pixel] = inside ? image[channel * k_pixels + y * k_size + x] : 0.0F;
    }
  }
}

std::vector<float> random_elements(index_t count, std::uint64_t seed) {
  adr::Random random(seed);
  std::vector<float> elements(static_cast<std::size_t>(count));
  for (float& element : elements) element = static_cast<float>(random.normal());
  return elements;
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += double{a[i] - b[i]} * double{a[i] - b[i]};
    size += double{b[i]} * double{b[i]};
  }
  return std::sqrt(difference / size);
}

}  // namespace

int main() {
  const std::vector<float> images = random_elements(k_batch * k_channels * k_pixels, 1);
  const std::vector<float> weights = random_elements(k_filters * k_unfolded, 2);
  const std::vector<float> d_out = random_elements(k_batch * k_filters * k_pixels, 3);
  std::vector<float> unfolded(k_batch * k_unfolded * k_pixels);
  std::vector<float> out(d_out.size()), out_plain(out);
  std::vector<float> d_unfolded(unfolded.size()), d_unfolded_plain(d_unfolded);
  // Gradients are added to what the momentum has left there.
  std::vector<float> d_weights = random_elements(k_filters * k_unfolded, 4);
  std::vector<float> d_weights_plain = d_weights;
  for (index_t n = 0; n < k_batch; ++n) {
    im2col(&images[n * k_channels * k_pixels], &unfolded[n * k_unfolded * k_pixels]);
  }

  // As it was: forward, then both gradients, one product per image.
  for (index_t n = 0; n < k_batch; ++n) {
    const float* col = &unfolded[n * k_unfolded * k_pixels];
    const float* d = &d_out[n * k_filters * k_pixels];
    gemm(false, false, k_filters, k_pixels, k_unfolded, 1, weights.data(), k_unfolded, col,
         k_pixels, 0, &out_plain[n * k_filters * k_pixels], k_pixels);
    gemm(false, true, k_filters, k_unfolded, k_pixels, 1, d, k_pixels, col, k_pixels, 1,
         d_weights_plain.data(), k_unfolded);
    gemm(true, false, k_unfolded, k_pixels, k_filters, 1, weights.data(), k_unfolded, d, k_pixels,
         0, &d_unfolded_plain[n * k_unfolded * k_pixels], k_pixels);
  }

  // As it is now: the columns of the unfolded image are what resembles itself.
  adr::ReuseGemm<float> product;
  std::vector<adr::Saved> passes(k_batch);
  constexpr auto by_columns = Similar::columns_of_b;
  for (index_t n = 0; n < k_batch; ++n) {
    adr::reuse_gemm(false, false, k_filters, k_pixels, k_unfolded, 1.0F, weights.data(), k_unfolded,
                    &unfolded[n * k_unfolded * k_pixels], k_pixels, 0.0F,
                    &out[n * k_filters * k_pixels], k_pixels, product, by_columns, &passes[n]);
  }
  for (index_t n = 0; n < k_batch; ++n) {
    const float* d = &d_out[n * k_filters * k_pixels];
    adr::reuse_gemm_weight_gradient(
        false, false, k_filters, k_pixels, k_unfolded, 1.0F, &unfolded[n * k_unfolded * k_pixels],
        k_pixels, d, k_pixels, 1.0F, d_weights.data(), k_unfolded, product, by_columns, &passes[n]);
    adr::reuse_gemm_input_gradient(false, false, k_filters, k_pixels, k_unfolded, 1.0F, d, k_pixels,
                                   weights.data(), k_unfolded, 0.0F,
                                   &d_unfolded[n * k_unfolded * k_pixels], k_pixels, product,
                                   by_columns, &passes[n]);
  }

  const double errors[] = {relative_difference(out, out_plain),
                           relative_difference(d_weights, d_weights_plain),
                           relative_difference(d_unfolded, d_unfolded_plain)};
  std::printf("differences: output %.1e, weight gradient %.1e, input gradient %.1e\n", errors[0],
              errors[1], errors[2]);
  return errors[0] < 1e-5 && errors[1] < 1e-5 && errors[2] < 1e-5 ? 0 : 1;
}
