// Ranking: one user before a thousand items. Every row of the input is the user's features and then
// an item's; cut into slices, all rows share the user's, so one product serves them all. With
// radius 0 nothing is approximated.
#include <adr/adr.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

namespace {

using adr::index_t;

constexpr index_t k_items = 1000;
constexpr index_t k_user = 960;  // features
constexpr index_t k_features = k_user + 64;
constexpr index_t k_hidden = 512;

std::vector<float> normals(index_t count, adr::Random& random) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

/// The first layer of a ranking network, forward; returns the best of several times in
/// milliseconds.
double run(adr::ReuseLinear<float>& layer, const std::vector<float>& x,
           const std::vector<float>& weights, std::vector<float>& y) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 10; ++i) {
    layer.forward({x.data(), k_items, k_features}, {weights.data(), k_hidden, k_features}, {},
                  {y.data(), k_items, k_hidden});
    best = std::min(best, 1e3 * layer.report().seconds.forward);
  }
  return best;
}

}  // namespace

int main() {
  adr::Random random(1);
  const auto user = normals(k_user, random);
  auto x = normals(k_items * k_features, random);
  for (index_t i = 0; i < k_items; ++i) {
    std::copy(user.begin(), user.end(), x.begin() + i * k_features);
  }
  const auto weights = normals(k_hidden * k_features, random);
  std::vector<float> exact(static_cast<std::size_t>(k_items * k_hidden));
  std::vector<float> y(exact.size());

  adr::ReuseLinear<float> dense(k_features, k_hidden, adr::Exact{});
  const double exact_ms = run(dense, x, weights, exact);

  adr::Clustered clustered;
  clustered.radius = 0;              // equal slices alone share a product
  clustered.vector_length = k_user;  // the last slice is shorter: the item
  adr::ReuseLinear<float> layer(k_features, k_hidden, clustered);
  const double clustered_ms = run(layer, x, weights, y);

  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    difference += (y[i] - exact[i]) * (y[i] - exact[i]);
    size += exact[i] * exact[i];
  }
  const double error = std::sqrt(difference / size);
  const adr::Report& report = layer.report();
  std::printf("1 user, %td items, %td features, %td outputs\n", k_items, k_features, k_hidden);
  std::printf("exact      %.3f ms\n", exact_ms);
  std::printf("clustered  %.3f ms, %.1f times as fast, %.3f of the multiply-adds, error %.1g\n",
              clustered_ms, exact_ms / clustered_ms, 1 - report.forward.saved_share(), error);
  // One product of the user and a thousand of the items; rounding is all that differs.
  const double expected = (1.0 / k_items + 1) / 2;
  return error < 1e-5 && std::abs(report.remaining_ratio() - expected) < 1e-6 ? 0 : 1;
}
