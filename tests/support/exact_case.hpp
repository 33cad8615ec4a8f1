// The passes of an exact convolution beside what they have to be: results in double precision and a
// bound on the error of every element, by the form that computes the pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/exact/convolution_form.hpp"
#include "adr/reference/convolution.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/flipped_convolution.hpp"
#include "property/layer_cases.hpp"
#include "support/tile_bounds.hpp"
#include "support/tolerance.hpp"

namespace adr_test {

/// Tiles also where they do not pay, which small cases never do.
inline adr::exact::Winograd tiles(bool allowed) {
  return allowed ? adr::exact::Winograd::wherever_possible : adr::exact::Winograd::never;
}

/// A dense tensor of doubles.
class DoubleImages {
 public:
  /// Zeros in the shape of another tensor.
  template <class T>
  explicit DoubleImages(const TensorView<T>& like)
      : elements_(static_cast<std::size_t>(like.batch * like.image_size())),
        view_(elements_.data(), like.batch, like.channels, like.height, like.width, like.layout) {}
  DoubleImages(DoubleImages&&) = default;
  DoubleImages(const DoubleImages&) = delete;
  DoubleImages& operator=(const DoubleImages&) = delete;
  DoubleImages& operator=(DoubleImages&&) = delete;

  [[nodiscard]] const TensorView<double>& view() const { return view_; }
  [[nodiscard]] TensorView<const double> constant() const { return view_; }
  [[nodiscard]] double element(index_t i) const { return elements_[static_cast<std::size_t>(i)]; }

  template <class T>
  static DoubleImages absolute(const TensorView<T>& tensor) {
    DoubleImages result(tensor);
    for (index_t n = 0; n < tensor.batch; ++n) {
      for (index_t i = 0; i < tensor.image_size(); ++i) {
        result.view_.image(n)[i] = std::abs(static_cast<double>(tensor.image(n)[i]));
      }
    }
    return result;
  }

 private:
  std::vector<double> elements_;
  TensorView<double> view_;
};

/// Errors of one pass.
class PassErrors {
 public:
  void add(double actual, double expected, double tolerance) {
    comparison_.expect(actual, expected, tolerance);
    const double error = std::abs(actual - expected);
    square_ += error * error;
    reference_square_ += expected * expected;
    largest_ = std::max(largest_, error);
    largest_share_ = std::max(largest_share_, tolerance > 0 ? error / tolerance : 0.0);
    ++count_;
  }
  /// Empty when every element keeps its bound and the bounds can tell results from zero.
  [[nodiscard]] std::string fault() const { return comparison_.fault(); }
  /// Root mean square of the errors relative to that of the results.
  [[nodiscard]] double relative() const {
    return reference_square_ > 0 ? std::sqrt(square_ / reference_square_) : 0.0;
  }
  /// The largest error relative to the root mean square of the results.
  [[nodiscard]] double largest_relative() const {
    return reference_square_ > 0
               ? largest_ / std::sqrt(reference_square_ / static_cast<double>(count_))
               : 0.0;
  }
  [[nodiscard]] double largest_share_of_bound() const { return largest_share_; }

 private:
  Comparison comparison_;
  double square_ = 0;
  double reference_square_ = 0;
  double largest_ = 0;
  double largest_share_ = 0;
  index_t count_ = 0;
};

/// What the root mean square of errors may be on normal random data.
inline double relative_limit(adr::exact::Form form) {
  using adr::exact::Form;
  return form == Form::tile_4x3 || form == Form::tile_4x5 ? 2e-5 : 2e-6;
}

namespace detail {

template <class T>
PassErrors compare(const TensorView<T>& actual, const DoubleImages& expected,
                   const DoubleImages& magnitude, double gamma, bool relu) {
  PassErrors errors;
  for (index_t n = 0; n < actual.batch; ++n) {
    for (index_t i = 0; i < actual.image_size(); ++i) {
      const double value = expected.view().image(n)[i];
      errors.add(static_cast<double>(actual.image(n)[i]), relu ? std::max(value, 0.0) : value,
                 gamma * magnitude.view().image(n)[i]);
    }
  }
  return errors;
}

}  // namespace detail

/// The errors of a forward pass of floats that was computed by `form`.
inline PassErrors forward_errors(ConvCase<float>& c, adr::exact::Form form, bool with_bias,
                                 bool relu) {
  const ConvGeometry& g = c.geometry;
  const Matrix w(c.w.view());
  std::vector<double> bias;
  if (with_bias) bias = Matrix(c.bias.view()).elements;
  DoubleImages y(c.y_view());
  adr::reference::convolution<float>(g, c.x_view(), w, bias, y.view());
  for (double& element : bias) element = std::abs(element);

  const DoubleImages x_size = DoubleImages::absolute(c.x_view());
  const Matrix w_size = detail::absolute_elements(w);
  DoubleImages y_size(c.y_view());
  index_t roundings = g.columns() + 2;
  if (form == adr::exact::Form::direct) {
    adr::reference::convolution<double>(g, x_size.constant(), w_size, bias, y_size.view());
  } else {
    adr::exact::with_algorithm<float>(form, [&](auto algorithm) {
      using Algorithm = decltype(algorithm);
      TileMagnitudes<Algorithm>(g).forward(
          x_size.constant(),
          [&](index_t m, index_t channel, index_t ky, index_t kx) {
            return w_size(
                m, tap_place(g.layout, g.group_in_channels(), Algorithm::taps, channel, ky, kx));
          },
          y_size.view());
    });
    if (with_bias) {
      for (index_t n = 0; n < c.batch; ++n) {
        for (index_t m = 0; m < g.out_channels; ++m) {
          for (index_t oy = 0; oy < g.out_height(); ++oy) {
            for (index_t ox = 0; ox < g.out_width(); ++ox) {
              adr::reference::element(y_size.view(), n, m, oy, ox) +=
                  bias[static_cast<std::size_t>(m)];
            }
          }
        }
      }
    }
    roundings = g.group_in_channels() + k_transform_roundings;
  }
  return detail::compare(c.y_view(), y, y_size, gamma_of(roundings), relu);
}

inline PassErrors input_gradient_errors(ConvCase<float>& c, adr::exact::Form form) {
  const ConvGeometry& g = c.geometry;
  const Matrix w(c.w.view());
  DoubleImages d_x(c.d_x_view());
  adr::reference::convolution_input_gradient<float>(g, c.d_y_view(), w, d_x.view());

  const DoubleImages d_y_size = DoubleImages::absolute(c.d_y_view());
  const Matrix w_size = detail::absolute_elements(w);
  DoubleImages d_x_size(c.d_x_view());
  index_t roundings = g.kernel_height * g.kernel_width * g.group_out_channels() + 2;
  if (form == adr::exact::Form::direct) {
    adr::reference::convolution_input_gradient<double>(g, d_y_size.constant(), w_size,
                                                       d_x_size.view());
  } else {
    adr::exact::with_algorithm<float>(form, [&](auto algorithm) {
      using Algorithm = decltype(algorithm);
      constexpr index_t k_last = Algorithm::taps - 1;
      const index_t channels = g.group_in_channels();
      TileMagnitudes<Algorithm>(adr::flipped_convolution(g))
          .forward(
              d_y_size.constant(),
              [&](index_t c_in, index_t filter, index_t ky, index_t kx) {
                return w_size(c_in / channels * g.group_out_channels() + filter,
                              tap_place(g.layout, channels, Algorithm::taps, c_in % channels,
                                        k_last - ky, k_last - kx));
              },
              d_x_size.view());
    });
    roundings = g.group_out_channels() + k_transform_roundings;
  }
  return detail::compare(c.d_x_view(), d_x, d_x_size, gamma_of(roundings), false);
}

inline PassErrors weight_gradient_errors(ConvCase<float>& c, adr::exact::Form form) {
  const ConvGeometry& g = c.geometry;
  const Matrix d_w =
      adr::reference::convolution_weight_gradient<float>(g, c.x_view(), c.d_y_view());
  const DoubleImages x_size = DoubleImages::absolute(c.x_view());
  const DoubleImages d_y_size = DoubleImages::absolute(c.d_y_view());
  Matrix size;
  index_t roundings = g.rows(c.batch) + 2;
  if (form == adr::exact::Form::direct) {
    size = adr::reference::convolution_weight_gradient<double>(g, x_size.constant(),
                                                               d_y_size.constant());
  } else {
    adr::exact::with_algorithm<float>(form, [&](auto algorithm) {
      const TileMagnitudes<decltype(algorithm)> magnitudes(g);
      size = magnitudes.weight_gradient(x_size.constant(), d_y_size.constant());
      // A block has at most 128 tiles, and all but the last at least 16 or half as many.
      const index_t tiles = magnitudes.tiles(c.batch);
      roundings = std::min<index_t>(tiles, 128 + tiles / 8) + k_transform_roundings;
    });
  }
  PassErrors errors;
  const double gamma = gamma_of(roundings);
  for (index_t m = 0; m < d_w.rows; ++m) {
    for (index_t k = 0; k < d_w.cols; ++k) {
      errors.add(static_cast<double>(c.d_w(m, k)), d_w(m, k), gamma * size(m, k));
    }
  }
  return errors;
}

}  // namespace adr_test
