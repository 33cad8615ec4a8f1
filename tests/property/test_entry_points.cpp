// Every entry point in every combination: products in each orientation, linear layers and
// convolutions x settings x rounding x densities x shapes, drawn at random, against plain loops in
// double precision or, where clusters decide, against the reference with the same ids.
//
// ADR_ENTRY_CASES says how many cases are drawn; a failure names the case, and
// ADR_ENTRY_FIRST=<case> ADR_ENTRY_CASES=1 repeats it alone.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "adr/core/random.hpp"
#include "adr/extern_layers.hpp"
#include "adr/gradients.hpp"
#include "adr/options.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/reuse_gemm_blas.hpp"
#include "adr/reuse_linear.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::Options;
using adr::TensorView;
using adr::VectorView;
using adr_test::Comparison;
using adr_test::Expected;
using adr_test::GivenIds;
using adr_test::Matrix;
using adr_test::Operands;

constexpr double k_rounding_step = 2;

/// Draws a case; the same number draws the same one.
class Draw {
 public:
  explicit Draw(std::uint64_t number)
      : random_(adr_test::test_seed() * 0x9e3779b97f4a7c15u + number) {}

  index_t between(index_t first, index_t last) {
    return first +
           static_cast<index_t>(random_.below(static_cast<std::uint64_t>(last - first + 1)));
  }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return *(values.begin() + between(0, static_cast<index_t>(values.size()) - 1));
  }
  bool flip() { return between(0, 1) == 1; }
  template <class T>
  std::vector<T> normals(index_t count, double density = 1) {
    std::vector<T> values(static_cast<std::size_t>(count), T(0));
    for (T& value : values) {
      if (random_.uniform() < density) value = static_cast<T>(random_.normal());
    }
    return values;
  }

 private:
  adr::Random random_;
};

enum class Kind {
  exact,
  exact_directly,
  subspace,
  published,
  published_exact_gradients,
  clustered
};

struct Asked {
  Kind kind;
  Options options;
  std::string name;
  bool rounded;
};

Asked draw_options(Draw& draw, index_t columns) {
  Asked asked{draw.one_of({Kind::exact, Kind::exact_directly, Kind::subspace, Kind::published,
                           Kind::published_exact_gradients, Kind::clustered}),
              {},
              {},
              draw.between(0, 3) == 0};
  adr::Published published;
  published.vector_length = draw.between(1, columns + 3);
  published.hash_count = static_cast<int>(draw.between(1, 12));
  published.shared_hyperplanes = draw.flip();
  published.exact_gradients = asked.kind == Kind::published_exact_gradients;
  switch (asked.kind) {
    case Kind::exact:
      asked.name = "automatic";
      if (asked.rounded) asked.options.setting = adr::Exact{};
      break;
    case Kind::exact_directly:
      asked.name = "exact, directly";
      asked.options.setting = adr::Exact{false};
      break;
    case Kind::subspace:  // of all coordinates
      asked.name = "subspace";
      asked.options.setting = adr::Subspace{columns};
      break;
    case Kind::clustered:
      asked.name = "clustered";
      asked.options.setting = adr::Clustered{0.01, draw.flip() ? 0 : draw.between(1, columns + 3),
                                             static_cast<int>(draw.between(1, 64))};
      break;
    default:
      asked.name = "published";
      asked.options.setting = published;
      break;
  }
  if (asked.rounded) {
    asked.name += ", rounded";
    asked.options.gradient_rounding = k_rounding_step;
  }
  asked.options.seed = static_cast<std::uint64_t>(draw.between(1, 1000));
  return asked;
}

/// Outputs for which a search for clusters pays, where there is one.
index_t draw_outputs(Draw& draw, const Asked& asked, index_t most) {
  return asked.kind == Kind::clustered && draw.between(0, 3) > 0 ? draw.between(250, 350)
                                                                 : draw.between(1, most);
}

/// Makes most rows of x much like one of the first few. Row i, column k is x[i * row_step + k *
/// col_step].
template <class T>
void repeat_rows(Draw& draw, const Asked& asked, index_t rows, index_t columns, index_t row_step,
                 index_t col_step, std::vector<T>& x) {
  if (asked.kind != Kind::clustered) return;
  const index_t distinct = draw.between(1, 20);
  for (index_t i = distinct; i < rows; ++i) {
    if (draw.between(0, 4) == 0) continue;
    const index_t like = draw.between(0, distinct - 1);
    const auto noise = draw.normals<T>(columns);
    for (index_t k = 0; k < columns; ++k) {
      x[static_cast<std::size_t>(i * row_step + k * col_step)] =
          x[static_cast<std::size_t>(like * row_step + k * col_step)] +
          T(2e-3) * noise[static_cast<std::size_t>(k)];
    }
  }
}

/// What a case has computed, group by group.
struct Results {
  Matrix y, d_w, d_x;
};

double root_mean_square(const Matrix& m) {
  double squares = 0;
  for (const double element : m.elements) squares += element * element;
  return m.elements.empty() ? 0 : std::sqrt(squares / static_cast<double>(m.elements.size()));
}

/// The sum of the absolute values in row i of the left and column j of the right factor, of ones.
Matrix row_sums(const Matrix& m, index_t cols) {
  return adr::reference::multiply(adr_test::absolute(m), [&] {
    Matrix ones(m.cols, cols);
    std::fill(ones.elements.begin(), ones.elements.end(), 1.0);
    return ones;
  }());
}

/// The largest magnitude of a result. Tiles add up what they take off again: a result may hold the
/// rounding of its neighbours, where all terms of its own are zero.
double largest(const std::vector<double>& magnitudes) {
  return magnitudes.empty() ? 0 : *std::max_element(magnitudes.begin(), magnitudes.end());
}

/// Compares element by element; `slack` is what rounding of gradients may move one by.
template <class T>
std::string fault(const Matrix& actual, const Expected& expected, double factor,
                  const Matrix* slack) {
  Comparison comparison;
  const double of_tile = factor > 1 ? largest(expected.magnitude.elements) : 0;
  for (std::size_t i = 0; i < actual.elements.size(); ++i) {
    const double more = slack != nullptr ? slack->elements[i] : 0;
    comparison.expect(
        actual.elements[i], expected.value.elements[i],
        more + factor * adr_test::sum_tolerance<T>(
                            expected.terms, std::max(of_tile, expected.magnitude.elements[i])));
  }
  const std::string text = comparison.fault();
  // Slack may be larger than a gradient; and of no elements, or zeros, nothing can be told.
  return text.rfind("vacuous", 0) == 0 ? std::string() : text;
}

/// Of a subspace of all coordinates: to the precision of its axes.
std::string share_fault(const Matrix& actual, const Expected& expected) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < actual.elements.size(); ++i) {
    const double error = actual.elements[i] - expected.value.elements[i];
    difference += error * error;
    size += expected.magnitude.elements[i] * expected.magnitude.elements[i];
  }
  if (std::sqrt(difference) <= 2e-3 * std::sqrt(size)) return {};
  std::ostringstream text;
  text << "differs by " << std::sqrt(difference) << " of " << std::sqrt(size);
  return text.str();
}

/// One group of results against what they have to be. winograd: where tiles may have computed them.
template <class T>
std::string check(const Asked& asked, const Operands& o, const Results& got,
                  const Matrix& d_x_unfolded, const adr::Clustering<T>& clustering, bool winograd,
                  bool folds) {
  const double factor = winograd && asked.kind != Kind::exact_directly ? 30 : 1;
  const bool clustered =
      asked.kind == Kind::published || asked.kind == Kind::published_exact_gradients;
  const bool from_clusters = asked.kind == Kind::published && !asked.rounded;
  const GivenIds given(clustering);
  Operands of_clusters = o;
  if (asked.kind == Kind::clustered) {
    of_clusters.x = adr_test::with_representatives(o.x, clustering);
  }
  const Expected y =
      clustered ? adr_test::clustered_output(o, given) : adr_test::dense_output(of_clusters);
  const Expected d_w = from_clusters
                           ? adr_test::clustered_weight_gradient(o, given)
                           : adr_test::dense_weight_gradient(asked.rounded ? o : of_clusters);
  Matrix unit_w;
  Matrix unit_x;
  if (asked.rounded) {
    // A value and the error that it takes over move by less than a unit each.
    const double unit = 2 * k_rounding_step * root_mean_square(o.d_y);
    unit_w = row_sums(adr::reference::transpose(o.x), o.w.cols);
    unit_x = adr::reference::transpose(row_sums(o.w, o.x.rows));
    for (double& element : unit_w.elements) element *= unit;
    for (double& element : unit_x.elements) element *= unit;
  }
  const auto compare = [&](const char* name, const Matrix& actual, const Expected& expected,
                           const Matrix* slack) {
    const std::string text = asked.kind == Kind::subspace && slack == nullptr
                                 ? share_fault(actual, expected)
                                 : fault<T>(actual, expected, factor, slack);
    return text.empty() ? text : std::string(name) + " " + text;
  };
  std::string text = compare("output", got.y, y, nullptr);
  if (text.empty())
    text = compare("weight gradient", got.d_w, d_w, asked.rounded ? &unit_w : nullptr);
  if (!text.empty() || folds) return text;
  const Expected d_x = from_clusters ? adr_test::cluster_mean_input_gradient(o, given)
                                     : adr_test::dense_input_gradient(o);
  return compare("input gradient", d_x_unfolded, d_x, asked.rounded ? &unit_x : nullptr);
}

template <class T>
Matrix matrix_of(const std::vector<T>& values, index_t rows, index_t cols, index_t ld,
                 bool transposed) {
  Matrix m(rows, cols);
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      m(i, j) = static_cast<double>(
          values[static_cast<std::size_t>(transposed ? j * ld + i : i * ld + j)]);
    }
  }
  return m;
}

/// A product in one orientation.
template <class T>
std::string product_case(Draw& draw, std::string& name) {
  const index_t rows = draw.one_of<index_t>({1, 3, 64, 200, draw.between(1, 300), 1000});
  const index_t columns = draw.between(1, rows > 300 ? 20 : 45);
  const Asked asked = draw_options(draw, columns);
  const index_t outputs = draw_outputs(draw, asked, rows > 300 ? 20 : 45);
  const double density = draw.one_of({0.0, 0.05, 0.5, 1.0});
  const bool by_columns = draw.flip();
  const bool trans_a = draw.flip();
  const bool trans_b = draw.flip();
  const index_t m = by_columns ? outputs : rows;
  const index_t n = by_columns ? rows : outputs;
  const index_t k = columns;
  const index_t lda = (trans_a ? m : k) + draw.between(0, 3);
  const index_t ldb = (trans_b ? k : n) + draw.between(0, 3);
  const index_t ldc = n + draw.between(0, 3);
  std::ostringstream text;
  text << "product " << m << " x " << n << " x " << k << (trans_a ? ", a^T" : "")
       << (trans_b ? ", b^T" : "") << (by_columns ? ", by columns, " : ", by rows, ") << asked.name
       << ", density " << density;
  name = text.str();
  auto a = draw.normals<T>((trans_a ? k : m) * lda);
  auto b = draw.normals<T>((trans_b ? n : k) * ldb);
  if (by_columns) {
    repeat_rows(draw, asked, rows, columns, trans_b ? ldb : 1, trans_b ? 1 : ldb, b);
  } else {
    repeat_rows(draw, asked, rows, columns, trans_a ? 1 : lda, trans_a ? lda : 1, a);
  }
  const auto d_c = draw.normals<T>(m * ldc, density);
  std::vector<T> c(static_cast<std::size_t>(m * ldc));
  const auto& x = by_columns ? b : a;
  const auto& w = by_columns ? a : b;
  const index_t ldx = by_columns ? ldb : lda;
  const index_t ldw = by_columns ? lda : ldb;
  std::vector<T> d_x(x.size()), d_w(w.size());
  const auto similar = by_columns ? adr::Similar::columns_of_b : adr::Similar::rows_of_a;
  adr::ReuseGemm<T> product(asked.options);
  adr::reuse_gemm(trans_a, trans_b, m, n, k, T(1), a.data(), lda, b.data(), ldb, T(0), c.data(),
                  ldc, product, similar);
  adr::reuse_gemm_weight_gradient(trans_a, trans_b, m, n, k, T(1), x.data(), ldx, d_c.data(), ldc,
                                  T(0), d_w.data(), ldw, product, similar);
  adr::reuse_gemm_input_gradient(trans_a, trans_b, m, n, k, T(1), d_c.data(), ldc, w.data(), ldw,
                                 T(0), d_x.data(), ldx, product, similar);
  const bool x_turned = by_columns ? !trans_b : trans_a;
  const bool w_turned = by_columns ? !trans_a : trans_b;
  const Operands o{matrix_of(x, rows, columns, ldx, x_turned),
                   matrix_of(w, columns, outputs, ldw, w_turned),
                   {},
                   matrix_of(d_c, rows, outputs, ldc, by_columns)};
  const Results got{matrix_of(c, rows, outputs, ldc, by_columns),
                    matrix_of(d_w, columns, outputs, ldw, w_turned),
                    {}};
  return check<T>(asked, o, got, matrix_of(d_x, rows, columns, ldx, x_turned), product.clustering(),
                  false, false);
}

template <class T>
std::string linear_case(Draw& draw, std::string& name) {
  const index_t rows = draw.one_of<index_t>({1, 3, 64, 200, draw.between(1, 300)});
  const index_t columns = draw.between(1, 45);
  const Asked asked = draw_options(draw, columns);
  const index_t outputs = draw_outputs(draw, asked, 45);
  const double density = draw.one_of({0.0, 0.05, 0.5, 1.0});
  std::ostringstream text;
  text << "linear layer " << rows << " x " << columns << " -> " << outputs << ", " << asked.name
       << ", density " << density;
  name = text.str();
  auto x = draw.normals<T>(rows * columns), w = draw.normals<T>(outputs * columns);
  auto bias = draw.normals<T>(outputs), d_y = draw.normals<T>(rows * outputs, density);
  repeat_rows(draw, asked, rows, columns, columns, 1, x);
  std::vector<T> y(d_y.size()), d_x(x.size()), d_w(w.size()), d_bias(bias.size());
  adr::ReuseLinear<T> layer(columns, outputs, asked.options);
  const MatrixView<const T> x_view(x.data(), rows, columns), w_view(w.data(), outputs, columns);
  layer.forward(x_view, w_view, {bias.data(), outputs}, {y.data(), rows, outputs});
  layer.backward(
      x_view, w_view, {d_y.data(), rows, outputs},
      {MatrixView<T>(d_x.data(), rows, columns), MatrixView<T>(d_w.data(), outputs, columns),
       VectorView<T>(d_bias.data(), outputs)});
  const Operands o{matrix_of(x, rows, columns, columns, false),
                   matrix_of(w, columns, outputs, columns, true),
                   {bias.begin(), bias.end()},
                   matrix_of(d_y, rows, outputs, outputs, false)};
  const Expected sums = adr_test::bias_gradient(o);
  const std::string of_bias =
      fault<T>(matrix_of(d_bias, 1, outputs, outputs, false), sums, 1, nullptr);
  if (!of_bias.empty()) return "bias gradient " + of_bias;
  const Results got{matrix_of(y, rows, outputs, outputs, false),
                    matrix_of(d_w, columns, outputs, columns, true),
                    {}};
  return check<T>(asked, o, got, matrix_of(d_x, rows, columns, columns, false), layer.clustering(),
                  false, false);
}

ConvGeometry draw_geometry(Draw& draw) {
  ConvGeometry g;
  g.layout = draw.flip() ? Layout::nchw : Layout::nhwc;
  g.groups = draw.one_of<index_t>({1, 1, 1, 2, 3});
  g.in_channels = g.groups * draw.between(1, 10);
  g.out_channels = g.groups * draw.between(1, 10);
  if (draw.between(0, 5) == 0) {  // 1 x N and N x 1
    g.kernel_height = draw.one_of<index_t>({1, 5});
    g.kernel_width = g.kernel_height == 1 ? 7 : 1;
  } else {
    g.set_kernel(draw.one_of<index_t>({1, 2, 3, 3, 3, 5}));
  }
  g.stride_height = draw.one_of<index_t>({1, 1, 1, 2});
  g.stride_width = draw.one_of<index_t>({1, 1, 1, 3});
  g.dilation_height = draw.one_of<index_t>({1, 1, 1, 2});
  g.dilation_width = draw.one_of<index_t>({1, 1, 1, 2});
  g.pad_top = draw.between(0, 2);
  g.pad_bottom = draw.between(0, 2);
  g.pad_left = draw.between(0, 2);
  g.pad_right = draw.between(0, 2);
  g.in_height = g.dilation_height * (g.kernel_height - 1) + 1 + draw.between(0, 8);
  g.in_width = g.dilation_width * (g.kernel_width - 1) + 1 + draw.between(0, 8);
  return g;
}

template <class T>
Matrix pixels_of(const TensorView<const T>& images, index_t first_channel, index_t channels) {
  Matrix m(images.batch * images.height * images.width, channels);
  index_t row = 0;
  for (index_t n = 0; n < images.batch; ++n) {
    for (index_t y = 0; y < images.height; ++y) {
      for (index_t x = 0; x < images.width; ++x, ++row) {
        for (index_t c = 0; c < channels; ++c) {
          m(row, c) =
              static_cast<double>(adr::reference::element(images, n, first_channel + c, y, x));
        }
      }
    }
  }
  return m;
}

template <class T>
std::string convolution_case(Draw& draw, std::string& name) {
  const ConvGeometry g = draw_geometry(draw);
  const index_t batch = draw.one_of<index_t>({1, 2, 5});
  const index_t outputs = g.group_out_channels();
  const Asked asked = draw_options(draw, g.columns());
  const double density = draw.one_of({0.0, 0.05, 0.5, 1.0});
  std::ostringstream text;
  text << "convolution of " << batch << " x " << g.in_channels << " x " << g.in_height << " x "
       << g.in_width << " -> " << g.out_channels << ", kernel " << g.kernel_height << " x "
       << g.kernel_width << ", stride " << g.stride_height << " x " << g.stride_width
       << ", dilation " << g.dilation_height << " x " << g.dilation_width << ", padding "
       << g.pad_top << ' ' << g.pad_bottom << ' ' << g.pad_left << ' ' << g.pad_right << ", "
       << g.groups << " groups, " << (g.layout == Layout::nchw ? "nchw" : "nhwc") << ", "
       << asked.name << ", density " << density;
  name = text.str();
  auto x = draw.normals<T>(batch * g.in_channels * g.in_height * g.in_width);
  auto w = draw.normals<T>(g.out_channels * g.columns());
  auto bias = draw.normals<T>(g.out_channels);
  auto d_y = draw.normals<T>(batch * g.out_channels * g.out_pixels(), density);
  std::vector<T> y(d_y.size()), d_x(x.size()), d_w(w.size());
  const TensorView<const T> x_view(x.data(), batch, g.in_channels, g.in_height, g.in_width,
                                   g.layout);
  const auto out = [&](auto* data) {
    return TensorView<std::remove_pointer_t<decltype(data)>>(
        data, batch, g.out_channels, g.out_height(), g.out_width(), g.layout);
  };
  const TensorView<T> d_x_view(d_x.data(), batch, g.in_channels, g.in_height, g.in_width, g.layout);
  const MatrixView<const T> w_view(w.data(), g.out_channels, g.columns());
  adr::ReuseConv2d<T> layer(g, asked.options);
  layer.forward(x_view, w_view, {bias.data(), g.out_channels}, out(y.data()));
  layer.backward(x_view, w_view, out(static_cast<const T*>(d_y.data())),
                 {d_x_view, MatrixView<T>(d_w.data(), g.out_channels, g.columns()), {}});
  // Images that the unfolded gradients of all groups are folded to.
  std::vector<double> folded(x.size()), folded_magnitude(x.size());
  const auto images_of = [&](std::vector<double>& values) {
    return TensorView<double>(values.data(), batch, g.in_channels, g.in_height, g.in_width,
                              g.layout);
  };
  for (index_t group = 0; group < g.groups; ++group) {
    const auto from = w.begin() + group * outputs * g.columns();
    const std::vector<T> of_group(from, from + outputs * g.columns());
    const auto d_from = d_w.begin() + group * outputs * g.columns();
    const std::vector<T> d_of_group(d_from, d_from + outputs * g.columns());
    const Operands o{
        adr::reference::im2col(g, x_view, group),
        matrix_of(of_group, g.columns(), outputs, g.columns(), true),
        {bias.begin() + group * outputs, bias.begin() + (group + 1) * outputs},
        pixels_of<T>(out(static_cast<const T*>(d_y.data())), group * outputs, outputs)};
    const Results got{pixels_of<T>(out(static_cast<const T*>(y.data())), group * outputs, outputs),
                      matrix_of(d_of_group, g.columns(), outputs, g.columns(), true),
                      {}};
    std::string wrong = check<T>(asked, o, got, {}, layer.clustering(group), true, true);
    if (!wrong.empty()) return wrong;
    const bool from_clusters = asked.kind == Kind::published && !asked.rounded;
    Expected unfolded =
        from_clusters ? adr_test::cluster_mean_input_gradient(o, GivenIds(layer.clustering(group)))
                      : adr_test::dense_input_gradient(o);
    if (asked.rounded) {
      const double unit = 2 * k_rounding_step * root_mean_square(o.d_y) /
                          adr_test::sum_tolerance<T>(unfolded.terms + g.columns(), 1);
      const Matrix slack = adr::reference::transpose(row_sums(o.w, o.x.rows));
      for (std::size_t i = 0; i < slack.elements.size(); ++i) {
        unfolded.magnitude.elements[i] += unit * slack.elements[i];
      }
    }
    adr::reference::col2im_add(g, unfolded.value, group, images_of(folded));
    adr::reference::col2im_add(g, unfolded.magnitude, group, images_of(folded_magnitude));
  }
  Comparison comparison;
  const bool on_tiles = asked.kind != Kind::exact_directly;
  const double factor = on_tiles ? 30 : 1;
  const double of_tile = on_tiles ? largest(folded_magnitude) : 0;
  for (std::size_t i = 0; i < d_x.size(); ++i) {
    comparison.expect(static_cast<double>(d_x[i]), folded[i],
                      factor * adr_test::sum_tolerance<T>(outputs + g.columns(),
                                                          std::max(of_tile, folded_magnitude[i])));
  }
  const std::string wrong = comparison.fault();
  return wrong.empty() || wrong.rfind("vacuous", 0) == 0 ? std::string()
                                                         : "input gradient " + wrong;
}

std::uint64_t number_from(const char* variable, std::uint64_t usual) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : usual;
}

}  // namespace

TEMPLATE_TEST_CASE("every entry point in random combinations", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  const adr_test::Data data;
  INFO(data);
  const std::uint64_t first = number_from("ADR_ENTRY_FIRST", 0);
  const std::uint64_t cases = number_from("ADR_ENTRY_CASES", adr_test::k_slow_build ? 60 : 1500);
  for (std::uint64_t number = first; number < first + cases; ++number) {
    Draw draw(number);
    std::string name;
    const auto kind = draw.between(0, 3);
    const std::string wrong = kind == 0   ? product_case<T>(draw, name)
                              : kind == 1 ? linear_case<T>(draw, name)
                                          : convolution_case<T>(draw, name);
    INFO("case " << number << ": " << name);
    CHECK(wrong == "");
  }
}
