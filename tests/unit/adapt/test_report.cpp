#include "adr/adapt/report.hpp"
#include "support/catch.hpp"

namespace {

using adr::PassWork;
using adr::Report;
using adr::Stage;

Report sample() {
  Report stats;
  stats.method = adr::Method::published;
  stats.neuron_vectors = 200;
  stats.clusters = 50;
  stats.known_vectors = 80;
  stats.reused_products = 10;
  stats.non_finite_vectors = 3;
  stats.total_energy = 16;
  stats.within_cluster_energy = 4;
  stats.remaining_ratio_per_slice = {0.25, 0.5};
  stats.forward = {30, 120};
  stats.weight_gradient = {5, 10};
  stats.input_gradient = {8, 4};
  stats.forward_times.add(Stage::hash, 2);
  stats.backward_times.add(Stage::gradient_sums, 3);
  return stats;
}

}  // namespace

TEST_CASE("Report of nothing are those of a dense pass") {
  const Report stats;
  CHECK(stats.method == adr::Method::exact);
  CHECK(stats.remaining_ratio() == 1);
  CHECK(stats.relative_input_error() == 0);
  CHECK(stats.cluster_reuse_rate() == 0);
  CHECK(stats.product_reuse_rate() == 0);
  CHECK(stats.forward.saved_share() == 0);
}

TEST_CASE("Report ratios are those of the papers") {
  const Report stats = sample();
  CHECK(stats.remaining_ratio() == 0.25);
  CHECK(stats.relative_input_error() == 0.5);
  CHECK(stats.cluster_reuse_rate() == 0.4);
  CHECK(stats.product_reuse_rate() == 0.2);
  CHECK(stats.forward.saved_share() == 0.75);
  CHECK(stats.weight_gradient.saved_share() == 0.5);
  // More work than the dense pass.
  CHECK(stats.input_gradient.saved_share() == -1);
}

TEST_CASE("Report add merges counts and sums and takes the method of the other") {
  Report total;
  total.add(sample());
  Report other;
  other.neuron_vectors = 100;
  other.clusters = 100;
  other.known_vectors = 10;
  other.reused_products = 20;
  other.non_finite_vectors = 4;
  other.total_energy = 9;
  other.within_cluster_energy = 1;
  other.remaining_ratio_per_slice = {1};
  other.forward = {1, 2};
  other.weight_gradient = {3, 4};
  other.input_gradient = {5, 6};
  other.forward_times.add(Stage::hash, 5);
  other.backward_times.add(Stage::dense, 7);
  total.add(other);

  CHECK(total.method == adr::Method::exact);
  CHECK(total.neuron_vectors == 300);
  CHECK(total.clusters == 150);
  CHECK(total.known_vectors == 90);
  CHECK(total.reused_products == 30);
  CHECK(total.non_finite_vectors == 7);
  CHECK(total.total_energy == 25);
  CHECK(total.within_cluster_energy == 5);
  CHECK(total.remaining_ratio_per_slice.empty());
  CHECK(total.forward.multiply_adds_done == 31);
  CHECK(total.forward.multiply_adds_dense == 122);
  CHECK(total.weight_gradient.multiply_adds_done == 8);
  CHECK(total.weight_gradient.multiply_adds_dense == 14);
  CHECK(total.input_gradient.multiply_adds_done == 13);
  CHECK(total.input_gradient.multiply_adds_dense == 10);
  CHECK(total.forward_times.seconds(Stage::hash) == 7);
  CHECK(total.backward_times.seconds(Stage::gradient_sums) == 3);
  CHECK(total.backward_times.seconds(Stage::dense) == 7);
  CHECK(total.remaining_ratio() == 0.5);
}
