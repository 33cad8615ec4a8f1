// Candidates that fit every layer, and ladders that fall in error and rise in cost whatever was
// measured.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "adr/adapt/ladder.hpp"
#include "adr/adapt/measurement_plan.hpp"
#include "adr/adapt/plan_label.hpp"
#include "adr/core/random.hpp"
#include "support/catch.hpp"
#include "support/fake_layer.hpp"

namespace {

using namespace adr;
using adr_test::convolution_shape;

constexpr double k_nan = std::numeric_limits<double>::quiet_NaN();
constexpr double k_infinity = std::numeric_limits<double>::infinity();

LayerShape plain_product(index_t rows, index_t columns, index_t outputs) {
  LayerShape shape;
  shape.rows = shape.vectors = rows;
  shape.columns = shape.vector_length = columns;
  shape.outputs = outputs;
  return shape;
}
LayerShape convolution(index_t rows, index_t channels, index_t kernel_height,
                       index_t kernel_width) {
  LayerShape shape;
  shape.rows = shape.vectors = rows;
  shape.vector_length = channels;
  shape.offsets = shape.kernel_plane = kernel_height * kernel_width;
  shape.columns = channels * shape.offsets;
  shape.kernel_width = kernel_width;
  shape.outputs = 16;
  return shape;
}

/// Layers of all sorts, the smallest included, and one that has not run yet.
std::vector<LayerShape> all_shapes() {
  LayerShape strips = convolution(131072, 3, 5, 5);
  strips.vector_length = 15;
  strips.offsets = 5;
  return {convolution_shape(),
          strips,
          convolution(1, 1, 1, 1),
          convolution(49, 1, 3, 3),
          convolution(6272, 512, 3, 3),
          convolution(100352, 2, 1, 7),
          convolution(100352, 2, 7, 1),
          convolution(12544, 256, 1, 1),
          convolution(0, 64, 5, 5),
          plain_product(1, 1, 1),
          plain_product(3, 2, 5),
          plain_product(128, 9, 10),
          plain_product(128, 257, 10),
          plain_product(128, 4096, 384),
          plain_product(1 << 24, 25088, 4096)};
}

/// Short, so that lists of them are read at a glance.
std::string short_name(const Plan& plan) {
  if (plan.method == Method::exact) return "dense";
  if (plan.method == Method::subspace) return "subspace" + std::to_string(plan.kept_coordinates);
  return "L" + std::to_string(plan.vector_length) + "H" + std::to_string(plan.hash_count);
}
std::vector<std::string> short_names(const std::vector<Plan>& configs) {
  std::vector<std::string> all;
  for (const Plan& config : configs) all.push_back(short_name(config));
  return all;
}
std::vector<std::string> short_names(const Ladder& ladder) {
  std::vector<std::string> all;
  for (const Rung& rung : ladder) all.push_back(short_name(rung.config));
  return all;
}

/// A rung by the number of its coordinates.
Rung rung(int name, double cost, double error) {
  Rung made;
  made.config.method = Method::subspace;
  made.config.kept_coordinates = name;
  made.cost = cost;
  made.error = error;
  return made;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("Shared candidates of a convolution are these") {
  CHECK(short_names(shared_candidates(convolution_shape(), Plan())) ==
        Names{"subspace16", "subspace24", "subspace32", "subspace48"});
}

TEST_CASE("Clusters with a radius are candidates where rows are multiplied as they are") {
  CHECK(clustered_candidates(convolution_shape(), Plan()).empty());
  const auto candidates = clustered_candidates(plain_product(4096, 2304, 256), Plan());
  REQUIRE(candidates.size() == 3);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    CHECK(candidates[i].method == Method::clustered);
    CHECK(candidates[i].validate(2304).empty());
    if (i > 0) CHECK(candidates[i].radius < candidates[i - 1].radius);
  }
}

TEST_CASE("Short vectors have fewer candidates, each of them once, and very long ones have none") {
  const auto of_length = [](index_t length) {
    return short_names(shared_candidates(plain_product(64, length, 8), Plan()));
  };
  CHECK(of_length(1).empty());
  CHECK(of_length(2).empty());
  CHECK(of_length(3) == Names{"subspace2"});
  CHECK(of_length(4) == Names{"subspace2", "subspace3"});
  CHECK(of_length(15) == Names{"subspace3", "subspace5", "subspace7", "subspace11"});
  CHECK(of_length(1024) == Names{"subspace256", "subspace384", "subspace512", "subspace768"});
  CHECK(of_length(1025).empty());
}

TEST_CASE("Subspaces of a candidate list grow, whatever the length") {
  for (index_t length = 1; length <= 300; ++length) {
    index_t kept = 1;
    for (const Plan& c : shared_candidates(plain_product(64, length, 8), Plan())) {
      CAPTURE(length);
      CHECK(c.kept_coordinates > kept);
      kept = c.kept_coordinates;
    }
  }
}

TEST_CASE("Published candidates of a convolution are these, from coarse to fine") {
  // L from the kernel's width, 5, to 2 * 5 * sqrt(64); H up to log2(32768) - 3.
  CHECK(short_names(published_candidates(convolution_shape(), Plan())) ==
        Names{"L80H6", "L80H9", "L20H9", "L20H12", "L5H9", "L5H12"});
}

TEST_CASE("Published candidates stay within their bounds and are different") {
  for (const LayerShape& shape : all_shapes()) {
    const auto candidates = published_candidates(shape, Plan());
    CAPTURE(shape.rows, shape.columns);
    CHECK(!candidates.empty());
    CHECK(candidates.size() <= 8);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const Plan& config = candidates[i];
      CAPTURE(label(config));
      CHECK(config.method == Method::published);
      CHECK(config.hash_count >= 6);
      CHECK(config.hash_count <= 18);
      for (std::size_t j = 0; j < i; ++j) {
        CHECK(label(candidates[j]) != label(config));
        CHECK(candidates[j].vector_length >= config.vector_length);
      }
      if (shape.rows < 1024) continue;
      CHECK(std::exp2(config.hash_count) <= static_cast<double>(shape.rows) / 8);
    }
  }
}

TEST_CASE("Candidates fit every layer and keep what the base says") {
  Plan base;
  base.refit_interval = 7;
  base.meter_interval = 5;
  base.seed = 99;
  base.hash_center = HashCenter::mean;
  base.input_gradient = InputGradient::over_non_zeros;
  base.weight_gradient = WeightGradient::rounded;
  base.gradient_rounding = 3;
  base.kept_coordinates = 1000;
  for (const LayerShape& shape : all_shapes()) {
    auto candidates = shared_candidates(shape, base);
    for (const Plan& config : candidates) {
      CAPTURE(shape.columns, shape.vector_length, label(config));
      CHECK(config.method == Method::subspace);
      CHECK(config.kept_coordinates < shape.vector_length);
      CHECK(config.kept_coordinates >= 2);
    }
    const auto published = published_candidates(shape, base);
    candidates.insert(candidates.end(), published.begin(), published.end());
    for (const Plan& config : candidates) {
      CAPTURE(shape.columns, label(config));
      CHECK(config.validate(shape.columns) == "");
      CHECK(config.refit_interval == 7);
      CHECK(config.meter_interval == 5);
      CHECK(config.seed == 99);
      CHECK(config.hash_center == HashCenter::mean);
      CHECK(config.input_gradient == InputGradient::over_non_zeros);
      CHECK(config.weight_gradient == WeightGradient::rounded);
      CHECK(config.gradient_rounding == 3);
    }
  }
}

TEST_CASE("A ladder of nothing is dense") {
  const Ladder ladder = make_ladder({});
  REQUIRE(ladder.size() == 1);
  CHECK(ladder[0].config.method == Method::exact);
  CHECK(ladder[0].cost == 1);
  CHECK(ladder[0].error == 0);
}

TEST_CASE("Rungs are ordered from coarse to fine, with what was measured of them") {
  const Ladder ladder = make_ladder({rung(4, 0.3, 0.1), rung(2, 0.1, 0.3), rung(3, 0.2, 0.2)});
  CHECK(short_names(ladder) == Names{"subspace2", "subspace3", "subspace4", "dense"});
  CHECK(ladder[1].cost == 0.2);
  CHECK(ladder[1].error == 0.2);
}

TEST_CASE("Rungs that others beat or equal are dropped") {
  SECTION("beaten in both") {
    CHECK(short_names(make_ladder({rung(2, 0.1, 0.2), rung(3, 0.2, 0.3)})) ==
          Names{"subspace2", "dense"});
  }
  SECTION("beaten in cost, equal in error") {
    CHECK(short_names(make_ladder({rung(3, 0.2, 0.2), rung(2, 0.1, 0.2)})) ==
          Names{"subspace2", "dense"});
  }
  SECTION("equal in cost, beaten in error") {
    CHECK(short_names(make_ladder({rung(2, 0.1, 0.3), rung(3, 0.1, 0.2)})) ==
          Names{"subspace3", "dense"});
  }
  SECTION("equal in both: the first one stays") {
    CHECK(short_names(make_ladder({rung(2, 0.1, 0.2), rung(3, 0.1, 0.2)})) ==
          Names{"subspace2", "dense"});
  }
  SECTION("one beats all others") {
    CHECK(short_names(make_ladder({rung(2, 0.2, 0.5), rung(3, 0.3, 0.4), rung(4, 0.1, 0.1)})) ==
          Names{"subspace4", "dense"});
  }
  SECTION("by the dense one") {
    CHECK(short_names(make_ladder({rung(2, 1.0, 0.2), rung(3, 1.5, 0.1), rung(4, 0.999, 0.3)})) ==
          Names{"subspace4", "dense"});
  }
}

TEST_CASE("What is not finite, or without an error, makes no rung") {
  CHECK(short_names(make_ladder({rung(2, k_nan, 0.2), rung(3, 0.1, k_nan), rung(4, 0.1, k_infinity),
                                 rung(5, -k_infinity, 0.1), rung(6, 0.1, 0), rung(7, 0.1, -0.1),
                                 rung(8, 0.5, 0.4)})) == Names{"subspace8", "dense"});
}

TEST_CASE("Without dense as a competitor slower rungs stay, below a dense one all the same") {
  const Ladder ladder =
      make_ladder({rung(2, 1.2, 0.5), rung(3, 3.0, 0.2), rung(4, 4.0, 0.3)}, Competitor::none);
  CHECK(short_names(ladder) == Names{"subspace2", "subspace3", "dense"});
  CHECK(ladder.back().cost == 1);
  CHECK(short_names(make_ladder({rung(2, k_infinity, 0.5)}, Competitor::none)) == Names{"dense"});
}

TEST_CASE("Ladders of random rungs fall in error and rise in cost, and leave out no good rung") {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<Rung> measured;
    const index_t count = random.below(20);
    for (index_t i = 0; i < count; ++i) {
      // Few values, so that some are equal.
      const double cost = 0.1 * static_cast<double>(random.below(14));
      const double error = 0.05 * static_cast<double>(random.below(12));
      measured.push_back(rung(static_cast<int>(i) + 1, cost, error));
    }
    const Ladder ladder = make_ladder(measured);
    REQUIRE(!ladder.empty());
    CHECK(ladder.back().config.method == Method::exact);
    CHECK(ladder.back().cost == 1);
    CHECK(ladder.back().error == 0);
    for (std::size_t i = 1; i < ladder.size(); ++i) {
      CHECK(ladder[i].error < ladder[i - 1].error);
      CHECK(ladder[i].cost > ladder[i - 1].cost);
    }
    for (const Rung& m : measured) {
      if (!(m.error > 0)) continue;
      const bool matched = std::any_of(ladder.begin(), ladder.end(), [&](const Rung& r) {
        return r.cost <= m.cost && r.error <= m.error;
      });
      CHECK(matched);
    }
  }
}

TEST_CASE("Plans have a label of words, without commas") {
  Plan plan;
  CHECK(label(plan) == "published L 25 H 10");
  plan.hash_center = HashCenter::mean;
  plan.input_gradient = InputGradient::dense;
  plan.cluster_reuse = true;
  plan.max_product_age = 2;
  CHECK(label(plan) == "published L 25 H 10 centred with cluster reuse to age 2 and exact dX");
  plan.method = Method::subspace;
  plan.kept_coordinates = 16;
  plan.cluster_reuse = false;
  plan.weight_gradient = WeightGradient::rounded;
  CHECK(label(plan) == "subspace of 16 coordinates with rounded dW");
  plan.kept_coordinates = 0;
  plan.input_gradient = InputGradient::rounded;
  CHECK(label(plan) == "subspace of error 0.05 with rounded gradients");
  plan.method = Method::exact;
  plan.weight_gradient = WeightGradient::exact;
  plan.input_gradient = InputGradient::exact;
  CHECK(label(plan) == "exact");
  plan.weight_gradient = WeightGradient::over_non_zeros;
  plan.input_gradient = InputGradient::over_non_zeros;
  CHECK(label(plan) == "exact with gradients over non-zeros");
  plan.weight_gradient = WeightGradient::dense;
  plan.input_gradient = InputGradient::dense;
  CHECK(label(plan) == "exact");
}

TEST_CASE("Candidates are thinned out to what is affordable, the finest last") {
  const auto kept = [](const std::vector<Plan>& configs) {
    std::vector<index_t> numbers;
    for (const Plan& config : configs) numbers.push_back(config.kept_coordinates);
    return numbers;
  };
  const auto thinned = [&](int count, std::size_t most) {
    std::vector<Plan> configs(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) configs[static_cast<std::size_t>(i)].kept_coordinates = i + 1;
    adr::thin_out(configs, [&] { return configs.size() <= most; });
    return kept(configs);
  };
  CHECK(thinned(0, 1).empty());
  CHECK(thinned(1, 1) == std::vector<index_t>{1});
  CHECK(thinned(1, 0).empty());
  CHECK(thinned(2, 1) == std::vector<index_t>{2});
  CHECK(thinned(9, 9).size() == 9);
  CHECK(thinned(9, 8) == std::vector<index_t>{1, 3, 5, 7, 9});
  CHECK(thinned(10, 9) == std::vector<index_t>{2, 4, 6, 8, 10});
  CHECK(thinned(10, 4) == std::vector<index_t>{2, 6, 10});
  CHECK(thinned(10, 1) == std::vector<index_t>{10});
  CHECK(thinned(10, 0).empty());
}

TEST_CASE("Settings have the rungs of a ladder if they cluster as all but the dense one") {
  std::vector<Plan> settings(2);
  settings[0].method = settings[1].method = Method::subspace;
  settings[0].kept_coordinates = 2;
  settings[1].kept_coordinates = 4;
  Plan dense;
  dense.method = Method::exact;
  CHECK(adr::has_rungs_of(settings, {}));
  CHECK(adr::has_rungs_of({}, {{dense, 1, 0}}));
  CHECK(adr::has_rungs_of(settings, {{settings[1], 0.5, 0.1}, {dense, 1, 0}}));
  settings[1].gradient_rounding = 2;  // gradients do not matter
  CHECK(adr::has_rungs_of(settings, {{settings[1], 0.5, 0.1}, {dense, 1, 0}}));
  const adr::Ladder ladder = {{settings[0], 0.4, 0.2}, {settings[1], 0.5, 0.1}, {dense, 1, 0}};
  CHECK(adr::has_rungs_of(settings, ladder));
  settings.erase(settings.begin());
  CHECK_FALSE(adr::has_rungs_of(settings, ladder));
}
