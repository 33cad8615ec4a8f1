// The definitions of correct, checked by hand where that is possible and against each other where
// they say the same thing twice. They see nothing of the fast code.
#include <cstdint>
#include <vector>

#include "adr/reference/clustering.hpp"
#include "adr/reference/convolution.hpp"
#include "adr/reference/matrix.hpp"
#include "adr/reference/products.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::TensorView;
using adr::reference::Matrix;
using adr::reference::Slice;
using adr_test::Data;
using Catch::Matchers::WithinAbs;

namespace {

Matrix matrix(index_t rows, index_t cols, const std::vector<double>& elements) {
  Matrix result(rows, cols);
  result.elements = elements;
  return result;
}

Matrix whole_numbers(index_t rows, index_t cols, Data& data) {
  Matrix result(rows, cols);
  for (double& element : result.elements) element = data.whole<double>();
  return result;
}

/// Geometries in which every parameter counts.
std::vector<ConvGeometry> geometries() {
  ConvGeometry g;
  g.in_channels = 4;
  g.in_height = 7;
  g.in_width = 6;
  g.out_channels = 6;
  g.kernel_height = 2;
  g.kernel_width = 3;
  g.stride_height = 2;
  g.pad_top = 1;
  g.pad_left = 2;
  g.pad_right = 1;
  g.dilation_height = 2;
  g.groups = 2;
  ConvGeometry pointwise;
  pointwise.in_channels = 3;
  pointwise.in_height = 4;
  pointwise.in_width = 5;
  pointwise.out_channels = 2;
  std::vector<ConvGeometry> all = {g, pointwise};
  for (ConvGeometry nhwc : {g, pointwise}) {
    nhwc.layout = Layout::nhwc;
    all.push_back(nhwc);
  }
  return all;
}

double inner_product(const std::vector<double>& a, const std::vector<double>& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

}  // namespace

TEST_CASE("reference: products of small matrices") {
  const Matrix a = matrix(2, 3, {1, 2, 3, 4, 5, 6});
  const Matrix b = matrix(3, 2, {7, 8, 9, 10, 11, 12});
  CHECK(adr::reference::multiply(a, b).elements == std::vector<double>{58, 64, 139, 154});
  CHECK(adr::reference::transpose(a).elements == std::vector<double>{1, 4, 2, 5, 3, 6});
  CHECK(adr::reference::column_sums(a) == std::vector<double>{5, 7, 9});
  CHECK(adr::reference::rows_of(b, 1, 2).elements == std::vector<double>{9, 10, 11, 12});
  Matrix y = a;
  adr::reference::add_bias({10, 20, 30}, y);
  CHECK(y.elements == std::vector<double>{11, 22, 33, 14, 25, 36});
  adr::reference::add_bias({}, y);
  CHECK(y.elements == std::vector<double>{11, 22, 33, 14, 25, 36});
}

TEST_CASE("reference: slices, numbers and counts") {
  const auto slices = adr::reference::slices(7, 3);
  REQUIRE(slices.size() == 3);
  CHECK(slices[2].first == 6);
  CHECK(slices[2].length == 1);
  CHECK(adr::reference::slices(6, 3).size() == 2);
  const std::vector<std::uint64_t> signatures = {9, 4, 9, 0, 4, 9};
  const auto ids = adr::reference::number_by_first_appearance(signatures);
  CHECK(ids == std::vector<index_t>{0, 1, 0, 2, 1, 0});
  CHECK(adr::reference::cluster_count(ids) == 3);
  CHECK(adr::reference::counts(ids) == std::vector<index_t>{3, 2, 1});
  CHECK(adr::reference::cluster_count({}) == 0);
}

TEST_CASE("reference: a signature is the sides of the hyperplanes") {
  struct Hash {
    [[nodiscard]] int hash_count() const { return 3; }
    [[nodiscard]] double plane(index_t, int h, index_t l) const {
      return h == 0 ? 1.0 : (h == 1 ? (l == 0 ? 1.0 : -1.0) : 0.5);
    }
    [[nodiscard]] double threshold(index_t, int h) const { return h == 2 ? 2.0 : 0.0; }
  };
  const Matrix x = matrix(3, 4, {9, 1, 2, 9, 9, 3, 1, 9, 9, 0, 0, 9});
  const Slice slice{1, 2};
  CHECK(adr::reference::signature(Hash(), x, 0, 0, slice) == 1u);  // 3 > 0, -1, 1.5 < 2
  CHECK(adr::reference::signature(Hash(), x, 1, 0, slice) == 3u);  // 4 > 0, 2 > 0, 2 = 2
  CHECK(adr::reference::signature(Hash(), x, 2, 0, slice) == 0u);  // equal is no side
}

TEST_CASE("reference: centroids, energies and the clustered input") {
  const Matrix x = matrix(3, 2, {1, 2, 3, 4, 10, 20});
  const std::vector<index_t> ids = {0, 0, 1};
  const auto slices = adr::reference::slices(2, 2);
  const Matrix centroids = adr::reference::centroids(x, slices[0], ids);
  CHECK(centroids.elements == std::vector<double>{2, 3, 10, 20});
  CHECK(adr::reference::total_energy(x, slices[0]) == 530.0);
  CHECK(adr::reference::within_cluster_energy(x, slices[0], ids, centroids) == 4.0);
  CHECK(adr::reference::clustered(x, slices, {centroids}, {ids}).elements ==
        std::vector<double>{2, 3, 2, 3, 10, 20});
}

TEST_CASE("reference: the clustered products are dense products of the clustered input") {
  Data data;
  INFO(data);
  const Matrix x = whole_numbers(24, 7, data);
  const Matrix w = whole_numbers(7, 5, data);
  const Matrix d_y = whole_numbers(24, 5, data);
  const auto slices = adr::reference::slices(7, 3);
  adr::reference::Ids ids;
  std::vector<Matrix> centroids;
  for (const Slice& slice : slices) {
    std::vector<std::uint64_t> signatures;
    for (index_t n = 0; n < x.rows; ++n) {
      signatures.push_back(static_cast<std::uint64_t>(data.between(0, 5)));
    }
    ids.push_back(adr::reference::number_by_first_appearance(signatures));
    centroids.push_back(adr::reference::centroids(x, slice, ids.back()));
  }
  const Matrix clustered = adr::reference::clustered(x, slices, centroids, ids);
  const auto near = [](const Matrix& a, const Matrix& b) {
    REQUIRE(a.elements.size() == b.elements.size());
    for (std::size_t i = 0; i < a.elements.size(); ++i) {
      REQUIRE_THAT(a.elements[i], WithinAbs(b.elements[i], 1e-9));
    }
  };
  near(adr::reference::centroid_forward(slices, centroids, ids, w, x.rows),
       adr::reference::multiply(clustered, w));
  near(adr::reference::centroid_weight_gradient(slices, centroids, ids, d_y, 7),
       adr::reference::multiply(adr::reference::transpose(clustered), d_y));

  // The published input gradient: the exact one, averaged over every cluster.
  const Matrix exact = adr::reference::multiply(d_y, adr::reference::transpose(w));
  std::vector<Matrix> means;
  for (std::size_t s = 0; s < slices.size(); ++s) {
    means.push_back(adr::reference::centroids(exact, slices[s], ids[s]));
  }
  near(adr::reference::centroid_input_gradient(slices, ids, w, d_y),
       adr::reference::clustered(exact, slices, means, ids));
}

TEST_CASE("reference: a convolution by hand") {
  // A 2 x 2 kernel over a 2 x 3 image with a line of padding above.
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    ConvGeometry g;
    g.in_height = 2;
    g.in_width = 3;
    g.set_kernel(2);
    g.pad_top = 1;
    g.layout = layout;
    const std::vector<double> x = {1, 2, 3, 4, 5, 6};
    const TensorView<const double> input(x.data(), 1, 1, 2, 3, layout);
    const Matrix w = matrix(1, 4, {1, 10, 100, 1000});
    std::vector<double> y(4);
    const TensorView<double> output(y.data(), 1, 1, 2, 2, layout);
    adr::reference::convolution<double>(g, input, w, {0.5}, output);
    CHECK(y == std::vector<double>{2100.5, 3200.5, 5421.5, 6532.5});
  }
}

TEST_CASE("reference: the convolution is the product of the unfolded input") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : geometries()) {
    REQUIRE(g.validate() == "");
    INFO("layout " << (g.layout == Layout::nchw ? "nchw" : "nhwc") << ", " << g.groups
                   << " groups");
    const index_t batch = 2;
    // Whole numbers: every sum is exact.
    const Matrix x = whole_numbers(batch, g.in_channels * g.in_height * g.in_width, data);
    const Matrix w = whole_numbers(g.out_channels, g.columns(), data);
    const Matrix d_y = whole_numbers(batch, g.out_channels * g.out_pixels(), data);
    const TensorView<const double> images(x.elements.data(), batch, g.in_channels, g.in_height,
                                          g.in_width, g.layout);
    const TensorView<const double> gradients(d_y.elements.data(), batch, g.out_channels,
                                             g.out_height(), g.out_width(), g.layout);
    Matrix y(d_y.rows, d_y.cols);
    const TensorView<double> output(y.elements.data(), batch, g.out_channels, g.out_height(),
                                    g.out_width(), g.layout);
    adr::reference::convolution<double>(g, images, w, {}, output);
    const Matrix d_w = adr::reference::convolution_weight_gradient<double>(g, images, gradients);
    Matrix d_x(x.rows, x.cols);
    adr::reference::convolution_input_gradient<double>(
        g, gradients, w,
        TensorView<double>(d_x.elements.data(), batch, g.in_channels, g.in_height, g.in_width,
                           g.layout));

    Matrix folded(x.rows, x.cols);
    const index_t outputs = g.group_out_channels();
    for (index_t group = 0; group < g.groups; ++group) {
      const Matrix unfolded = adr::reference::im2col(g, images, group);
      REQUIRE(unfolded.rows == g.rows(batch));
      REQUIRE(unfolded.cols == g.columns());
      const Matrix filters = adr::reference::rows_of(w, group * outputs, outputs);
      const Matrix product = adr::reference::multiply(unfolded, adr::reference::transpose(filters));
      Matrix rows(g.rows(batch), outputs);
      for (index_t n = 0; n < rows.rows; ++n) {
        const index_t image = n / g.out_pixels();
        const index_t oy = n % g.out_pixels() / g.out_width();
        const index_t ox = n % g.out_width();
        for (index_t m = 0; m < outputs; ++m) {
          REQUIRE(product(n, m) ==
                  adr::reference::element(output, image, group * outputs + m, oy, ox));
          rows(n, m) = adr::reference::element(gradients, image, group * outputs + m, oy, ox);
        }
      }
      const Matrix part = adr::reference::multiply(adr::reference::transpose(rows), unfolded);
      for (index_t m = 0; m < outputs; ++m) {
        for (index_t k = 0; k < g.columns(); ++k) {
          REQUIRE(part(m, k) == d_w(group * outputs + m, k));
        }
      }
      adr::reference::col2im_add(g, adr::reference::multiply(rows, filters), group,
                                 TensorView<double>(folded.elements.data(), batch, g.in_channels,
                                                    g.in_height, g.in_width, g.layout));
    }
    CHECK(folded.elements == d_x.elements);

    // Both gradients are adjoint to the convolution: <y, d_y> = <w, d_w> = <x, d_x>.
    const double scalar = inner_product(y.elements, d_y.elements);
    CHECK(scalar == inner_product(w.elements, d_w.elements));
    CHECK(scalar == inner_product(x.elements, d_x.elements));
  }
}
