#include <algorithm>
#include <string>
#include <vector>

#include "adr/reference/shared_vectors.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::MatrixView;
using adr::NeuronVectorKind;
using adr::NeuronVectors;
using adr::TensorView;
using adr::VectorMap;
using adr::reference::Matrix;
using adr_test::BlockPlace;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;
using adr_test::Shown;

constexpr index_t k_batch = 2;
constexpr NeuronVectorKind k_kinds[] = {NeuronVectorKind::patch, NeuronVectorKind::pixel,
                                        NeuronVectorKind::strip};

const char* name(NeuronVectorKind kind) {
  constexpr const char* names[] = {"automatic", "patch", "pixel", "strip"};
  return names[static_cast<int>(kind)];
}

/// Calls use(geometry, kind) for every shape and kind, and for tiles of registers that are full.
template <class Use>
void for_each_case(const Use& use) {
  std::vector<ConvGeometry> cases = adr_test::conv_cases();
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const index_t stride : {1, 2}) {
      ConvGeometry g;
      g.layout = layout;
      g.in_channels = 35;
      g.in_height = 3;
      g.in_width = 37;
      g.kernel_height = 2;
      g.kernel_width = 3;
      g.set_padding(1);
      g.set_stride(stride);
      cases.push_back(g);
    }
  }
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {  // a line that only padding meets
    ConvGeometry g;
    g.layout = layout;
    g.in_channels = 20;
    g.in_height = g.pad_top = 1;
    g.stride_height = 2;
    g.in_width = 19;
    cases.push_back(g);
  }
  for (const ConvGeometry& g : cases) {
    for (const NeuronVectorKind kind : k_kinds) {
      INFO(Shown{g} << ", " << name(kind));
      use(g, kind);
    }
  }
}

/// The neuron vectors of a group by their definition.
template <class T>
Matrix defined_vectors(const ConvGeometry& g, const TensorView<T>& images, index_t group,
                       NeuronVectorKind kind) {
  if (kind == NeuronVectorKind::patch) return adr::reference::im2col(g, images, group);
  const bool strip = kind == NeuronVectorKind::strip;
  const index_t channels = g.group_in_channels();
  const index_t width = strip ? g.out_width() : g.in_width;
  const index_t taps = strip ? g.kernel_width : 1;
  Matrix vectors(images.batch * g.in_height * width, taps * channels);
  for (index_t v = 0; v < vectors.rows; ++v) {
    const index_t y = v / width % g.in_height;
    for (index_t kx = 0; kx < taps; ++kx) {
      const index_t place = v % width;
      const index_t x = strip ? place * g.stride_width + kx * g.dilation_width - g.pad_left : place;
      if (x < 0 || x >= g.in_width) continue;
      for (index_t c = 0; c < channels; ++c) {
        const index_t e = g.layout == Layout::nchw ? c * taps + kx : kx * channels + c;
        vectors(v, e) = static_cast<double>(
            adr::reference::element(images, v / width / g.in_height, group * channels + c, y, x));
      }
    }
  }
  return vectors;
}

double inner_product(const Matrix& a, const Matrix& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.elements.size(); ++i) total += a.elements[i] * b.elements[i];
  return total;
}

}  // namespace

TEMPLATE_TEST_CASE("NeuronVectors are what every offset of the unfolded matrix reads", "",
                   ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for_each_case([&](const ConvGeometry& g, NeuronVectorKind kind) {
    GuardedImages<TestType> images(g, k_batch, data.between(0, 3));
    data.fill_normal(images.elements());
    for (index_t group = 0; group < g.groups; ++group) {
      const NeuronVectors<const TestType> vectors(g, images.view(), group, kind);
      const VectorMap& map = vectors.map();
      GuardedBuffer<TestType> rows(map.vectors(), vectors.length(), vectors.length() + 1);
      vectors.load_rows(0, 0, rows.view());
      const Matrix unfolded =
          adr::reference::unfold(map, Matrix(rows.view()), adr::weight_columns(g, kind));
      const Matrix expected = adr::reference::im2col(g, images.view(), group);
      CHECK((unfolded.rows == expected.rows && unfolded.cols == expected.cols));
      CHECK(unfolded.elements == expected.elements);
    }
  });
}

TEMPLATE_TEST_CASE("NeuronVectors loads any block either way", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for_each_case([&](const ConvGeometry& g, NeuronVectorKind kind) {
    const index_t group = g.groups - 1;
    GuardedImages<TestType> images(g, k_batch, data.between(0, 3));
    data.fill_normal(images.elements());
    const Matrix expected = defined_vectors(g, images.view(), group, kind);
    const NeuronVectors<TestType> vectors(g, images.view(), group, kind);
    CHECK((vectors.map().vectors() == expected.rows && vectors.length() == expected.cols));
    std::string fault;
    for (const BlockPlace& b : adr_test::block_places(data, expected.rows, expected.cols)) {
      GuardedBuffer<float> columns(b.cols, b.rows, b.rows + 2, adr_test::Start::misaligned);
      GuardedBuffer<TestType> rows(b.rows, b.cols, b.cols + 3, adr_test::Start::misaligned);
      vectors.load_columns(b.first_row, b.first_col, columns.view());
      vectors.load_rows(b.first_row, b.first_col, rows.view());
      for (index_t i = 0; i < b.rows && fault.empty(); ++i) {
        for (index_t e = 0; e < b.cols && fault.empty(); ++e) {
          const double value = expected(b.first_row + i, b.first_col + e);
          if (columns(e, i) != static_cast<float>(value)) fault = "a column is loaded wrongly";
          if (static_cast<double>(rows(i, e)) != value) fault = "a row is loaded wrongly";
        }
      }
      if (fault.empty()) fault = columns.damage() + rows.damage();
    }
    CHECK(fault == "");
  });
}

// Whole numbers add up exactly in any order, so both sides are equal to the last bit.
TEMPLATE_TEST_CASE("NeuronVectors adds where it loads", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for_each_case([&](const ConvGeometry& g, NeuronVectorKind kind) {
    const index_t group = g.groups - 1;
    GuardedImages<TestType> x(g, k_batch, 1);
    data.fill_whole(x.elements());
    const NeuronVectors<const TestType> source(g, x.view(), group, kind);
    std::string fault;
    for (const BlockPlace& b :
         adr_test::block_places(data, source.map().vectors(), source.length())) {
      GuardedImages<TestType> sums(g, k_batch, 2);
      data.fill_whole(sums.elements());
      const Matrix before(sums.elements());
      GuardedBuffer<TestType> added(b.rows, b.cols, b.cols + 1, adr_test::Start::misaligned);
      GuardedBuffer<TestType> loaded(b.rows, b.cols, b.cols);
      data.fill_whole(added.view());
      source.load_rows(b.first_row, b.first_col, loaded.view());
      NeuronVectors<TestType>(g, sums.view(), group, kind)
          .add_rows(b.first_row, b.first_col, added.view());
      Matrix change(sums.elements());
      for (std::size_t i = 0; i < change.elements.size(); ++i) {
        change.elements[i] -= before.elements[i];
      }
      if (inner_product(Matrix(loaded.view()), Matrix(added.view())) !=
          inner_product(Matrix(x.elements()), change)) {
        fault = "add_rows is not the adjoint of load_rows";
      }
      if (fault.empty()) fault = sums.damage();
    }
    CHECK(fault == "");
  });
}

TEMPLATE_TEST_CASE("NeuronVectors stores pixels where it loads them", "", ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  for_each_case([&](const ConvGeometry& g, NeuronVectorKind kind) {
    const index_t group = g.groups - 1;
    GuardedImages<TestType> x(g, k_batch, 1);
    data.fill_whole(x.elements());
    const NeuronVectors<TestType> vectors(g, x.view(), group, kind);
    CHECK((kind != NeuronVectorKind::pixel || vectors.can_store_rows()));
    if (!vectors.can_store_rows()) return;
    std::string fault;
    for (const BlockPlace& b :
         adr_test::block_places(data, vectors.map().vectors(), vectors.length())) {
      const Matrix before(x.elements());
      GuardedBuffer<TestType> stored(b.rows, b.cols, b.cols + 1, adr_test::Start::misaligned);
      GuardedBuffer<TestType> loaded(b.rows, b.cols, b.cols);
      data.fill_whole(stored.view());
      vectors.store_rows(b.first_row, b.first_col, stored.view());
      vectors.load_rows(b.first_row, b.first_col, loaded.view());
      if (Matrix(loaded.view()).elements != Matrix(stored.view()).elements) {
        fault = "store_rows does not write what load_rows reads";
      }
      const Matrix after(x.elements());
      index_t changed = 0;
      for (std::size_t i = 0; i < after.elements.size(); ++i) {
        changed += after.elements[i] != before.elements[i] ? 1 : 0;
      }
      if (changed > b.rows * b.cols) fault = "store_rows writes more than its block";
      if (fault.empty()) fault = x.damage();
    }
    CHECK(fault == "");
  });
}

TEST_CASE("weight_columns names every column once") {
  for_each_case([&](const ConvGeometry& g, NeuronVectorKind kind) {
    std::vector<index_t> columns = adr::weight_columns(g, kind);
    CHECK(static_cast<index_t>(columns.size()) ==
          adr::vector_map(g, kind, 1).offsets() * adr::vector_length(g, kind));
    std::sort(columns.begin(), columns.end());
    bool once = static_cast<index_t>(columns.size()) == g.columns();
    for (std::size_t k = 0; k < columns.size(); ++k) {
      once = once && columns[k] == static_cast<index_t>(k);
    }
    CHECK(once);
  });
}

TEST_CASE("vector_map tells who reads what") {
  ConvGeometry g;
  g.in_channels = 4;
  g.in_height = 9;
  g.in_width = 12;
  g.kernel_height = 3;
  g.kernel_width = 2;
  g.stride_height = 2;
  g.stride_width = 3;
  g.pad_top = 1;
  g.pad_left = 2;
  g.dilation_height = 2;
  const VectorMap patch = adr::vector_map(g, NeuronVectorKind::patch, 3);
  CHECK(patch.is_identity());
  CHECK(patch.vectors() == g.rows(3));
  const VectorMap strip = adr::vector_map(g, NeuronVectorKind::strip, 3);
  CHECK(strip.vectors() == 3 * g.in_height * g.out_width());
  CHECK(strip.offsets() == 3);
  CHECK(strip.grid_y(1, 2) == 5);
  CHECK(strip.grid_x(4, 0) == 4);
  const VectorMap pixel = adr::vector_map(g, NeuronVectorKind::pixel, 3);
  CHECK(pixel.vectors() == 3 * g.in_height * g.in_width);
  CHECK(pixel.offsets() == 6);
  CHECK(pixel.grid_y(1, 2) == 5);
  CHECK(pixel.grid_x(4, 1) == 11);
  CHECK(adr::vector_length(g, NeuronVectorKind::patch) == 24);
  CHECK(adr::vector_length(g, NeuronVectorKind::strip) == 8);
  CHECK(adr::vector_length(g, NeuronVectorKind::pixel) == 4);
}

TEST_CASE("resolve takes strips for few channels and leaves other kinds alone") {
  ConvGeometry g;
  g.set_kernel(3);
  g.in_channels = 7;
  CHECK(adr::resolve(NeuronVectorKind::automatic, g) == NeuronVectorKind::strip);
  g.in_channels = 8;
  CHECK(adr::resolve(NeuronVectorKind::automatic, g) == NeuronVectorKind::pixel);
  g.groups = 2;
  CHECK(adr::resolve(NeuronVectorKind::automatic, g) == NeuronVectorKind::strip);
  g.kernel_width = 1;
  CHECK(adr::resolve(NeuronVectorKind::automatic, g) == NeuronVectorKind::pixel);
  for (const NeuronVectorKind kind : k_kinds) CHECK(adr::resolve(kind, g) == kind);
}

TEST_CASE("NeuronVectors of no images has no vectors") {
  ConvGeometry g;
  g.set_kernel(1);
  const NeuronVectors<const float> vectors(
      g, TensorView<const float>(nullptr, 0, 1, 1, 1, g.layout), 0, NeuronVectorKind::pixel);
  CHECK(vectors.map().vectors() == 0);
  vectors.load_columns(0, 0, MatrixView<float>(nullptr, 1, 0));
}
