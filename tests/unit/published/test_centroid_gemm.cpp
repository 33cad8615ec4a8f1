// The published products against the reference with the clusters that RowClusterer found.
#include <vector>

#include "adr/core/matrix_rows.hpp"
#include "adr/published/centroid_gemm.hpp"
#include "adr/published/cluster_rows.hpp"
#include "adr/published/sign_hash.hpp"
#include "adr/unfold/pixel_rows.hpp"
#include "adr/unfold/unfolded_rows.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

using adr::Clustering;
using adr::Context;
using adr::ConvGeometry;
using adr::DenseGemm;
using adr::GemmResult;
using adr::index_t;
using adr::Layout;
using adr::MatrixRows;
using adr::MatrixView;
using adr::PixelRows;
using adr::SignHash;
using adr::SliceClusters;
using adr::transposed;
using adr::UnfoldedRows;
using adr::VectorView;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::fault;
using adr_test::GivenIds;
using adr_test::LinearCase;
using adr_test::Placement;
using adr_test::Start;

namespace {

struct Shape {
  index_t rows, columns, outputs, length;
  int bits;
};

template <class T, class Input>
Clustering<T> clusters(const Input& input, const Shape& s) {
  const SignHash<T> hash(s.columns, s.length, s.bits, false, 3);
  Context context;
  context.workspace().reserve(adr::RowClusterer<T>::workspace_bytes(hash, 1));
  Clustering<T> result;
  adr::RowClusterer<T>().cluster(input, hash, context, result);
  return result;
}

/// Runs an operation on 1, 2, 3 and 8 threads in a workspace of just the stated size, and checks
/// that it used all of that and gave the same bits.
template <class Bytes, class Run>
void on_any_threads(const Bytes& bytes, const Run& run) {
  decltype(run(std::declval<Context&>())) first;
  for (const int threads : {1, 2, 3, 8}) {
    INFO(threads << " threads");
    Context context(threads);
    context.workspace().reserve(bytes(threads));
    const auto bits = run(context);
    CHECK(context.workspace().peak_bytes() == bytes(threads));
    if (threads == 1) first = bits;
    CHECK(adr_test::same_bits(bits, first));
  }
}

template <class T>
index_t group_count(const Clustering<T>& clustering, index_t outputs) {
  index_t groups = 0;
  for (index_t first = 0; first < static_cast<index_t>(clustering.slices.size()); ++groups) {
    first = adr::detail::slice_group(clustering, first, outputs).last;
  }
  return groups;
}

/// Forward into the given output, whose elements `bits` copies.
template <class T, class Output, class Bits>
void run_forward(const Clustering<T>& clustering, const adr::GemmFactor<T>& weights,
                 const VectorView<const T>& bias, const Output& output, const Bits& bits) {
  on_any_threads(
      [&](int threads) {
        return adr::centroid_forward_workspace_bytes(clustering, output.cols(), threads);
      },
      [&](Context& context) {
        const DenseGemm<T> gemm;
        adr::centroid_forward<T>(
            clustering, bias, output, context, [&](index_t s, const MatrixView<T>& table) {
              adr::centroid_product(clustering.slices[static_cast<std::size_t>(s)], weights, gemm,
                                    table);
            });
        return bits();
      });
}

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {0, 4, 3, 2, 5},       // nothing to do
      {1, 1, 1, 1, 1},       //
      {50, 7, 5, 3, 2},      // the last slice is shorter
      {257, 33, 31, 10, 4},  // one row more than a block
      {600, 24, 65, 24, 6},  // one slice of the whole row
      {300, 20, 17, 1, 3},   // vectors of one element
      {100, 12, 40, 5, 64},  // all different
  };
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("centroid_forward and centroid_backward over a matrix", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes()) {
    INFO(s.rows << " x " << s.columns << " x " << s.outputs << ", L " << s.length << ", H "
                << s.bits);
    const bool with_bias = s.rows % 2 == 0;
    LinearCase<T> c(s.rows, s.columns, s.outputs, data, Placement{3, Start::misaligned});
    const Clustering<T> clustering = clusters<T>(MatrixRows<const T>(c.x_view()), s);
    const GivenIds given(clustering);
    const adr_test::Operands operands = c.operands(with_bias);

    run_forward<T>(clustering, transposed(c.w_view()),
                   with_bias ? c.bias.vector() : VectorView<T>(), MatrixRows<T>(c.y.view()),
                   [&] { return adr_test::elements_of(c.y); });
    CHECK(fault<T>(c.output(), adr_test::clustered_output(operands, given)) == "");

    for (const bool with_weights : {true, false}) {
      const GemmResult<T> d_weights =
          with_weights ? GemmResult<T>{c.d_w.view(), true} : GemmResult<T>{};
      on_any_threads(
          [&](int threads) {
            return adr::centroid_backward_workspace_bytes(clustering, s.outputs, true, threads);
          },
          [&](Context& context) {
            // What is there already stays: 1 is added to by every run anew.
            for (index_t i = 0; i < s.rows; ++i) std::fill_n(&c.d_x(i, 0), s.columns, T(1));
            const MatrixRows<T> d_x(c.d_x.view());
            adr::centroid_backward<T>(clustering, transposed(c.w_view()), c.d_y_view(), d_weights,
                                      &d_x, DenseGemm<T>(), context);
            return c.results();
          });
      adr_test::Expected d_x = adr_test::cluster_mean_input_gradient(operands, given);
      for (double& element : d_x.value.elements) element += 1;
      for (double& element : d_x.magnitude.elements) element += 1;
      CHECK(fault<T>(c.input_gradient(), d_x) == "");
      if (with_weights) {
        CHECK(fault<T>(c.weight_gradient(), adr_test::clustered_weight_gradient(operands, given)) ==
              "");
      }
    }

    adr_test::GuardedBuffer<T> d_w(s.columns, s.outputs, s.outputs + 1);
    on_any_threads(
        [&](int threads) {
          return adr::centroid_backward_workspace_bytes(clustering, s.outputs, false, threads);
        },
        [&](Context& context) {
          const MatrixRows<T>* no_gradient = nullptr;
          adr::centroid_backward<T>(clustering, adr::GemmFactor<T>{}, c.d_y_view(),
                                    GemmResult<T>{d_w.view(), false}, no_gradient, DenseGemm<T>(),
                                    context);
          return adr_test::elements_of(d_w);
        });
    CHECK(fault(d_w.view(), adr_test::clustered_weight_gradient(operands, given)) == "");
    CHECK(c.damage() + d_w.damage() == "");
  }
}

TEMPLATE_TEST_CASE("centroid_forward over unfolded images in both layouts", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  ConvGeometry g;
  g.in_channels = 4;
  g.in_height = 9;
  g.in_width = 10;
  g.out_channels = 6;
  g.groups = 2;
  g.set_kernel(3);
  g.set_padding(1);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    g.layout = layout;
    for (const index_t gap : {0, 7}) {
      INFO((layout == Layout::nchw ? "nchw" : "nhwc") << ", gap " << gap);
      ConvCase<T> c(g, 4, data, Placement{gap, Start::misaligned});
      for (index_t group = 0; group < g.groups; ++group) {
        const auto x = c.x_view();
        const UnfoldedRows<const T> input(c.geometry, x, group);
        const Shape shape{input.rows(), input.cols(), 3, 5, 4};
        const Clustering<T> clustering = clusters<T>(input, shape);
        run_forward<T>(clustering, transposed(c.w_view().middle_rows(group * 3, 3)),
                       VectorView<const T>(c.bias.data() + group * 3, 3),
                       PixelRows<T>(c.y_view(), group * 3, 3),
                       [&] { return adr_test::elements_of(c.y); });
        CHECK(fault<T>(c.output(group),
                       adr_test::clustered_output(c.operands(group), GivenIds(clustering))) == "");
      }
      CHECK(c.damage() == "");
    }
  }
}

TEST_CASE("Tables beyond their budget are made in several groups", "") {
  Data data;
  INFO(data);
  const auto check = [&](const Shape& s, index_t wanted_groups) {
    LinearCase<float> c(s.rows, s.columns, s.outputs, data);
    const auto clustering = clusters<float>(MatrixRows<const float>(c.x_view()), s);
    REQUIRE(group_count(clustering, s.outputs) >= wanted_groups);
    const auto expected = adr_test::clustered_output(c.operands(), GivenIds(clustering));
    run_forward<float>(clustering, transposed(c.w_view()), c.bias.vector(),
                       MatrixRows<float>(c.y.view()), [&] { return adr_test::elements_of(c.y); });
    CHECK(fault<float>(c.output(), expected) == "");

    // The same rows as pixels of images, where a block is copied in and out.
    const index_t batch = 4;
    const index_t pixels = s.rows / batch;
    adr_test::GuardedBuffer<float> y(batch, s.outputs * pixels, s.outputs * pixels + 3);
    const adr::TensorView<float> images(y.data(), batch, s.outputs, 1, pixels, Layout::nchw,
                                        y.view().row_stride);
    run_forward<float>(clustering, transposed(c.w_view()), c.bias.vector(),
                       PixelRows<float>(images, 0, s.outputs),
                       [&] { return adr_test::elements_of(y); });
    CHECK(fault<float>(adr_test::pixel_matrix(images, 0, s.outputs), expected) == "");
    CHECK(c.damage() + y.damage() == "");
  };
  SECTION("many slices") {
    // Most of the 300 rows are clusters of their own: tables of up to 75 kB each.
    check({300, 288, 64, 4, 64}, 2);
  }
  SECTION("slices that exceed the budget one by one") { check({1100, 10, 1100, 4, 64}, 3); }
}

TEST_CASE("centroid_forward makes the table of every slice once", "") {
  Data data;
  INFO(data);
  const Shape s{64, 10, 4, 3, 3};
  LinearCase<double> c(s.rows, s.columns, s.outputs, data);
  const auto clustering = clusters<double>(MatrixRows<const double>(c.x_view()), s);
  Context context;
  context.workspace().reserve(adr::centroid_forward_workspace_bytes(clustering, s.outputs, 1));
  std::vector<index_t> seen;
  adr::centroid_forward<double>(
      clustering, VectorView<const double>(), MatrixRows<double>(c.y.view()), context,
      [&](index_t slice, const MatrixView<double>& table) {
        seen.push_back(slice);
        CHECK(table.rows == clustering.slices[static_cast<std::size_t>(slice)].cluster_count);
        CHECK(table.cols == s.outputs);
        for (index_t i = 0; i < table.rows; ++i) {
          for (index_t j = 0; j < table.cols; ++j) {
            table(i, j) = static_cast<double>((slice + 1) * 1000 + i);
          }
        }
      });
  CHECK(seen == std::vector<index_t>{0, 1, 2, 3});
  for (index_t n = 0; n < s.rows; ++n) {
    double sum = 10000;
    for (const auto& slice : clustering.slices) sum += static_cast<double>(slice.ids[n]);
    for (index_t m = 0; m < s.outputs; ++m) REQUIRE(c.y(n, m) == sum);
  }
}
