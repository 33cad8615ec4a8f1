// Learns the subspace of a convolution's pixels from one batch, saves it, and runs a frozen layer
// on images that took no part. Prints speed and error of both, and checks them.
#include <adr/adr.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

namespace {

constexpr adr::index_t k_images = 16, k_size = 32, k_channels = 32;

/// Images in which every channel is a mixture of a few smooth patterns, as activations are.
class Images {
 public:
  explicit Images(std::uint64_t seed) : pixels_(2 * k_images * image_size()) {
    adr::Random random(seed);
    std::vector<float> mixture(k_channels * k_patterns);
    for (float& weight : mixture) weight = static_cast<float>(random.normal());
    for (adr::index_t image = 0; image < 2 * k_images; ++image) {
      float phase[k_patterns];
      for (float& p : phase) p = static_cast<float>(6.28 * random.uniform());
      for (adr::index_t i = 0; i < image_size(); ++i) {
        const adr::index_t c = i / (k_size * k_size), y = i / k_size % k_size, x = i % k_size;
        float value = 0.02F * static_cast<float>(random.normal());
        for (int p = 0; p < k_patterns; ++p) {
          const auto slant = static_cast<float>(p + 1);
          const float wave = 0.1F * (slant * static_cast<float>(x) + static_cast<float>(y) / slant);
          value +=
              mixture[static_cast<std::size_t>(c * k_patterns + p)] * std::sin(wave + phase[p]);
        }
        pixels_[static_cast<std::size_t>(image * image_size() + i)] = std::max(0.0F, value);
      }
    }
  }
  [[nodiscard]] adr::TensorView<const float> training() const { return view(0); }
  [[nodiscard]] adr::TensorView<const float> unseen() const { return view(k_images); }

 private:
  static constexpr int k_patterns = 4;
  static constexpr adr::index_t image_size() { return k_channels * k_size * k_size; }
  [[nodiscard]] adr::TensorView<const float> view(adr::index_t first) const {
    return {pixels_.data() + first * image_size(),
            k_images,
            k_channels,
            k_size,
            k_size,
            adr::Layout::nchw};
  }
  std::vector<float> pixels_;
};

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

/// Milliseconds of the fastest of a few calls.
template <class Call>
double milliseconds(const Call& call) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count());
  }
  return best;
}

}  // namespace

int main() {
  const Images images(3);
  adr::ConvGeometry geometry;
  geometry.in_channels = k_channels;
  geometry.in_height = geometry.in_width = k_size;
  geometry.out_channels = 64;
  geometry.set_kernel(5);
  geometry.set_padding(2);
  std::vector<float> weights(64 * geometry.columns()), bias(64, 0.1F);
  adr::Random random(5);
  for (float& weight : weights) weight = 0.05F * static_cast<float>(random.normal());
  const adr::MatrixView<const float> weights_view(weights.data(), 64, geometry.columns());
  const adr::VectorView<const float> bias_view(bias.data(), 64);
  std::vector<float> exact(k_images * 64 * k_size * k_size), output(exact.size());
  const adr::TensorView<float> output_view(output.data(), k_images, 64, k_size, k_size,
                                           adr::Layout::nchw);
  const std::string path = (std::filesystem::temp_directory_path() / "adr_frozen.state").string();

  adr::ReuseConv2d dense(geometry);
  const double dense_time =
      milliseconds([&] { dense.forward(images.unseen(), weights_view, bias_view, output_view); });
  exact = output;

  adr::Options options;
  options.setting = adr::Subspace{8};
  adr::ReuseConv2d layer(geometry, options);
  layer.forward(images.training(), weights_view, bias_view, output_view);  // learns its axes
  layer.save_state(path);

  adr::ReuseConv2d deployed(geometry, options);
  deployed.load_state(path);
  deployed.freeze();
  deployed.forward(images.unseen(), weights_view, bias_view, output_view);

  const double error = relative_difference(output, exact);
  const double frozen_time = milliseconds(
      [&] { deployed.forward(images.unseen(), weights_view, bias_view, output_view); });
  std::filesystem::remove(path);
  std::printf("dense %.2f ms, in the subspace %.2f ms, relative error on unseen images %.3f\n",
              dense_time, frozen_time, error);
  return error < 0.3 ? 0 : 1;
}
