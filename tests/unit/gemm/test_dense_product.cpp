// The dense forward product and both gradients over matrices and unfolded images, against the
// reference, at shapes that reach every way of cutting the work.
#include <functional>
#include <vector>

#include "adr/core/matrix_rows.hpp"
#include "adr/gemm/dense_product.hpp"
#include "adr/unfold/pixel_rows.hpp"
#include "adr/unfold/unfolded_rows.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::GemmResult;
using adr::index_t;
using adr::Layout;
using adr::MatrixRows;
using adr::MatrixView;
using adr::PixelRows;
using adr::transposed;
using adr::UnfoldedRows;
using adr::VectorView;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::fault;
using adr_test::LinearCase;
using adr_test::Operands;
using adr_test::Placement;
using adr_test::Start;

namespace {

/// Runs an operation on 1, 2, 3 and 8 threads, each time in a workspace of just the stated size,
/// and checks that it used all of that and gave the same bits.
template <class T>
void on_any_threads(const std::function<std::size_t(int)>& bytes,
                    const std::function<std::vector<T>(Context&)>& run) {
  std::vector<T> first;
  for (const int threads : {1, 2, 3, 8}) {
    INFO(threads << " threads");
    Context context(threads);
    context.workspace().reserve(bytes(threads));
    const std::vector<T> bits = run(context);
    CHECK(context.workspace().peak_bytes() == bytes(threads));
    if (threads == 1) first = bits;
    CHECK(adr_test::same_bits(bits, first));
  }
}

struct Shape {
  index_t rows, columns, outputs;
};

/// Shapes for every product, and the given ones.
std::vector<Shape> shapes_and(const std::vector<Shape>& more) {
  std::vector<Shape> shapes = {
      {0, 3, 2},        // nothing to do
      {1, 1, 1},        //
      {5, 7, 200},      // outputs cut into parts, because there is one block of rows
      {9000, 3, 2},     // several blocks of rows, the last one partial
      {67, 800, 33},    //
      {300, 130, 129},  // columns cut into parts
  };
  shapes.insert(shapes.end(), more.begin(), more.end());
  return shapes;
}

/// Blocks of the smallest size, and more than one of them.
constexpr Shape k_many_columns{70, 16400, 1};
/// A weight gradient with partial sums and with parts of the columns.
constexpr Shape k_tall{6200, 770, 1};

std::vector<ConvGeometry> geometries() {
  ConvGeometry small;
  small.in_channels = 3;
  small.in_height = 5;
  small.in_width = 6;
  small.out_channels = 4;
  small.set_kernel(3);
  small.set_padding(1);
  ConvGeometry strided = small;
  strided.in_channels = 4;
  strided.groups = 2;
  strided.set_stride(2);
  strided.set_dilation(2);
  strided.pad_left = 3;
  ConvGeometry deep = small;  // more than 64 outputs in one block of rows
  deep.out_channels = 150;
  ConvGeometry wide = small;  // more than one block of rows
  wide.in_channels = 1;
  wide.in_height = 60;
  wide.in_width = 70;
  std::vector<ConvGeometry> all;
  for (ConvGeometry g : {small, strided, deep, wide}) {
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      g.layout = layout;
      all.push_back(g);
    }
  }
  return all;
}

/// What a product over a matrix takes on any number of threads.
std::size_t no_scratch(int /*threads*/) { return 0; }

}  // namespace

TEMPLATE_TEST_CASE("dense_forward over a matrix", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes_and({k_many_columns})) {
    INFO(s.rows << " x " << s.columns << " x " << s.outputs);
    const bool with_bias = s.rows % 2 == 1;
    LinearCase<T> c(s.rows, s.columns, s.outputs, data, Placement{2, Start::misaligned});
    on_any_threads<T>(no_scratch, [&](Context& context) {
      adr::dense_forward<T>(MatrixRows<const T>(c.x_view()), transposed(c.w_view()),
                            with_bias ? c.bias.vector() : VectorView<T>(),
                            MatrixRows<T>(c.y.view()), adr::DenseGemm<T>(), context);
      return c.results();
    });
    CHECK(fault<T>(c.output(), adr_test::dense_output(c.operands(with_bias))) == "");
    CHECK(c.damage() == "");
  }
}

TEMPLATE_TEST_CASE("dense_weight_gradient over a matrix", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes_and({k_tall})) {
    for (const bool written_transposed : {false, true}) {
      INFO(s.rows << " x " << s.columns << " x " << s.outputs << (written_transposed ? ", t" : ""));
      LinearCase<T> c(s.rows, s.columns, s.outputs, data, Placement{2, Start::misaligned});
      adr_test::GuardedBuffer<T> plain(s.columns, s.outputs, s.outputs + 1);
      const GemmResult<T> d_weights = written_transposed ? GemmResult<T>{c.d_w.view(), true}
                                                         : GemmResult<T>{plain.view(), false};
      on_any_threads<T>(
          [&](int) {
            return adr::dense_weight_gradient_workspace_bytes<T>(s.rows, s.columns, s.outputs, 0);
          },
          [&](Context& context) {
            adr::dense_weight_gradient<T>(MatrixRows<const T>(c.x_view()), c.d_y_view(), d_weights,
                                          adr::DenseGemm<T>(), context);
            return adr_test::elements_of(written_transposed ? c.d_w : plain);
          });
      const auto result = written_transposed ? c.weight_gradient() : adr_test::Matrix(plain.view());
      CHECK(fault<T>(result, adr_test::dense_weight_gradient(c.operands())) == "");
      CHECK(c.damage() + plain.damage() == "");
    }
  }
}

TEMPLATE_TEST_CASE("dense_input_gradient adds to a matrix", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes_and({k_many_columns})) {
    INFO(s.rows << " x " << s.columns << " x " << s.outputs);
    LinearCase<T> c(s.rows, s.columns, s.outputs, data, Placement{2, Start::misaligned});
    on_any_threads<T>(no_scratch, [&](Context& context) {
      // What is there already stays: 1 is added to by every run anew.
      for (index_t i = 0; i < s.rows; ++i) {
        for (index_t k = 0; k < s.columns; ++k) c.d_x(i, k) = T(1);
      }
      adr::dense_input_gradient<T>(c.d_y_view(), transposed(c.w_view()),
                                   MatrixRows<T>(c.d_x.view()), adr::DenseGemm<T>(), context);
      return c.results();
    });
    adr_test::Expected expected = adr_test::dense_input_gradient(c.operands());
    for (double& element : expected.value.elements) element += 1;
    for (double& element : expected.magnitude.elements) element += 1;
    ++expected.terms;
    CHECK(fault<T>(c.input_gradient(), expected) == "");
    CHECK(c.damage() == "");
  }
}

TEMPLATE_TEST_CASE("The dense product over unfolded images", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    // Images with a gap are not one matrix of pixels, so this is the copying form in both layouts.
    for (const index_t gap : {0, 5}) {
      for (const index_t batch : {0, 1, 3}) {
        INFO("channels " << g.in_channels << " -> " << g.out_channels << ", layout "
                         << (g.layout == Layout::nchw ? "nchw" : "nhwc") << ", gap " << gap
                         << ", batch " << batch);
        ConvCase<T> c(g, batch, data, Placement{gap, Start::misaligned});
        const index_t outputs = g.group_out_channels();
        for (index_t group = 0; group < g.groups; ++group) {
          const Operands operands = c.operands(group);
          const auto x = c.x_view();
          const UnfoldedRows<const T> input(c.geometry, x, group);
          const PixelRows<T> output(c.y_view(), group * outputs, outputs);
          const auto weights = transposed(c.w_view().middle_rows(group * outputs, outputs));
          CHECK(output.in_place() == (g.layout == Layout::nhwc && (gap == 0 || batch < 2)));
          on_any_threads<T>(
              [&](int threads) {
                return adr::dense_forward_workspace_bytes<T>(g.columns(), outputs, threads);
              },
              [&](Context& context) {
                adr::dense_forward<T>(input, weights,
                                      VectorView<const T>(c.bias.data() + group * outputs, outputs),
                                      output, adr::DenseGemm<T>(), context);
                return adr_test::elements_of(c.y);
              });
          CHECK(fault<T>(c.output(group), adr_test::dense_output(operands)) == "");

          // The output gradient as rows of its own, as the layers hand it over.
          adr_test::GuardedBuffer<T> d_output(operands.d_y.rows, outputs, outputs);
          const PixelRows<const T> pixels(c.d_y_view(), group * outputs, outputs);
          pixels.load(0, 0, d_output.view());
          on_any_threads<T>(
              [&](int threads) {
                return adr::dense_weight_gradient_workspace_bytes<T>(input.rows(), g.columns(),
                                                                     outputs, threads);
              },
              [&](Context& context) {
                const GemmResult<T> d_weights{c.d_w.view().middle_rows(group * outputs, outputs),
                                              true};
                adr::dense_weight_gradient<T>(input, d_output.view(), d_weights,
                                              adr::DenseGemm<T>(), context);
                return adr_test::elements_of(c.d_w);
              });
          CHECK(fault<T>(c.weight_gradient(group), adr_test::dense_weight_gradient(operands)) ==
                "");

          adr_test::GuardedBuffer<T> d_x(batch, c.x.view().cols, c.x.view().row_stride);
          on_any_threads<T>(
              [&](int threads) {
                return adr::dense_input_gradient_workspace_bytes<T>(g.columns(), threads);
              },
              [&](Context& context) {
                for (index_t n = 0; n < batch; ++n) {
                  std::fill_n(&d_x(n, 0), d_x.view().cols, T(0));
                }
                adr::dense_input_gradient<T>(d_output.view(), weights,
                                             UnfoldedRows<T>(c.geometry, c.input_like(d_x), group),
                                             adr::DenseGemm<T>(), context);
                return adr_test::elements_of(d_x);
              });
          std::vector<adr_test::Expected> unfolded(static_cast<std::size_t>(g.groups));
          for (auto& part : unfolded) {
            part.value = part.magnitude = adr_test::Matrix(operands.x.rows, operands.x.cols);
          }
          unfolded[static_cast<std::size_t>(group)] = adr_test::dense_input_gradient(operands);
          CHECK(fault(d_x.view(), c.folded(unfolded)) == "");
          CHECK(d_x.damage() == "");
        }
        CHECK(c.damage() == "");
      }
    }
  }
}
