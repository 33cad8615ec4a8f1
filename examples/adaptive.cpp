// A layer that finds its own setting: a convolution learns to imitate another one while a scheduler
// moves it from coarse to fine reuse, and back to dense where reuse does not pay.
#include <adr/adr.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace {

constexpr adr::index_t k_images = 16, k_channels = 32, k_size = 16, k_filters = 64, k_steps = 200;

/// Images of slow waves, another batch for every step.
void fill_images(adr::index_t step, std::vector<float>& pixels) {
  adr::Random random(static_cast<std::uint64_t>(step) + 1);
  for (adr::index_t n = 0; n < k_images; ++n) {
    const auto phase = static_cast<float>(6.28 * random.uniform());
    for (adr::index_t i = 0; i < k_channels * k_size * k_size; ++i) {
      const adr::index_t c = i / (k_size * k_size), y = i / k_size % k_size, x = i % k_size;
      const float wave = 0.15F * static_cast<float>(x * (1 + c % 5) + y) + phase;
      const float noise = 0.02F * static_cast<float>(random.normal());
      pixels[n * k_channels * k_size * k_size + i] =
          std::sin(wave + 0.1F * static_cast<float>(c)) + noise;
    }
  }
}

}  // namespace

int main() {
  adr::ConvGeometry geometry;
  geometry.in_channels = k_channels;
  geometry.in_height = geometry.in_width = k_size;
  geometry.out_channels = k_filters;
  geometry.set_kernel(5);
  geometry.set_padding(2);
  std::vector<float> x(k_images * k_channels * k_size * k_size);
  std::vector<float> y(k_images * k_filters * k_size * k_size), target(y.size()), d_y(y.size());
  std::vector<float> w(k_filters * geometry.columns(), 0.0F), d_w(w.size()), teacher(w.size());
  adr::Random random(7);
  for (float& weight : teacher) weight = 0.05F * static_cast<float>(random.normal());
  const adr::TensorView<float> x_view(x.data(), k_images, k_channels, k_size, k_size,
                                      adr::Layout::nchw);
  const auto outputs = [](std::vector<float>& values) {
    return adr::TensorView<float>(values.data(), k_images, k_filters, k_size, k_size,
                                  adr::Layout::nchw);
  };
  const auto filters = [&](std::vector<float>& values) {
    return adr::MatrixView<float>(values.data(), k_filters, geometry.columns());
  };

  adr::ReuseConv2d imitated(geometry);
  adr::ReuseConv2d conv(geometry);
  adr::ReuseScheduler scheduler;
  scheduler.attach(conv, "conv");
  scheduler.set_log([](const std::string& line) { std::printf("%s\n", line.c_str()); });

  double first_loss = 0, loss = 0;
  for (adr::index_t step = 0; step < k_steps; ++step) {
    fill_images(step, x);
    imitated.forward(x_view, filters(teacher), {}, outputs(target));
    conv.forward(x_view, filters(w), {}, outputs(y));
    loss = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      d_y[i] = (y[i] - target[i]) / static_cast<float>(k_images * k_size * k_size);
      loss += (y[i] - target[i]) * (y[i] - target[i]) / static_cast<double>(y.size());
    }
    conv.backward(x_view, filters(w), outputs(d_y), {{}, filters(d_w), {}});
    for (std::size_t i = 0; i < w.size(); ++i) w[i] -= 1e-3F * d_w[i];
    scheduler.observe(loss);
    if (step == 0) first_loss = loss;
  }

  const adr::Decision& decision = scheduler.decision(0);
  std::printf("loss %.3f -> %.4f; at the end %s, error %.3f, forward pass at %.2f of dense: %s\n",
              first_loss, loss, adr::label(conv.plan()).c_str(), decision.error, decision.cost,
              adr::to_string(decision.reason));
  return loss < 0.1 * first_loss ? 0 : 1;
}
