// Predicted costs against those of docs/layers_avx512.md and others that were measured, what must
// be predicted not to pay, and the correction by what was timed.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "adr/adapt/cost_model.hpp"
#include "adr/adapt/ladder.hpp"
#include "adr/adapt/plan_label.hpp"
#include "support/catch.hpp"
#include "support/fake_layer.hpp"
#include "training/temporary_folder.hpp"

namespace {

using namespace adr;
using adr_test::convolution_shape;
using Catch::Matchers::WithinRel;

Plan subspace(index_t kept) {
  Plan config;
  config.method = Method::subspace;
  config.kept_coordinates = kept;
  return config;
}
Plan dense() {
  Plan config;
  config.method = Method::exact;
  return config;
}
Plan with_gradients(WeightGradient weights, InputGradient input) {
  Plan config = subspace(16);
  config.weight_gradient = weights;
  config.input_gradient = input;
  return config;
}

/// conv1 of CifarNet at batch 128: vectors are strips of a kernel's width.
LayerShape first_convolution() {
  LayerShape shape = convolution_shape();
  shape.rows = shape.vectors = 128 * 32 * 32;
  shape.columns = 75;
  shape.vector_length = 15;
  shape.offsets = 5;
  shape.convolves_pixels = false;
  return shape;
}
LayerShape plain_product(index_t rows, index_t columns, index_t outputs) {
  LayerShape shape;
  shape.rows = shape.vectors = rows;
  shape.columns = shape.vector_length = columns;
  shape.outputs = outputs;
  return shape;
}
/// Every setting that a scheduler would consider.
std::vector<Plan> all_candidates(const LayerShape& shape) {
  std::vector<Plan> all = shared_candidates(shape, Plan());
  const std::vector<Plan> published = published_candidates(shape, Plan());
  all.insert(all.end(), published.begin(), published.end());
  return all;
}
double forward_cost(const LayerShape& shape, const Plan& config) {
  return predicted_costs(shape, config, 1.0).forward;
}

}  // namespace

TEST_CASE("The dense setting costs 1") {
  for (const LayerShape& shape :
       {convolution_shape(), first_convolution(), plain_product(1, 1, 1), plain_product(0, 8, 8)}) {
    const PassCosts costs = predicted_costs(shape, dense(), 0.5);
    CHECK(costs.forward == 1);
    CHECK(costs.weight_gradient == 1);
    CHECK(costs.input_gradient == 1);
  }
}

TEST_CASE("Predicted forward costs are near the documented ones") {
  struct Documented {
    LayerShape shape;
    Plan config;
    double speedup;
  };
  // Subspaces of pixels on the exact engine: decision 0014, both snapshots taken together.
  const LayerShape conv2 = convolution_shape();
  const std::vector<Documented> all = {{conv2, subspace(8), 3.0},   {conv2, subspace(16), 2.5},
                                       {conv2, subspace(24), 1.85}, {conv2, subspace(32), 1.7},
                                       {conv2, subspace(40), 1.6},  {conv2, subspace(48), 1.3},
                                       {conv2, Plan(), 0.7}};
  for (const Documented& d : all) {
    CAPTURE(label(d.config), d.shape.columns);
    CHECK_THAT(forward_cost(d.shape, d.config) * d.speedup, WithinRel(1.0, 0.3));
  }
}

TEST_CASE("Predicted forward costs of other layers are within a factor of two") {
  struct Measured {
    LayerShape shape;
    Plan config;
    double cost;
  };
  LayerShape pointwise = plain_product(12544, 256, 256);
  LayerShape narrow = convolution_shape();
  narrow.columns = 72;
  narrow.vector_length = narrow.outputs = 8;
  narrow.offsets = narrow.kernel_plane = 9;
  narrow.kernel_width = 3;
  narrow.convolves_pixels = false;
  Plan hyperplanes;
  hyperplanes.vector_length = 32;
  hyperplanes.hash_count = 8;
  // One core with AVX-512, over the faster one of oneDNN (convolutions) and OpenBLAS.
  const std::vector<Measured> all = {
      {pointwise, subspace(64), 0.80}, {pointwise, hyperplanes, 0.37}, {narrow, subspace(4), 2.1}};
  for (const Measured& m : all) {
    CAPTURE(label(m.config), m.shape.rows, m.shape.columns, m.shape.outputs);
    const double ratio = forward_cost(m.shape, m.config) / m.cost;
    CHECK(ratio > 0.5);
    CHECK(ratio < 2.0);
  }
}

TEST_CASE("Layers without room are predicted to gain nothing") {
  LayerShape empty = convolution_shape();
  empty.rows = empty.vectors = 0;
  const std::vector<LayerShape> shapes = {empty,
                                          plain_product(4096, 256, 1),
                                          plain_product(4096, 64, 1),
                                          plain_product(4096, 4096, 1),
                                          plain_product(32768, 8, 8),
                                          plain_product(32768, 16, 16),
                                          plain_product(128, 384, 10),
                                          plain_product(64, 8, 4),
                                          plain_product(1, 1, 1),
                                          plain_product(1, 4096, 4096),
                                          plain_product(0, 64, 64)};
  for (const LayerShape& shape : shapes) {
    for (const Plan& config : all_candidates(shape)) {
      CAPTURE(shape.rows, shape.columns, shape.outputs, label(config));
      CHECK(forward_cost(shape, config) > 1);
    }
  }
}

TEST_CASE("Finer settings are predicted to cost more") {
  for (const LayerShape& shape : {convolution_shape(), first_convolution(),
                                  plain_product(4096, 256, 256), plain_product(128, 4096, 384)}) {
    double last = 0;
    for (const Plan& config : shared_candidates(shape, Plan())) {
      CAPTURE(shape.columns, label(config));
      CHECK(forward_cost(shape, config) > last);
      last = forward_cost(shape, config);
    }
  }
  Plan fine;
  fine.vector_length = 5;
  CHECK(forward_cost(convolution_shape(), fine) > forward_cost(convolution_shape(), Plan()));
}

TEST_CASE("What makes a setting dearer is predicted to") {
  LayerShape shape = convolution_shape();
  shape.convolves_pixels = GENERATE(true, false);
  const double usual = forward_cost(shape, subspace(16));
  Plan config = subspace(16);
  SECTION("more coordinates") { config.kept_coordinates = 32; }
  SECTION("a fit in every other pass") { config.refit_interval = 2; }
  SECTION("as many coordinates as an error asks for, which is not known") {
    config.kept_coordinates = 0;
  }
  CHECK(forward_cost(shape, config) > 1.2 * usual);
}

TEST_CASE("All coordinates of pixels are predicted to cost the dense pass and the way to them") {
  LayerShape shape = convolution_shape();
  const double cost = forward_cost(shape, subspace(64));
  CHECK(cost > 1);
  CHECK(cost < 1.3);
  // No more than there are.
  CHECK(forward_cost(shape, subspace(1000)) == cost);
}

TEST_CASE("Gradients over non-zeros cost what their density says") {
  using Weights = WeightGradient;
  using Input = InputGradient;
  const LayerShape shape = convolution_shape();
  const double listing = GradientCosts().listing / 1600.0;
  for (const double density : {0.0, 0.1, 0.5}) {
    // Looking for them: 1/200 of the 1600 columns' products, and starting threads.
    const PassCosts sparse = predicted_costs(
        shape, with_gradients(Weights::over_non_zeros, Input::over_non_zeros), density);
    CHECK_THAT(sparse.weight_gradient,
               WithinRel(GradientCosts::k_sparse * density + listing, 0.02));
    CHECK_THAT(sparse.input_gradient, WithinRel(GradientCosts::k_sparse * density + listing, 0.02));
    const PassCosts rounded =
        predicted_costs(shape, with_gradients(Weights::rounded, Input::rounded), density);
    CHECK(rounded.weight_gradient == sparse.weight_gradient);
    CHECK(rounded.input_gradient == sparse.input_gradient);
  }
}

TEST_CASE("The cheapest exact gradient is never predicted above the dense one") {
  const Plan cheapest = with_gradients(WeightGradient::exact, InputGradient::exact);
  const Plan sparse = with_gradients(WeightGradient::over_non_zeros, InputGradient::over_non_zeros);
  const LayerShape shape = convolution_shape();
  const PassCosts few = predicted_costs(shape, cheapest, 0.1);
  CHECK(few.weight_gradient == predicted_costs(shape, sparse, 0.1).weight_gradient);
  CHECK(few.input_gradient == predicted_costs(shape, sparse, 0.1).input_gradient);
  CHECK(few.weight_gradient < 0.2);
  const PassCosts many = predicted_costs(shape, cheapest, 0.9);
  CHECK(many.weight_gradient == 1);
  CHECK(many.input_gradient == 1);
  CHECK(predicted_costs(shape, sparse, 0.9).weight_gradient > 1);
  // Few columns: looking for the non-zeros costs as much as the product.
  CHECK(predicted_costs(plain_product(32768, 8, 64), cheapest, 0.1).weight_gradient == 1);
}

TEST_CASE("Exact gradients cost as much as dense ones") {
  const PassCosts costs = predicted_costs(
      convolution_shape(), with_gradients(WeightGradient::dense, InputGradient::dense), 0.1);
  CHECK(costs.weight_gradient == 1);
  CHECK(costs.input_gradient == 1);
}

TEST_CASE(
    "Predictions of forward passes are corrected by the median of what was timed, by method") {
  CostModel model;
  CHECK(model.factor(Method::published) == 1);
  model.note(Method::published, 0.1, 0.2);
  CHECK(model.factor(Method::published) == 2);
  model.note(Method::published, 0.25, 0.75);
  model.note(Method::published, 0.25, 2.5);
  CHECK(model.factor(Method::published) == 3);
  model.note(Method::subspace, 0.5, 4);
  CHECK(model.factor(Method::subspace) == 8);
  CHECK(model.factor(Method::published) == 3);
  CHECK(model.factor(Method::exact) == 1);

  const LayerShape shape = convolution_shape();
  Plan config = with_gradients(WeightGradient::over_non_zeros, InputGradient::over_non_zeros);
  config.method = Method::published;
  CHECK(model.predict_forward(shape, config) == 3 * predicted_costs(shape, config, 0.1).forward);
  config.method = Method::subspace;
  config.kept_coordinates = 16;
  CHECK(model.predict_forward(shape, config) == 8 * predicted_costs(shape, config, 0.1).forward);
}

TEST_CASE("A correction forgets: the median is of the last nine") {
  CostModel model;
  for (int i = 0; i < 9; ++i) model.note(Method::published, 1, 4);
  for (int i = 0; i < 4; ++i) model.note(Method::published, 1, 2);
  CHECK(model.factor(Method::published) == 4);
  model.note(Method::published, 1, 2);
  CHECK(model.factor(Method::published) == 2);
}

TEST_CASE("Corrections stay between 1/16 and 16, and what is no timing is left out") {
  CostModel model;
  model.note(Method::published, 1e-6, 1);
  CHECK(model.factor(Method::published) == 16);
  model.note(Method::subspace, 1, 1e-6);
  CHECK(model.factor(Method::subspace) == 1 / 16.0);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  model.note(Method::exact, 0, 1);
  model.note(Method::exact, -1, 1);
  model.note(Method::exact, 1, 0);
  model.note(Method::exact, 1, -1);
  model.note(Method::exact, nan, 1);
  model.note(Method::exact, 1, nan);
  CHECK(model.factor(Method::exact) == 1);
}

TEST_CASE("A saved cost model has the same corrections") {
  CostModel saved;
  saved.note(Method::published, 1, 2);
  saved.note(Method::published, 1, 3);
  saved.note(Method::published, 1, 5);
  saved.note(Method::subspace, 1, 0.5);
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("costs.state");
  {
    StateWriter writer;
    StateArchive archive(writer);
    saved.exchange(archive);
    writer.save(path);
  }
  CostModel restored;
  restored.note(Method::exact, 1, 7);
  StateReader reader(path);
  StateArchive archive(reader);
  restored.exchange(archive);
  reader.require_end();
  CHECK(restored.factor(Method::published) == 3);
  CHECK(restored.factor(Method::subspace) == 0.5);
  CHECK(restored.factor(Method::exact) == 1);
  saved.note(Method::published, 1, 1);
  restored.note(Method::published, 1, 1);
  CHECK(restored.factor(Method::published) == 2);
  CHECK(saved.factor(Method::published) == 2);
}
