// The forms of the two gradients (WeightGradient, InputGradient) behind the layers: each against
// the reference of what it stands for, which one is chosen, and what is refused.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/gradients/gradient_density.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "property/shared_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/refusal.hpp"

using adr::ConvGeometry;
using adr::index_t;
using adr::InputGradient;
using adr::MatrixView;
using adr::Method;
using adr::Plan;
using adr::ReuseConv2d;
using adr::ReuseGemm;
using adr::ReuseLinear;
using adr::TensorView;
using adr::VectorView;
using adr::WeightGradient;
using adr_test::contains;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::Expected;
using adr_test::fault;
using adr_test::LinearCase;
using adr_test::Matrix;
using adr_test::NamedGeometry;
using adr_test::NeuronVectorKind;
using adr_test::Placement;
using adr_test::refusal;
using adr_test::shared_geometries;
using adr_test::Start;
using adr_test::thin_out;
using adr_test::with_method;
using adr_test::passes::backward;
using adr_test::passes::forward;

namespace {

constexpr Method k_reusing[] = {Method::published, Method::subspace};

Plan with_forms(Method method, WeightGradient weights, InputGradient input) {
  Plan config = with_method(method);
  config.weight_gradient = weights;
  config.input_gradient = input;
  return config;
}

double density(const Matrix& matrix) {
  double non_zeros = 0;
  for (const double element : matrix.elements) non_zeros += element != 0 ? 1 : 0;
  return non_zeros / static_cast<double>(matrix.elements.size());
}

template <class T>
void check_exact_weights(ConvCase<T>& c) {
  for (index_t group = 0; group < c.geometry.groups; ++group) {
    CHECK(fault<T>(c.weight_gradient(group), adr_test::dense_weight_gradient(c.operands(group))) ==
          "");
  }
}

template <class T>
Expected exact_input(ConvCase<T>& c) {
  std::vector<Expected> groups;
  for (index_t group = 0; group < c.geometry.groups; ++group) {
    groups.push_back(adr_test::dense_input_gradient(c.operands(group)));
  }
  return c.folded(groups);
}

template <class T>
void check_bias(ConvCase<T>& c) {
  const index_t outputs = c.geometry.group_out_channels();
  for (index_t group = 0; group < c.geometry.groups; ++group) {
    const MatrixView<const T> d_bias(c.d_bias.data() + group * outputs, 1, outputs);
    CHECK(fault(d_bias, adr_test::bias_gradient(c.operands(group))) == "");
  }
}

/// The variance of an element that is rounded at random to a unit or zero, if it is smaller.
double rounding_variance(double value, double unit) {
  const double part = std::min(std::abs(value) / unit, 1.0);
  return unit * unit * part * (1 - part);
}

/// What stochastic rounding rounds to.
template <class T>
double unit_of(const Matrix& d_y, double step) {
  double squares = 0;
  for (const double element : d_y.elements) squares += element * element;
  return static_cast<double>(adr::detail::rounding_unit<T>(
      step * std::sqrt(squares / static_cast<double>(d_y.elements.size()))));
}

}  // namespace

TEMPLATE_TEST_CASE("Gradients over non-zeros and dense ones are exact for every method", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method : k_reusing) {
      for (const double share : {0.1, 1.0}) {
        for (const auto& [weights, input] :
             {std::pair{WeightGradient::dense, InputGradient::dense},
              std::pair{WeightGradient::over_non_zeros, InputGradient::over_non_zeros},
              std::pair{WeightGradient::dense, InputGradient::over_non_zeros},
              std::pair{WeightGradient::over_non_zeros, InputGradient::dense}}) {
          INFO(named.name << ", " << to_string(method) << ", share " << share << ", forms "
                          << static_cast<int>(weights) << ", " << static_cast<int>(input));
          adr::Context context(2);
          ReuseConv2d<T> layer(named.geometry, with_forms(method, weights, input), context);
          for (const index_t batch : {3, 1}) {
            ConvCase<T> c(named.geometry, batch, data, Placement{5, Start::misaligned});
            thin_out(c.d_y.view(), share, data);
            forward(layer, c);
            backward(layer, c);
            check_exact_weights(c);
            CHECK(fault(c.d_x.view(), exact_input(c)) == "");
            check_bias(c);
            CHECK(layer.report().weight_gradient_form == weights);
            CHECK(layer.report().input_gradient_form == input);
            CHECK(c.damage() == "");
          }
        }
      }
    }
  }
}

TEST_CASE("Gradients over non-zeros take every kind of neuron vectors") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const NeuronVectorKind kind :
         {NeuronVectorKind::patch, NeuronVectorKind::pixel, NeuronVectorKind::strip}) {
      INFO(named.name << ", kind " << static_cast<int>(kind));
      Plan config = with_forms(Method::subspace, WeightGradient::over_non_zeros,
                               InputGradient::over_non_zeros);
      config.neuron_vectors = kind;
      ReuseConv2d<float> layer(named.geometry, config);
      ConvCase<float> c(named.geometry, 3, data, Placement{2, Start::misaligned});
      thin_out(c.d_y.view(), 0.2, data);
      forward(layer, c);
      backward(layer, c);
      check_exact_weights(c);
      CHECK(fault(c.d_x.view(), exact_input(c)) == "");
    }
  }
}

TEMPLATE_TEST_CASE("The weight gradient from all coordinates is the dense one", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const NeuronVectorKind kind :
         {NeuronVectorKind::patch, NeuronVectorKind::pixel, NeuronVectorKind::strip}) {
      // All coordinates stand for the vectors themselves, up to rounding in float.
      Plan config = with_forms(Method::subspace, WeightGradient::clusters, InputGradient::dense);
      config.neuron_vectors = kind;
      config.kept_coordinates = adr::vector_length(named.geometry, kind);
      adr::Context context(2);
      ReuseConv2d<T> layer(named.geometry, config, context);
      ConvCase<T> c(named.geometry, 9, data, Placement{5, Start::misaligned});
      forward(layer, c);
      backward(layer, c);
      CHECK(layer.report().weight_gradient_form == WeightGradient::clusters);
      CHECK(c.damage() == "");
      for (index_t group = 0; group < named.geometry.groups; ++group) {
        INFO(named.name << ", subspace, kind " << static_cast<int>(kind));
        // The axes of a metric of few weights do not span all that the input holds.
        if (layer.report().relative_input_error() > 1e-3) continue;
        CHECK(adr_test::share_fault(c.weight_gradient(group),
                                    adr_test::dense_weight_gradient(c.operands(group)),
                                    1e-3) == "");
      }
    }
  }
}

TEST_CASE("Gradients of a linear layer have every form, too") {
  Data data;
  INFO(data);
  for (const Method method : k_reusing) {
    for (const auto& [weights, input] :
         {std::pair{WeightGradient::dense, InputGradient::dense},
          std::pair{WeightGradient::over_non_zeros, InputGradient::over_non_zeros},
          std::pair{WeightGradient::clusters, InputGradient::dense}}) {
      INFO(to_string(method) << ", forms " << static_cast<int>(weights) << ", "
                             << static_cast<int>(input));
      Plan config = with_forms(method, weights, input);
      config.kept_coordinates = 14;
      ReuseLinear<double> layer(14, 9, config);
      LinearCase<double> c(90, 14, 9, data, Placement{1, Start::misaligned});
      paint(c.d_y.view(), 6, data);
      forward(layer, c);
      backward(layer, c);
      CHECK(layer.report().weight_gradient_form == weights);
      CHECK(layer.report().input_gradient_form == input);
      if (weights != WeightGradient::clusters) {
        CHECK(fault<double>(c.weight_gradient(), adr_test::dense_weight_gradient(c.operands())) ==
              "");
      } else if (method == Method::subspace) {
        // Of all coordinates, in floats.
        CHECK(adr_test::share_fault(c.weight_gradient(),
                                    adr_test::dense_weight_gradient(c.operands()), 1e-4) == "");
      }
      CHECK(fault<double>(c.input_gradient(), adr_test::dense_input_gradient(c.operands())) == "");
      CHECK(fault(c.d_bias.view(), adr_test::bias_gradient(c.operands())) == "");
      CHECK(c.damage() == "");
    }
  }
}

TEST_CASE("Stochastic rounding leaves large values, the same ones in both gradients") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 40;
  constexpr index_t k_outputs = 23;
  // The gradients of a product with unit matrices are the output gradient as it was rounded.
  Plan config = with_forms(Method::subspace, WeightGradient::rounded, InputGradient::rounded);
  for (const double step : {2.0, 0.7}) {
    config.gradient_rounding = step;
    ReuseLinear<double> weights_layer(k_rows, k_outputs, config);
    ReuseLinear<double> input_layer(k_outputs, k_outputs, config);
    LinearCase<double> w(k_rows, k_rows, k_outputs, data);
    LinearCase<double> x(k_rows, k_outputs, k_outputs, data);
    for (index_t i = 0; i < k_rows; ++i) {
      for (index_t j = 0; j < k_rows; ++j) w.x(i, j) = i == j ? 1 : 0;
      for (index_t m = 0; m < k_outputs; ++m) {
        if (i < k_outputs) x.w(i, m) = i == m ? 1 : 0;
        x.d_y(i, m) = w.d_y(i, m);
      }
    }
    forward(weights_layer, w);
    forward(input_layer, x);
    const Matrix d_y(w.d_y.view());
    const double unit = unit_of<double>(d_y, step);
    int rounded_up = 0;
    int zeros = 0;
    std::vector<double> first;
    for (int pass = 0; pass < 2; ++pass) {
      backward(weights_layer, w);
      backward(input_layer, x);
      int off = 0;
      for (index_t n = 0; n < k_rows; ++n) {
        for (index_t m = 0; m < k_outputs; ++m) {
          const double value = d_y(n, m);
          const double rounded = w.d_w(m, n);
          const bool is_small = std::abs(value) < unit;
          const bool up = is_small && rounded == std::copysign(unit, value);
          const bool legal = is_small ? up || rounded == 0 : rounded == value;
          off += legal && x.d_x(n, m) == rounded ? 0 : 1;
          rounded_up += up ? 1 : 0;
          zeros += rounded == 0 ? 1 : 0;
        }
      }
      CHECK(off == 0);
      const std::vector<double> now = adr_test::elements_of(w.d_w);
      if (pass == 1) CHECK_FALSE(adr_test::same_bits(now, first));  // drawn anew
      first = now;
    }
    CHECK(rounded_up > 100);
    CHECK(zeros > 100);
  }
}

TEST_CASE("Stochastic rounding is right on average") {
  Data data;
  INFO(data);
  constexpr int k_passes = 400;
  for (const NamedGeometry& named : shared_geometries()) {
    const ConvGeometry& g = named.geometry;
    // What has one group of outputs has one unit.
    if (g.groups != 1) continue;
    for (const Method method : {Method::published, Method::subspace}) {
      INFO(named.name << ", " << to_string(method));
      const Plan config = with_forms(method, WeightGradient::rounded, InputGradient::rounded);
      ReuseConv2d<double> layer(g, config);
      ConvCase<double> c(g, 2, data);
      forward(layer, c);
      Matrix d_w(c.d_w.view().rows, c.d_w.view().cols);
      Matrix d_x(c.d_x.view().rows, c.d_x.view().cols);
      for (int pass = 0; pass < k_passes; ++pass) {
        backward(layer, c);
        for (index_t i = 0; i < d_w.rows; ++i) {
          for (index_t j = 0; j < d_w.cols; ++j) d_w(i, j) += c.d_w(i, j) / k_passes;
        }
        for (index_t i = 0; i < d_x.rows; ++i) {
          for (index_t j = 0; j < d_x.cols; ++j) d_x(i, j) += c.d_x(i, j) / k_passes;
        }
      }
      CHECK(layer.report().weight_gradient_form == WeightGradient::rounded);
      CHECK(layer.report().input_gradient_form == InputGradient::rounded);
      // Elements of d_y are rounded independently: variances add up, weighted by squares.
      adr_test::Operands o = c.operands(0);
      const Matrix exact_w = adr_test::dense_weight_gradient(o).value;
      const Matrix exact_x = exact_input(c).value;
      const double unit = unit_of<double>(o.d_y, config.gradient_rounding);
      for (double& element : o.d_y.elements) element = rounding_variance(element, unit);
      for (double& element : o.x.elements) element *= element;
      for (double& element : o.w.elements) element *= element;
      const Matrix variance_w = adr_test::dense_weight_gradient(o).value;
      const Matrix variance_x = c.folded({adr_test::dense_input_gradient(o).value});
      constexpr double k_deviations = 6;
      adr_test::Comparison weights;
      for (index_t k = 0; k < exact_w.rows; ++k) {
        for (index_t m = 0; m < exact_w.cols; ++m) {
          weights.expect(d_w(m, k), exact_w(k, m),
                         k_deviations * std::sqrt(variance_w(k, m) / k_passes) + 1e-12);
        }
      }
      CHECK(weights.fault() == "");
      adr_test::Comparison input;
      double squares = 0;
      for (std::size_t i = 0; i < exact_x.elements.size(); ++i) {
        const double deviation = std::sqrt(variance_x.elements[i] / k_passes);
        input.expect(d_x.elements[i], exact_x.elements[i], k_deviations * deviation + 1e-12);
        const double off = (d_x.elements[i] - exact_x.elements[i]) / (deviation + 1e-12);
        squares += off * off / static_cast<double>(exact_x.elements.size());
      }
      CHECK(input.fault() == "");
      // Neither more nor less random than it should be.
      CHECK(squares > 0.5);
      CHECK(squares < 1.6);
    }
  }
}

TEST_CASE("One exact and one rounded gradient do not disturb each other") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    INFO(named.name);
    ConvCase<float> c(named.geometry, 3, data);
    thin_out(c.d_y.view(), 0.5, data);
    ReuseConv2d<float> first(
        named.geometry,
        with_forms(Method::subspace, WeightGradient::over_non_zeros, InputGradient::rounded));
    forward(first, c);
    backward(first, c);
    check_exact_weights(c);
    const Matrix exact = exact_input(c).value;
    CHECK(adr_test::relative_distance(Matrix(c.d_x.view()), exact) > 0.05);
    ReuseConv2d<float> second(named.geometry, with_forms(Method::subspace, WeightGradient::rounded,
                                                         InputGradient::over_non_zeros));
    forward(second, c);
    backward(second, c);
    CHECK(fault(c.d_x.view(), exact_input(c)) == "");
    CHECK(adr_test::relative_distance(c.weight_gradient(0),
                                      adr_test::dense_weight_gradient(c.operands(0)).value) > 0.05);
  }
}

TEST_CASE("Forms that a method does not have are refused") {
  const ConvGeometry plain = shared_geometries()[0].geometry;
  const auto refused = [&](Method method, InputGradient input) {
    return refusal([&] {
      ReuseConv2d<float> layer(plain, with_forms(method, WeightGradient::automatic, input));
    });
  };
  CHECK_THAT(refused(Method::subspace, InputGradient::cluster_mean),
             contains("Plan: input_gradient cluster_mean needs method published, got "
                      "subspace"));
  CHECK_THAT(refusal([&] {
               ReuseLinear<float> layer(4, 3,
                                        with_forms(Method::subspace, WeightGradient::automatic,
                                                   InputGradient::cluster_mean));
             }),
             contains("cluster_mean needs method published"));
  CHECK(refused(Method::published, InputGradient::cluster_mean) == "(no error)");
  // A dense layer has one form and takes no notice.
  CHECK(refused(Method::exact, InputGradient::cluster_mean) == "(no error)");
  // A setting that is refused changes nothing.
  ReuseConv2d<float> layer(plain, with_method(Method::published));
  CHECK_THAT(refusal([&] {
               layer.set_plan(with_forms(Method::subspace, WeightGradient::automatic,
                                         InputGradient::cluster_mean));
             }),
             contains("got subspace"));
  CHECK(layer.plan().method == Method::published);
}

TEST_CASE("Automatic gradients go by the density of the output gradient") {
  Data data;
  INFO(data);
  // Through four coordinates and the mean: 5 x (600 + 200) multiply-adds per output, of 600 x 200.
  Plan config = with_method(Method::subspace);
  config.kept_coordinates = 4;
  ReuseLinear<float> layer(200, 9, config);
  struct Choice {
    double share;
    WeightGradient weights;
    InputGradient input;
  };
  for (const Choice& choice :
       {Choice{0.005, WeightGradient::over_non_zeros, InputGradient::over_non_zeros},
        Choice{0.2, WeightGradient::clusters, InputGradient::over_non_zeros},
        Choice{0.5, WeightGradient::clusters, InputGradient::rounded},
        Choice{1, WeightGradient::clusters, InputGradient::rounded}}) {
    INFO("share " << choice.share);
    LinearCase<float> c(600, 200, 9, data);
    thin_out(c.d_y.view(), choice.share, data);
    forward(layer, c);
    backward(layer, c);
    CHECK(layer.report().weight_gradient_form == choice.weights);
    CHECK(layer.report().input_gradient_form == choice.input);
    CHECK(layer.report().gradient_density == density(Matrix(c.d_y.view())));
    CHECK(layer.report().weight_gradient.multiply_adds_dense == 600.0 * 200 * 9);
    if (choice.weights == WeightGradient::over_non_zeros) {
      CHECK(fault<float>(c.weight_gradient(), adr_test::dense_weight_gradient(c.operands())) == "");
      CHECK(layer.report().weight_gradient.multiply_adds_done ==
            std::nearbyint(layer.report().gradient_density * 600 * 9) * 200);
    }
    if (choice.input == InputGradient::over_non_zeros) {
      CHECK(fault<float>(c.input_gradient(), adr_test::dense_input_gradient(c.operands())) == "");
    }
    // Unusable clusters leave the dense product, which a thin gradient still beats.
    c.x(0, 0) = std::numeric_limits<float>::infinity();
    forward(layer, c);
    backward(layer, c);
    CHECK(layer.report().weight_gradient_form ==
          (choice.share < 0.6 ? WeightGradient::over_non_zeros : WeightGradient::dense));
  }
  // Where coordinates cost more than they save, a dense gradient is multiplied densely.
  config.kept_coordinates = 12;
  ReuseLinear<float> small(12, 9, config);
  LinearCase<float> c(100, 12, 9, data);
  forward(small, c);
  backward(small, c);
  CHECK(small.report().weight_gradient_form == WeightGradient::dense);
  // The published method has its own forms and does not look.
  ReuseLinear<float> published(12, 9, with_method(Method::published));
  thin_out(c.d_y.view(), 0.1, data);
  forward(published, c);
  backward(published, c);
  CHECK(published.report().weight_gradient_form == WeightGradient::clusters);
  CHECK(published.report().input_gradient_form == InputGradient::cluster_mean);
  CHECK(published.report().gradient_density == 1);
  ReuseLinear<float> dense(12, 9, with_method(Method::exact));
  forward(dense, c);
  backward(dense, c);
  CHECK(dense.report().weight_gradient_form == WeightGradient::dense);
  CHECK(dense.report().input_gradient_form == InputGradient::dense);
  CHECK(dense.report().gradient_density == 1);
}

TEST_CASE("Gradients of zeros are zeros in every form") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const WeightGradient weights : {WeightGradient::over_non_zeros, WeightGradient::rounded,
                                         WeightGradient::clusters, WeightGradient::dense}) {
      for (const InputGradient input :
           {InputGradient::over_non_zeros, InputGradient::rounded, InputGradient::dense}) {
        INFO(named.name << ", forms " << static_cast<int>(weights) << ", "
                        << static_cast<int>(input));
        ReuseConv2d<float> layer(named.geometry, with_forms(Method::subspace, weights, input));
        ConvCase<float> c(named.geometry, 2, data);
        forward(layer, c);
        for (index_t i = 0; i < 2; ++i) {
          std::fill_n(c.d_y.view().row(i), c.d_y.view().cols, 0.0F);
        }
        backward(layer, c);
        index_t wrong = 0;
        for (const auto* buffer : {&c.d_x, &c.d_w, &c.d_bias}) {
          for (const float element : adr_test::elements_of(*buffer)) wrong += element == 0 ? 0 : 1;
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("Layers compute the gradients that are asked for in every form") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method : k_reusing) {
      for (const auto& [weights, input] :
           {std::pair{WeightGradient::clusters, InputGradient::dense},
            std::pair{WeightGradient::over_non_zeros, InputGradient::over_non_zeros},
            std::pair{WeightGradient::rounded, InputGradient::rounded},
            std::pair{WeightGradient::over_non_zeros, InputGradient::rounded},
            std::pair{WeightGradient::dense, InputGradient::dense},
            std::pair{WeightGradient::automatic, InputGradient::automatic}}) {
        INFO(named.name << ", " << to_string(method) << ", forms " << static_cast<int>(weights)
                        << ", " << static_cast<int>(input));
        const Plan config = with_forms(method, weights, input);
        ConvCase<float> all(named.geometry, 2, data);
        thin_out(all.d_y.view(), 0.2, data);
        ReuseConv2d<float> layer(named.geometry, config);
        forward(layer, all);
        backward(layer, all);
        const std::vector<float> bits = all.results();
        const bool repeats = weights != WeightGradient::rounded &&
                             input != InputGradient::rounded && input != InputGradient::automatic;
        backward(layer, all);
        if (repeats) CHECK(adr_test::same_bits(all.results(), bits));
        ReuseConv2d<float> fresh(named.geometry, config);
        forward(fresh, all);
        backward(fresh, all);
        CHECK(adr_test::same_bits(all.results(), bits));
        for (unsigned wanted = 0; wanted < 8; ++wanted) {
          INFO("wanted " << wanted);
          ConvCase<float> part(named.geometry, 2, data, Placement{3, Start::misaligned});
          ReuseConv2d<float> another(named.geometry, config);
          forward(another, all);
          another.backward(all.x_view(), all.w_view(), all.d_y_view(),
                           {(wanted & 1u) != 0 ? part.d_x_view() : TensorView<float>(),
                            (wanted & 2u) != 0 ? part.d_w.view() : MatrixView<float>(),
                            (wanted & 4u) != 0 ? part.d_bias.vector() : VectorView<float>()});
          const auto same = [](const auto& a, const auto& b) {
            return adr_test::same_bits(adr_test::elements_of(a), adr_test::elements_of(b));
          };
          CHECK(same(part.d_x, all.d_x) == ((wanted & 1u) != 0));
          CHECK(same(part.d_w, all.d_w) == ((wanted & 2u) != 0));
          CHECK(same(part.d_bias, all.d_bias) == ((wanted & 4u) != 0));
          CHECK((another.report().input_gradient_form == InputGradient::automatic) ==
                ((wanted & 1u) == 0));
          CHECK((another.report().weight_gradient_form == WeightGradient::automatic) ==
                ((wanted & 2u) == 0));
          CHECK(part.damage() == "");
        }
      }
    }
  }
}

TEST_CASE("An output gradient that is not finite spoils what it meets and nothing else") {
  Data data;
  INFO(data);
  const float values[] = {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity()};
  for (const NamedGeometry& named : shared_geometries()) {
    const ConvGeometry& g = named.geometry;
    for (const WeightGradient weights : {WeightGradient::over_non_zeros, WeightGradient::rounded,
                                         WeightGradient::clusters, WeightGradient::dense}) {
      for (const InputGradient input :
           {InputGradient::over_non_zeros, InputGradient::rounded, InputGradient::dense}) {
        for (const float value : values) {
          INFO(named.name << ", forms " << static_cast<int>(weights) << ", "
                          << static_cast<int>(input) << ", value " << value);
          ReuseConv2d<float> layer(g, with_forms(Method::subspace, weights, input));
          ConvCase<float> c(g, 2, data);
          forward(layer, c);
          // The last output channel at a pixel in the middle of the second image.
          adr::reference::element(c.output_like(c.d_y), 1, g.out_channels - 1, 1, 1) = value;
          backward(layer, c);
          index_t spoiled = 0;
          index_t spread = 0;
          for (index_t m = 0; m < g.out_channels; ++m) {
            for (index_t k = 0; k < g.columns(); ++k) {
              const bool finite = std::isfinite(c.d_w(m, k));
              spoiled += m == g.out_channels - 1 && !finite ? 1 : 0;
              spread += m < g.out_channels - 1 && !finite ? 1 : 0;
            }
          }
          CHECK(spoiled > 0);
          CHECK(spread == 0);
          index_t spoiled_input = 0;
          for (index_t i = 0; i < c.d_x.view().cols; ++i) {
            CHECK(std::isfinite(c.d_x(0, i)));
            spoiled_input += std::isfinite(c.d_x(1, i)) ? 0 : 1;
          }
          CHECK(spoiled_input >= g.group_in_channels());
          CHECK_FALSE(std::isfinite(c.d_bias(0, g.out_channels - 1)));
        }
      }
    }
  }
}
