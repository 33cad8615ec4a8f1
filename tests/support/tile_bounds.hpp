// How far a convolution on tiles may be from the exact one, before any measurement.
//
// A tile computes A^T (sum over channels of (G w G^T) * (B^T x B)) A. With matrices, weights and
// inputs replaced by their absolute values the same formula gives the sum of the absolute values of
// all that is ever added up for a result. Every one of those terms is rounded at most once per
// channel and once per step of the three transforms; so this sum times gamma of that count bounds
// the error, whatever the order of the sums. The transforms are taken from the library, in double
// precision and one unit vector at a time; that they are the right ones is tested by itself.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/exact/convolution_form.hpp"
#include "adr/exact/tile_algorithms.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/reference/matrix.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/simd/batch.hpp"
#include "adr/unfold/conv_geometry.hpp"

namespace adr_test {

using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::TensorView;
using adr::reference::Matrix;

/// The matrix of a linear function of `from` numbers to `to` numbers.
template <class Apply>
Matrix matrix_of(index_t from, index_t to, const Apply& apply) {
  using One = adr::simd::ScalarBatch<double>;
  Matrix matrix(to, from);
  for (index_t j = 0; j < from; ++j) {
    std::vector<One> unit(static_cast<std::size_t>(from), One{0});
    std::vector<One> image(static_cast<std::size_t>(to), One{0});
    unit[static_cast<std::size_t>(j)].value = 1;
    apply(unit.data(), image.data());
    for (index_t i = 0; i < to; ++i) matrix(i, j) = image[static_cast<std::size_t>(i)].value;
  }
  return matrix;
}

/// The matrices of an algorithm in one dimension.
template <class A>
struct TileMatrices {
  Matrix input = matrix_of(A::inputs, A::products, [](auto* x, auto* v) { A::input(x, v); });
  Matrix weights = matrix_of(A::taps, A::products, [](auto* w, auto* u) { A::weights(w, u); });
  Matrix output = matrix_of(A::products, A::outputs, [](auto* z, auto* y) { A::output(z, y); });
  Matrix output_gradient =
      matrix_of(A::outputs, A::products, [](auto* y, auto* z) { A::output_gradient(y, z); });
  Matrix weight_gradient =
      matrix_of(A::products, A::taps, [](auto* u, auto* w) { A::weight_gradient(u, w); });
};

namespace detail {

inline Matrix absolute_elements(Matrix matrix) {
  for (double& element : matrix.elements) element = std::abs(element);
  return matrix;
}

/// matrix x matrix^T, for an x of cols x cols elements.
inline void apply_twice(const Matrix& matrix, const double* x, double* result) {
  const index_t rows = matrix.rows;
  const index_t cols = matrix.cols;
  std::array<double, 64> half{};
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      double sum = 0;
      for (index_t k = 0; k < cols; ++k) sum += matrix(i, k) * x[k * cols + j];
      half[static_cast<std::size_t>(i * cols + j)] = sum;
    }
  }
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < rows; ++j) {
      double sum = 0;
      for (index_t k = 0; k < cols; ++k) {
        sum += matrix(j, k) * half[static_cast<std::size_t>(i * cols + k)];
      }
      result[i * rows + j] = sum;
    }
  }
}

}  // namespace detail

/// Where weight (channel, ky, kx) lies in a filter.
inline index_t tap_place(Layout layout, index_t channels, index_t taps, index_t channel, index_t ky,
                         index_t kx) {
  return layout == Layout::nchw ? (channel * taps + ky) * taps + kx
                                : (ky * taps + kx) * channels + channel;
}

/// The sums of absolute values of passes on tiles of algorithm A. Operands are absolute values.
template <class A>
class TileMagnitudes {
 public:
  explicit TileMagnitudes(const ConvGeometry& geometry)
      : geometry_(geometry), grid_(adr::exact::tile_grid<A>(geometry)) {
    for (Matrix* matrix : {&matrices_.input, &matrices_.weights, &matrices_.output,
                           &matrices_.output_gradient, &matrices_.weight_gradient}) {
      *matrix = detail::absolute_elements(*matrix);
    }
  }

  /// weight(filter, channel of its group, ky, kx)
  template <class Weight>
  void forward(const TensorView<const double>& x, const Weight& weight,
               const TensorView<double>& y) const {
    const index_t channels = geometry_.group_in_channels();
    const index_t filters = geometry_.group_out_channels();
    std::vector<double> u(size(geometry_.out_channels * channels * k_plane));
    std::vector<double> v(size(channels * k_plane));
    for (index_t m = 0; m < geometry_.out_channels; ++m) {
      for (index_t c = 0; c < channels; ++c) {
        std::array<double, static_cast<std::size_t>(A::taps * A::taps)> taps;
        for (index_t k = 0; k < A::taps * A::taps; ++k) {
          taps[size(k)] = weight(m, c, k / A::taps, k % A::taps);
        }
        detail::apply_twice(matrices_.weights, taps.data(), &u[size((m * channels + c) * k_plane)]);
      }
    }
    for_each_tile(x.batch, [&](const adr::exact::TilePlace& place) {
      for (index_t group = 0; group < geometry_.groups; ++group) {
        for (index_t c = 0; c < channels; ++c) {
          read_input(x, place, group * channels + c, &v[size(c * k_plane)]);
        }
        for (index_t m = group * filters; m < (group + 1) * filters; ++m) {
          std::array<double, static_cast<std::size_t>(k_plane)> z{};
          for (index_t c = 0; c < channels; ++c) {
            const double* left = &u[size((m * channels + c) * k_plane)];
            const double* right = &v[size(c * k_plane)];
            for (index_t f = 0; f < k_plane; ++f) z[size(f)] += left[f] * right[f];
          }
          std::array<double, static_cast<std::size_t>(A::outputs * A::outputs)> pixels;
          detail::apply_twice(matrices_.output, z.data(), pixels.data());
          for (index_t i = 0; i < A::outputs && place.y + i < y.height; ++i) {
            for (index_t j = 0; j < A::outputs && place.x + j < y.width; ++j) {
              adr::reference::element(y, place.image, m, place.y + i, place.x + j) =
                  pixels[size(i * A::outputs + j)];
            }
          }
        }
      }
    });
  }

  [[nodiscard]] Matrix weight_gradient(const TensorView<const double>& x,
                                       const TensorView<const double>& d_y) const {
    const index_t channels = geometry_.group_in_channels();
    const index_t filters = geometry_.group_out_channels();
    std::vector<double> sums(size(geometry_.out_channels * channels * k_plane));
    std::vector<double> v(size(channels * k_plane));
    for_each_tile(x.batch, [&](const adr::exact::TilePlace& place) {
      for (index_t group = 0; group < geometry_.groups; ++group) {
        for (index_t c = 0; c < channels; ++c) {
          read_input(x, place, group * channels + c, &v[size(c * k_plane)]);
        }
        for (index_t m = group * filters; m < (group + 1) * filters; ++m) {
          std::array<double, static_cast<std::size_t>(k_plane)> z{};
          read<A::outputs>(d_y, place.image, m, place.y, place.x, matrices_.output_gradient,
                           z.data());
          for (index_t c = 0; c < channels; ++c) {
            double* sum = &sums[size((m * channels + c) * k_plane)];
            const double* right = &v[size(c * k_plane)];
            for (index_t f = 0; f < k_plane; ++f) sum[f] += z[size(f)] * right[f];
          }
        }
      }
    });
    Matrix d_w(geometry_.out_channels, geometry_.columns());
    for (index_t m = 0; m < geometry_.out_channels; ++m) {
      for (index_t c = 0; c < channels; ++c) {
        std::array<double, static_cast<std::size_t>(A::taps * A::taps)> taps;
        detail::apply_twice(matrices_.weight_gradient, &sums[size((m * channels + c) * k_plane)],
                            taps.data());
        for (index_t k = 0; k < A::taps * A::taps; ++k) {
          d_w(m, tap_place(geometry_.layout, channels, A::taps, c, k / A::taps, k % A::taps)) =
              taps[size(k)];
        }
      }
    }
    return d_w;
  }

  [[nodiscard]] index_t tiles(index_t batch) const { return batch * grid_.per_image(); }

 private:
  static constexpr index_t k_plane = A::products * A::products;
  static std::size_t size(index_t count) { return static_cast<std::size_t>(count); }

  template <class Use>
  void for_each_tile(index_t batch, const Use& use) const {
    for (index_t tile = 0; tile < tiles(batch); ++tile) use(grid_.place(tile));
  }
  template <index_t Size>
  static void read(const TensorView<const double>& images, index_t image, index_t channel,
                   index_t first_y, index_t first_x, const Matrix& transform, double* result) {
    std::array<double, static_cast<std::size_t>(Size * Size)> pixels{};
    for (index_t i = 0; i < Size; ++i) {
      for (index_t j = 0; j < Size; ++j) {
        const index_t y = first_y + i;
        const index_t x = first_x + j;
        if (y < 0 || y >= images.height || x < 0 || x >= images.width) continue;
        pixels[size(i * Size + j)] = adr::reference::element(images, image, channel, y, x);
      }
    }
    detail::apply_twice(transform, pixels.data(), result);
  }
  void read_input(const TensorView<const double>& x, const adr::exact::TilePlace& place,
                  index_t channel, double* v) const {
    read<A::inputs>(x, place.image, channel, place.y - grid_.before_y, place.x - grid_.before_x,
                    matrices_.input, v);
  }

  ConvGeometry geometry_;
  adr::exact::TileGrid grid_;
  TileMatrices<A> matrices_;
};

/// gamma of a chain of `roundings` roundings of floats.
inline double gamma_of(index_t roundings) {
  const double rounded = static_cast<double>(roundings) * 0.5 *
                         static_cast<double>(std::numeric_limits<float>::epsilon());
  return rounded / (1 - rounded);
}

/// Roundings of a term on its way through the three transforms, both dimensions, bias included: at
/// most 4 additions of the input, 6 of the weights with their rounded constants and 7 of the
/// output in each dimension, doubled where products round before they are added; and the product.
inline constexpr index_t k_transform_roundings = 2 * 2 * (4 + 6 + 7) + 2;

}  // namespace adr_test
