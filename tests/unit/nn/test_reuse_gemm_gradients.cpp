// The gradients of the drop-in in every form that a setting can ask for, against plain loops in
// double precision: methods x forms x shapes x densities of the output gradient.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_gemm.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::Context;
using adr::index_t;
using adr::InputGradient;
using adr::MatrixView;
using adr::Method;
using adr::Plan;
using adr::ReuseGemm;
using adr::WeightGradient;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::Expected;
using adr_test::GuardedBuffer;
using adr_test::Matrix;
using adr_test::Start;

/// Root mean squares of an output gradient that rounded forms round to: few values of a dense
/// normal gradient are below, so that the bound on what rounding does stays below the gradients.
constexpr double k_step = 0.25;

struct Shape {
  index_t rows, columns, outputs;
  int threads;
  index_t gap;  ///< elements between the rows of every operand
  Start start;
};

/// Rows of one tile and of several, fewer and more columns than a strip of registers, outputs
/// around a block of channels, one of each, and none.
std::vector<Shape> shapes() {
  return {{1, 1, 1, 1, 0, Start::aligned},        {3, 5, 6, 1, 0, Start::aligned},
          {17, 33, 9, 2, 3, Start::misaligned},   {1, 50, 7, 1, 5, Start::misaligned},
          {7, 1, 5, 2, 0, Start::misaligned},     {31, 12, 1, 1, 2, Start::aligned},
          {200, 40, 64, 3, 1, Start::misaligned}, {97, 131, 35, 2, 1, Start::aligned},
          {700, 19, 33, 1, 4, Start::aligned},    {0, 5, 6, 1, 0, Start::aligned},
          {64, 784, 128, 1, 0, Start::aligned}};
}

struct Forms {
  WeightGradient weights;
  InputGradient input;
};

std::vector<Forms> forms_of(Method method, index_t columns) {
  // Each form is a fit of its own, which takes a second here; automatic runs over non-zeros and
  // through the subspace by the density.
  if (method == Method::subspace && columns > 200) {
    return {{WeightGradient::automatic, InputGradient::automatic}};
  }
  std::vector<Forms> forms = {{WeightGradient::automatic, InputGradient::automatic},
                              {WeightGradient::dense, InputGradient::dense},
                              {WeightGradient::over_non_zeros, InputGradient::over_non_zeros},
                              {WeightGradient::rounded, InputGradient::rounded},
                              {WeightGradient::exact, InputGradient::exact},
                              {WeightGradient::clusters, InputGradient::dense}};
  if (method == Method::exact || method == Method::published) {
    forms.push_back({WeightGradient::clusters, InputGradient::cluster_mean});
  }
  return forms;
}

Plan config_of(Method method, const Forms& forms, index_t columns) {
  Plan config;
  config.method = method;
  config.weight_gradient = forms.weights;
  config.input_gradient = forms.input;
  config.gradient_rounding = k_step;
  config.vector_length = std::min<index_t>(25, columns);
  config.hash_count = 4;
  // Then the subspace is the whole space, and its gradient the dense one but for rounding.
  if (method == Method::subspace) config.kept_coordinates = columns;
  return config;
}

/// A gradient as it has to be, and how far unbiased rounding of the output gradient may move its
/// elements: by less than a unit per value below it, and not at all by the others.
struct Gradient {
  Expected exact;
  Matrix rounding;
};

template <class T>
std::string fault(const GuardedBuffer<T>& actual, const Gradient& expected, bool rounded) {
  Comparison comparison;
  const Matrix& value = expected.exact.value;
  for (index_t i = 0; i < value.rows; ++i) {
    for (index_t j = 0; j < value.cols; ++j) {
      const double slack = rounded ? expected.rounding(i, j) : 0;
      const double magnitude = expected.exact.magnitude(i, j) + slack;
      comparison.expect(static_cast<double>(actual(i, j)), value(i, j),
                        slack + adr_test::sum_tolerance<T>(expected.exact.terms, magnitude));
    }
  }
  return comparison.fault();
}

double distance(const Matrix& a, const Matrix& b) {
  double squares = 0;
  for (std::size_t i = 0; i < a.elements.size(); ++i) {
    squares += (a.elements[i] - b.elements[i]) * (a.elements[i] - b.elements[i]);
  }
  return std::sqrt(squares);
}

/// An output gradient and the gradients that follow from it.
template <class T>
struct OutputGradient {
  double density;
  GuardedBuffer<T> d_c;
  Gradient weights;
  Gradient input;

  OutputGradient(const Shape& s, double density_, Data& data)
      : density(density_), d_c(s.rows, s.outputs, s.outputs + s.gap, s.start) {
    for (index_t n = 0; n < s.rows; ++n) {
      for (index_t m = 0; m < s.outputs; ++m) {
        d_c(n, m) = data.normal_or_zero<T>(density);
      }
    }
  }

  /// Needs the operands of the product.
  void expect(const Matrix& a, const Matrix& b, double gradient_rounding) {
    const adr_test::Operands o{a, b, {}, Matrix(d_c.view())};
    const Matrix units = moved_by_rounding(o.d_y, gradient_rounding);
    const Matrix a_sizes = adr::reference::transpose(adr_test::absolute(a));
    const Matrix b_sizes = adr::reference::transpose(adr_test::absolute(b));
    weights = {adr_test::dense_weight_gradient(o), adr::reference::multiply(a_sizes, units)};
    input = {adr_test::dense_input_gradient(o), adr::reference::multiply(units, b_sizes)};
  }

 private:
  /// The unit where rounding may move a value, else 0. The library's unit has eight bits.
  static Matrix moved_by_rounding(const Matrix& gradient, double step) {
    double squares = 0;
    for (const double value : gradient.elements) squares += value * value;
    const auto count = static_cast<double>(std::max<std::size_t>(gradient.elements.size(), 1));
    const double unit = step * std::sqrt(squares / count) * (1 + 1.0 / 128);
    Matrix moved(gradient.rows, gradient.cols);
    for (std::size_t i = 0; i < moved.elements.size(); ++i) {
      const double value = gradient.elements[i];
      moved.elements[i] = value != 0 && std::abs(value) < unit ? unit : 0;
    }
    return moved;
  }
};

/// The operands of a product, and room for its gradients.
template <class T>
struct Product {
  Shape shape;
  GuardedBuffer<T> a, b, c, d_a, d_b;

  Product(const Shape& s, Data& data)
      : shape(s),
        a(s.rows, s.columns, s.columns + s.gap, s.start),
        b(s.columns, s.outputs, s.outputs + s.gap, s.start),
        c(s.rows, s.outputs, s.outputs + s.gap, s.start),
        d_a(s.rows, s.columns, s.columns + s.gap, s.start),
        d_b(s.columns, s.outputs, s.outputs + s.gap, s.start) {
    data.fill_normal(a.view());
    data.fill_normal(b.view());
  }

  void forward(ReuseGemm<T>& reuse) { adr::reuse_gemm<T>(a.view(), b.view(), c.view(), reuse); }
  void weight_gradient(const OutputGradient<T>& of, ReuseGemm<T>& reuse) {
    spoil(d_b);
    adr::reuse_gemm_weight_gradient<T>(a.view(), of.d_c.view(), d_b.view(), reuse);
  }
  void input_gradient(const OutputGradient<T>& of, ReuseGemm<T>& reuse) {
    spoil(d_a);
    adr::reuse_gemm_input_gradient<T>(of.d_c.view(), b.view(), d_a.view(), reuse);
  }

  [[nodiscard]] std::string damage() const {
    std::string text;
    for (const auto* buffer : {&a, &b, &c, &d_a, &d_b}) text += buffer->damage();
    return text;
  }

 private:
  /// What is not written shows.
  static void spoil(GuardedBuffer<T>& buffer) {
    for (index_t i = 0; i < buffer.view().rows; ++i) {
      std::fill_n(buffer.view().row(i), buffer.view().cols, std::numeric_limits<T>::quiet_NaN());
    }
  }
};

/// The weight gradient from the clusters that a forward pass left behind.
template <class T>
Expected from_clusters(const Product<T>& p, const OutputGradient<T>& of, ReuseGemm<T>& reuse) {
  adr_test::Operands o{Matrix(p.a.view()), Matrix(p.b.view()), {}, Matrix(of.d_c.view())};
  return adr_test::clustered_weight_gradient(o, adr_test::GivenIds(reuse.clustering()));
}

template <class T>
void check_weight_gradient(Product<T>& p, const OutputGradient<T>& of, ReuseGemm<T>& reuse) {
  p.weight_gradient(of, reuse);
  const WeightGradient form = reuse.report().weight_gradient_form;
  const Plan& config = reuse.plan();
  const WeightGradient asked = config.weight_gradient;
  INFO("weight gradient " << static_cast<int>(asked) << " as " << static_cast<int>(form));
  if (asked == WeightGradient::dense || asked == WeightGradient::over_non_zeros ||
      asked == WeightGradient::rounded) {
    CHECK(form == asked);
  }
  if (asked == WeightGradient::exact) {
    CHECK((form == WeightGradient::dense || form == WeightGradient::over_non_zeros));
  }
  if (form != WeightGradient::clusters) {
    CHECK(fault(p.d_b, of.weights, form == WeightGradient::rounded) == "");
  } else if (config.method == Method::subspace) {
    // Of the whole space, in floats.
    const Matrix& exact = of.weights.exact.value;
    const Matrix nothing(exact.rows, exact.cols);
    CHECK(distance(Matrix(p.d_b.view()), exact) <= 1e-4 * distance(exact, nothing));
  } else {
    CHECK(fault(p.d_b, Gradient{from_clusters(p, of, reuse), {}}, false) == "");
  }
}

template <class T>
void check_input_gradient(Product<T>& p, const OutputGradient<T>& of, ReuseGemm<T>& reuse) {
  p.input_gradient(of, reuse);
  const InputGradient form = reuse.report().input_gradient_form;
  const InputGradient asked = reuse.plan().input_gradient;
  INFO("input gradient " << static_cast<int>(asked) << " as " << static_cast<int>(form));
  if (asked == InputGradient::dense || asked == InputGradient::over_non_zeros ||
      asked == InputGradient::rounded) {
    CHECK(form == asked);
  }
  if (asked == InputGradient::exact) {
    CHECK((form == InputGradient::dense || form == InputGradient::over_non_zeros));
  }
  if (form == InputGradient::cluster_mean) {
    const adr_test::Operands o{Matrix(p.a.view()), Matrix(p.b.view()), {}, Matrix(of.d_c.view())};
    const adr_test::GivenIds given(reuse.clustering());
    CHECK(fault(p.d_a, Gradient{adr_test::cluster_mean_input_gradient(o, given), {}}, false) == "");
  } else {
    CHECK(fault(p.d_a, of.input, form == InputGradient::rounded) == "");
  }
}

}  // namespace

TEMPLATE_TEST_CASE(
    "the gradients of reuse_gemm are right for every method, form, shape and density", "",
    ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes()) {
    INFO(s.rows << " x " << s.columns << " x " << s.outputs << ", " << s.threads << " threads");
    Product<T> p(s, data);
    std::vector<OutputGradient<T>> gradients;
    for (const double density : {1.0, 0.5, 0.1, 0.05, 0.0}) {
      gradients.emplace_back(s, density, data);
      gradients.back().expect(Matrix(p.a.view()), Matrix(p.b.view()), k_step);
    }
    for (const Method method : {Method::exact, Method::published, Method::subspace}) {
      for (const Forms& forms : forms_of(method, s.columns)) {
        Context context(s.threads);
        ReuseGemm<T> reuse(config_of(method, forms, s.columns), context);
        p.forward(reuse);
        for (const OutputGradient<T>& of : gradients) {
          INFO(to_string(method) << ", density " << of.density);
          check_weight_gradient(p, of, reuse);
          check_input_gradient(p, of, reuse);
          CHECK(p.damage() + of.d_c.damage() == "");
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("rounded gradients of reuse_gemm are right in the mean", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  constexpr int k_passes = 4000;
  // Values are rounded where it costs most accuracy. By Hoeffding's inequality the mean of so many
  // independent passes, none of which is further off than `rounding`, is off by more than this part
  // of it once in 10^12 elements.
  constexpr double k_large_step = 2.0;
  const double part = std::sqrt(2 * std::log(2e12) / k_passes);
  Data data;
  INFO(data);
  for (const Method method : {Method::exact, Method::published, Method::subspace}) {
    const Shape s{5, 7, 6, 1, 2, Start::misaligned};
    INFO(to_string(method));
    Product<T> p(s, data);
    OutputGradient<T> of(s, 0.6, data);
    of.expect(Matrix(p.a.view()), Matrix(p.b.view()), k_large_step);
    Plan config = config_of(method, {WeightGradient::rounded, InputGradient::rounded}, s.columns);
    config.gradient_rounding = k_large_step;
    ReuseGemm<T> reuse(config);
    p.forward(reuse);
    Matrix d_b(s.columns, s.outputs);
    Matrix d_a(s.rows, s.columns);
    bool is_rounded = false;
    for (int pass = 0; pass < k_passes; ++pass) {
      p.weight_gradient(of, reuse);
      p.input_gradient(of, reuse);
      is_rounded = is_rounded || fault(p.d_b, of.weights, false) != "";
      for (index_t k = 0; k < s.columns; ++k) {
        for (index_t m = 0; m < s.outputs; ++m)
          d_b(k, m) += static_cast<double>(p.d_b(k, m)) / k_passes;
        for (index_t n = 0; n < s.rows; ++n)
          d_a(n, k) += static_cast<double>(p.d_a(n, k)) / k_passes;
      }
    }
    CHECK(is_rounded);
    const auto mean_fault = [&](const Matrix& mean, const Gradient& expected) {
      Comparison comparison;
      for (std::size_t i = 0; i < mean.elements.size(); ++i) {
        comparison.expect(mean.elements[i], expected.exact.value.elements[i],
                          part * expected.rounding.elements[i] + 1e-4);
      }
      return comparison.fault();
    };
    CHECK(mean_fault(d_b, of.weights) == "");
    CHECK(mean_fault(d_a, of.input) == "");
    CHECK(p.damage() + of.d_c.damage() == "");
  }
}
