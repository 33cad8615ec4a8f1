// What the measurement of rounding reports, against sums in double precision over the exact
// gradients of both halves of a batch, and the steps that follow from it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "adr/adapt/rounding_steps.hpp"
#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "property/shared_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"

using adr::index_t;
using adr::IndexRange;
using adr::InputGradient;
using adr::Method;
using adr::Plan;
using adr::Report;
using adr::ReuseConv2d;
using adr::ReuseLinear;
using adr::RoundingSteps;
using adr::WeightGradient;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::LinearCase;
using adr_test::Matrix;
using adr_test::NamedGeometry;
using adr_test::shared_geometries;
using adr_test::passes::backward;
using adr_test::passes::forward;
using Catch::Matchers::WithinRel;

namespace {

Plan measured_plan(WeightGradient weights, InputGradient input) {
  Plan plan;
  plan.method = Method::exact;
  plan.weight_gradient = weights;
  plan.input_gradient = input;
  plan.gradient_rounding = 1.5;
  plan.measure_rounding = true;
  return plan;
}

/// The weight gradient, K x M, of the rows of some images alone.
Matrix weight_gradient_of(adr_test::Operands operands, const IndexRange& images,
                          index_t rows_per_image) {
  for (index_t n = 0; n < operands.d_y.rows; ++n) {
    const index_t image = n / rows_per_image;
    if (image >= images.first && image < images.last) continue;
    for (index_t m = 0; m < operands.d_y.cols; ++m) operands.d_y(n, m) = 0;
  }
  return adr_test::dense_weight_gradient(operands).value;
}

struct Energies {
  double noise = 0;
  double exact = 0;  ///< the variance of a weight gradient, the energy of an input gradient
};

/// found(k, m) is the rounded weight gradient; of the first outputs.
template <class Found>
Energies weight_energies(const adr_test::Operands& operands, index_t images, index_t outputs,
                         const Found& found) {
  const index_t rows_per_image = operands.d_y.rows / images;
  const Matrix a = weight_gradient_of(operands, adr::partition(images, 2, 0), rows_per_image);
  const Matrix b = weight_gradient_of(operands, adr::partition(images, 2, 1), rows_per_image);
  Energies sums;
  for (index_t k = 0; k < a.rows; ++k) {
    for (index_t m = 0; m < outputs; ++m) {
      sums.noise += std::pow(found(k, m) - a(k, m) - b(k, m), 2);
      sums.exact += std::pow(a(k, m) - b(k, m), 2);
    }
  }
  return sums;
}

template <class Found>
Energies input_energies(const Matrix& exact, index_t rows, const Found& found) {
  Energies sums;
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < exact.cols; ++j) {
      sums.noise += std::pow(found(i, j) - exact(i, j), 2);
      sums.exact += std::pow(exact(i, j), 2);
    }
  }
  return sums;
}

void check(const Report& report, const Energies& weights, const Energies& input) {
  constexpr double k_tolerance = 1e-3;  // of floats, whose errors are small beside the noise
  CHECK_THAT(report.weight_noise_energy, WithinRel(weights.noise, k_tolerance));
  CHECK_THAT(report.weight_gradient_variance, WithinRel(weights.exact, k_tolerance));
  CHECK_THAT(report.input_noise_energy, WithinRel(input.noise, k_tolerance));
  CHECK_THAT(report.input_gradient_energy, WithinRel(input.exact, k_tolerance));
  CHECK(report.has_gradient_noise());
  CHECK(report.weight_gradient_noise() ==
        report.weight_noise_energy / report.weight_gradient_variance);
  CHECK(report.input_gradient_noise() == report.input_noise_energy / report.input_gradient_energy);
}

/// A report whose gradients have that noise.
Report report_of(double weights, double input) {
  Report report;
  report.weight_noise_energy = weights;
  report.weight_gradient_variance = 1;
  report.input_noise_energy = input;
  report.input_gradient_energy = 1;
  return report;
}

}  // namespace

TEMPLATE_TEST_CASE("Convolutions measure what rounding adds to their gradients", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    const adr::ConvGeometry& g = named.geometry;
    ReuseConv2d<T> layer(g, measured_plan(WeightGradient::rounded, InputGradient::rounded));
    const auto batches =
        adr_test::k_slow_build ? std::vector<index_t>{9} : std::vector<index_t>{9, 2, 1};
    for (const index_t batch : batches) {
      INFO(named.name << ", batch " << batch);
      ConvCase<T> c(g, batch, data);
      forward(layer, c);
      backward(layer, c);
      Energies weights;
      std::vector<adr_test::Expected> inputs;
      for (index_t group = 0; group < g.groups; ++group) {
        const adr_test::Operands operands = c.operands(group);
        const index_t first = group * g.group_out_channels();
        const Energies sums =
            weight_energies(operands, batch, g.group_out_channels(),
                            [&](index_t k, index_t m) -> double { return c.d_w(first + m, k); });
        weights.noise += sums.noise;
        weights.exact += sums.exact;
        inputs.push_back(adr_test::dense_input_gradient(operands));
      }
      const Matrix d_x(c.d_x.view());
      check(layer.report(), weights,
            input_energies(c.folded(inputs).value, batch > 8 ? 2 : 1, d_x));
      CHECK(c.damage() == "");
    }
  }
}

TEMPLATE_TEST_CASE("Products of matrices measure an eighth of their outputs", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  struct Sizes {
    index_t rows, columns, outputs, measured;
  };
  for (const Sizes& s : {Sizes{40, 7, 23, 23}, Sizes{17, 9, 70, 64}, Sizes{8, 5, 1040, 130}}) {
    INFO(s.rows << " x " << s.columns << " x " << s.outputs);
    ReuseLinear<T> layer(s.columns, s.outputs,
                         measured_plan(WeightGradient::rounded, InputGradient::rounded));
    LinearCase<T> c(s.rows, s.columns, s.outputs, data);
    forward(layer, c);
    backward(layer, c);
    const adr_test::Operands operands = c.operands();
    const Matrix d_x(c.d_x.view());
    check(layer.report(),
          weight_energies(operands, s.rows, s.measured,
                          [&](index_t k, index_t m) -> double { return c.d_w(m, k); }),
          input_energies(adr_test::dense_input_gradient(operands).value, (s.rows + 7) / 8, d_x));
  }
}

TEST_CASE("Gradients that are not rounded, or not to be measured, have no noise") {
  Data data;
  INFO(data);
  LinearCase<float> c(40, 7, 23, data);
  const auto report = [&](const Plan& plan) {
    ReuseLinear<float> layer(7, 23, plan);
    forward(layer, c);
    backward(layer, c);
    return layer.report();
  };
  CHECK_FALSE(report(measured_plan(WeightGradient::dense, InputGradient::over_non_zeros))
                  .has_gradient_noise());
  const Report weights = report(measured_plan(WeightGradient::rounded, InputGradient::dense));
  CHECK(weights.weight_gradient_noise() > 0);
  CHECK(weights.input_gradient_noise() == 0);
  Plan plan = measured_plan(WeightGradient::rounded, InputGradient::rounded);
  plan.measure_rounding = false;
  CHECK_FALSE(report(plan).has_gradient_noise());
}

TEST_CASE("Steps settle where their noise is at the limit") {
  // Noise as powers of the step that layers have: 2 and more.
  for (const double power : {2.0, 2.5, 3.0}) {
    for (const double scale : {0.001, 0.02, 0.2, 20.0}) {
      INFO("noise " << scale << " step^" << power);
      RoundingSteps steps;
      CHECK(steps.ask(4, 0.1));
      CHECK_FALSE(steps.ask(4, 0.1));
      for (int series = 0; series < 4; ++series) {
        steps.measure();
        while (steps.measuring()) {
          const double input = scale * std::pow(steps.both(), power);
          steps.note(report_of(input / 4, input));
        }
      }
      constexpr double k_finest = 0.125;  // from where a step comes back
      const double wanted = std::clamp(std::pow(0.1 / scale, 1 / power), k_finest, 4.0);
      CHECK_THAT(steps.both(), WithinRel(wanted, 0.02));
      CHECK(steps.weights() >= steps.both());
      CHECK((wanted == k_finest || steps.noise(true, true) <= 0.102));
      CHECK((wanted == k_finest || steps.noise(true, false) <= 0.102));
      CHECK(steps.usable_for_input() == (wanted > 0.5));
    }
  }
}

TEST_CASE("Weight gradients may be rounded more than those that are handed on") {
  RoundingSteps steps;
  steps.ask(4, 0.1);
  for (int series = 0; series < 2; ++series) {
    steps.measure();
    while (steps.measuring()) {
      const double square = steps.both() * steps.both();
      steps.note(report_of(0.01 * square, 0.04 * square));
    }
  }
  CHECK_THAT(steps.both(), WithinRel(std::sqrt(0.1 / 0.04), 0.05));
  CHECK(steps.weights() > 1.3 * steps.both());
}

TEST_CASE("Steps without a limit, without rounding and without noise are what was asked") {
  RoundingSteps steps;
  CHECK_FALSE(steps.ask(0, 0));
  steps.measure();
  CHECK_FALSE(steps.measuring());
  CHECK(steps.ask(3, 0));
  steps.measure();
  CHECK_FALSE(steps.measuring());
  CHECK(steps.both() == 3);
  CHECK(steps.ask(3, 0.1));
  CHECK(steps.both() == 1);
  steps.measure();
  steps.note(Report());  // no backward pass yet
  REQUIRE(steps.measuring());
  while (steps.measuring()) steps.note(report_of(0, 0));
  CHECK(steps.both() == 3);
  steps.measure();
  while (steps.measuring()) {
    steps.note(report_of(std::numeric_limits<double>::quiet_NaN(), 0));
  }
  CHECK(steps.both() < 0.5);
  CHECK_FALSE(steps.usable());
  steps.measure();
  steps.end();
  CHECK_FALSE(steps.measuring());
}

TEST_CASE("Nothing is rounded where there is nothing to measure, or no variance") {
  RoundingSteps steps;
  steps.ask(4, 0.1);
  steps.measure();
  for (int pass = 0; pass < 100 && steps.measuring(); ++pass) steps.note(Report());
  CHECK_FALSE(steps.measuring());
  CHECK_FALSE(steps.usable());
  Report report;
  report.weight_noise_energy = 1;  // of a gradient that does not vary
  CHECK(std::isinf(report.weight_gradient_noise()));
  RoundingSteps others;
  others.ask(4, 0.1);
  for (int series = 0; series < 600; ++series) {
    others.measure();
    while (others.measuring()) others.note(report);
  }
  CHECK_FALSE(others.usable());
  CHECK(others.both() > 0.1);  // from where it comes back
  others.measure();
  while (others.measuring()) others.note(report_of(0.001, 0.001));
  CHECK(others.usable());
}
