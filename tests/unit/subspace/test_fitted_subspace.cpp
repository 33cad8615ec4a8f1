// Subspaces fitted to neuron vectors, and coordinates in them, against their definition in double
// precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "adr/core/state_archive.hpp"
#include "adr/core/state_file.hpp"
#include "adr/reference/matrix.hpp"
#include "adr/reference/products.hpp"
#include "adr/subspace/fitted_subspace.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"
#include "support/tolerance.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::Context;
using adr::FittedSubspace;
using adr::index_t;
using adr::Layout;
using adr::MatrixVectors;
using adr::MatrixView;
using adr::SubspaceCoordinates;
using adr::SubspaceShape;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::GuardedBuffer;

const MatrixView<const float> k_no_gram;

SubspaceShape shape(index_t length, index_t count, double error = 0) {
  SubspaceShape s;
  s.length = length;
  s.kept = {count, error};
  return s;
}

/// Vectors of `rank` directions of falling strength around a mean, and a little noise.
template <class T>
void fill_low_rank(Data& data, index_t rank, double noise, const MatrixView<T>& vectors) {
  const std::vector<double> mean = data.normals<double>(vectors.cols);
  const std::vector<double> axes = data.normals<double>(rank * vectors.cols);
  for (index_t v = 0; v < vectors.rows; ++v) {
    std::vector<double> x = mean;
    for (index_t r = 0; r < rank; ++r) {
      const double z = 3 * data.normal<double>() / static_cast<double>(r + 1);
      for (index_t e = 0; e < vectors.cols; ++e) {
        x[static_cast<std::size_t>(e)] += z * axes[static_cast<std::size_t>(r * vectors.cols + e)];
      }
    }
    for (index_t e = 0; e < vectors.cols; ++e) {
      vectors(v, e) =
          static_cast<T>(x[static_cast<std::size_t>(e)] + noise * data.normal<double>());
    }
  }
}

/// The coordinates of any number of threads, which must be the same to the last bit.
template <class Vectors>
bool project(const FittedSubspace& subspace, const Vectors& vectors,
             SubspaceCoordinates& coordinates) {
  bool finite = false;
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    INFO(threads << " threads");
    coordinates.resize(vectors.map().vectors(), subspace.basis().coordinates);
    std::fill_n(coordinates.values.data(), coordinates.values.size(), 17.0F);
    Context context(threads);
    const std::size_t bytes = subspace.project_workspace_bytes(threads);
    context.workspace().reserve(bytes);
    finite = subspace.project(vectors, coordinates, context);
    // Rows of a matrix are read where they lie.
    bool in_place = false;
    if constexpr (adr::detail::k_may_have_rows<Vectors>) in_place = vectors.has_rows();
    CHECK(context.workspace().peak_bytes() == (in_place ? 0 : bytes));
    const std::vector<float> values(coordinates.values.data(),
                                    coordinates.values.data() + coordinates.values.size());
    if (threads == 1) first = values;
    CHECK((values.empty() ||
           std::memcmp(values.data(), first.data(), values.size() * sizeof(float)) == 0));
  }
  return finite;
}

/// What coordinates stand for.
Matrix decoded(const FittedSubspace& subspace, const SubspaceCoordinates& coordinates) {
  return adr::reference::multiply(Matrix(coordinates.matrix()), Matrix(subspace.basis().matrix()));
}

struct Energy {
  double total = 0;
  double within = 0;
};
template <class T>
Energy energy(const MatrixView<T>& vectors, const Matrix& stand_ins) {
  Energy sums;
  for (index_t v = 0; v < vectors.rows; ++v) {
    for (index_t e = 0; e < vectors.cols; ++e) {
      const auto x = static_cast<double>(vectors(v, e));
      sums.total += x * x;
      sums.within += (x - stand_ins(v, e)) * (x - stand_ins(v, e));
    }
  }
  return sums;
}

/// Empty where the coordinates are 1 and encode^T (x - mean), else what is wrong.
template <class T>
std::string coordinate_fault(const FittedSubspace& subspace, const MatrixView<T>& vectors,
                             const SubspaceCoordinates& coordinates) {
  const adr::PrincipalAxes& axes = subspace.axes();
  adr_test::Comparison comparison;
  for (index_t v = 0; v < vectors.rows; ++v) {
    comparison.expect(double{coordinates.matrix()(v, 0)}, 1.0, 0.0);
    for (index_t d = 0; d < axes.kept; ++d) {
      double value = 0;
      double magnitude = 0;
      for (index_t e = 0; e < axes.length; ++e) {
        const double axis{axes.encode[e * axes.encode_stride + d]};
        const auto x = static_cast<double>(vectors(v, e));
        value += axis * (x - double{axes.mean[e]});
        magnitude += std::abs(axis) * (std::abs(x) + std::abs(double{axes.mean[e]}));
      }
      comparison.expect(double{coordinates.matrix()(v, d + 1)}, value,
                        adr_test::sum_tolerance<float>(axes.length + 2, magnitude));
    }
  }
  return comparison.fault();
}

}  // namespace

TEMPLATE_TEST_CASE("coordinates are those of the definition", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t count : {1, 2, 63, 64, 65, 700}) {
    for (const index_t length : {1, 5, 64, 131}) {
      for (const index_t kept : {index_t{1}, index_t{7}, length}) {
        INFO(count << " vectors of " << length << ", kept " << kept);
        GuardedBuffer<T> x(count, length, length + 3, adr_test::Start::misaligned);
        data.fill_normal(x.view());
        const MatrixVectors<const T> vectors(static_cast<const GuardedBuffer<T>&>(x).view());
        FittedSubspace subspace(shape(length, kept));
        CHECK_FALSE(subspace.fitted());
        REQUIRE(subspace.fit(vectors, k_no_gram));
        CHECK(subspace.fitted());
        CHECK(subspace.kept() == std::min(kept, length));
        SubspaceCoordinates coordinates;
        CHECK(project(subspace, vectors, coordinates));
        CHECK(coordinate_fault(subspace, x.view(), coordinates) == "");
      }
    }
  }
}

TEST_CASE("coordinates are those of the vectors of images of either layout") {
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const index_t group : {0, 1}) {
      for (const auto kind : {adr::NeuronVectorKind::pixel, adr::NeuronVectorKind::strip,
                              adr::NeuronVectorKind::patch}) {
        adr::ConvGeometry g;
        g.layout = layout;
        g.groups = 2;
        g.in_channels = 10;
        g.out_channels = 4;
        g.in_height = 7;
        g.in_width = 6;
        g.set_kernel(3);
        g.set_padding(1);
        INFO(adr_test::Shown{g} << ", group " << group << ", kind " << static_cast<int>(kind));
        adr_test::GuardedImages<float> images(g, 3, 4);
        data.fill_normal(images.elements());
        const adr::NeuronVectors<const float> vectors(g, images.view(), group, kind);
        GuardedBuffer<float> x(vectors.map().vectors(), vectors.length(), vectors.length());
        vectors.load_rows(0, 0, x.view());
        FittedSubspace subspace(shape(vectors.length(), 4));
        REQUIRE(subspace.fit(vectors, k_no_gram));
        SubspaceCoordinates coordinates;
        CHECK(project(subspace, vectors, coordinates));
        CHECK(coordinate_fault(subspace, x.view(), coordinates) == "");
        CHECK(images.damage() == "");
      }
    }
  }
}

TEST_CASE("what is measured of all vectors is the true error") {
  Data data;
  INFO(data);
  for (const index_t count : {1, 15, 16, 17, 37, 64, 100, 240, 256}) {
    for (const index_t kept : {1, 3, 9}) {
      INFO(count << " vectors, kept " << kept);
      GuardedBuffer<float> x(count, 20, 20);
      fill_low_rank(data, 12, 0.1, x.view());
      const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
      FittedSubspace subspace(shape(20, kept));
      REQUIRE(subspace.fit(vectors, k_no_gram));
      SubspaceCoordinates coordinates;
      REQUIRE(project(subspace, vectors, coordinates));
      const Energy exact = energy(x.view(), decoded(subspace, coordinates));
      const adr::SampledEnergy measured = subspace.measure(vectors);
      const double tolerance = 1e-5 * exact.total;
      CHECK_THAT(measured.total, Catch::Matchers::WithinAbs(exact.total, tolerance));
      CHECK_THAT(measured.within_clusters, Catch::Matchers::WithinAbs(exact.within, tolerance));
      // The fit has seen the same vectors, and without a metric its own estimate is this error.
      const double error = std::sqrt(exact.within / exact.total);
      CHECK_THAT(subspace.fit_error(), Catch::Matchers::WithinAbs(error, 2e-3));
      CHECK_THAT(subspace.axes().left_out, Catch::Matchers::WithinAbs(error, 2e-3));
      if (count >= 240) CHECK(error > 0.05);
    }
  }
}

TEST_CASE("a sample stands for the whole batch") {
  Data data;
  INFO(data);
  GuardedBuffer<float> x(5003, 6, 6);
  fill_low_rank(data, 4, 0.5, x.view());
  const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
  FittedSubspace subspace(shape(6, 2));
  REQUIRE(subspace.fit(vectors, k_no_gram));
  SubspaceCoordinates coordinates;
  REQUIRE(project(subspace, vectors, coordinates));
  const Energy exact = energy(x.view(), decoded(subspace, coordinates));
  const adr::SampledEnergy measured = subspace.measure(vectors);
  CHECK_THAT(measured.total, Catch::Matchers::WithinRel(exact.total, 0.2));
  CHECK_THAT(measured.within_clusters, Catch::Matchers::WithinRel(exact.within, 0.2));
}

TEST_CASE("as many coordinates are kept as are asked for or needed") {
  Data data;
  INFO(data);
  GuardedBuffer<float> x(900, 24, 24);
  fill_low_rank(data, 10, 0.02, x.view());
  const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
  index_t previous = 0;
  for (const double error : {0.5, 0.2, 0.05, 0.01}) {
    INFO("error " << error);
    FittedSubspace enough(shape(24, 0, error));
    REQUIRE(enough.fit(vectors, k_no_gram));
    CHECK(enough.kept() >= previous);
    CHECK(enough.axes().left_out <= error);
    CHECK(enough.fit_error() <= error * 1.001);
    previous = enough.kept();
    if (enough.kept() == 1) continue;
    FittedSubspace one_less(shape(24, enough.kept() - 1));
    REQUIRE(one_less.fit(vectors, k_no_gram));
    CHECK(one_less.axes().left_out > error);
  }
  CHECK(previous > 4);
  FittedSubspace all(shape(24, 1000));
  REQUIRE(all.fit(vectors, k_no_gram));
  CHECK(all.kept() == 24);
  CHECK(all.fit_error() < 1e-5);
}

TEST_CASE("directions count by what they do to the output") {
  Data data;
  INFO(data);
  GuardedBuffer<float> x(500, 3, 3);
  data.fill_normal(x.view());
  for (index_t v = 0; v < 500; ++v) x(v, 0) *= 10;  // varies most, and no weight reads it
  const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
  const std::vector<float> gram = {0, 0, 0, 0, 1, 0, 0, 0, 100};
  FittedSubspace weighted(shape(3, 1));
  REQUIRE(weighted.fit(vectors, {gram.data(), 3, 3}));
  FittedSubspace plain(shape(3, 1));
  REQUIRE(plain.fit(vectors, k_no_gram));
  const auto axis = [](const FittedSubspace& s, index_t e) {
    return std::abs(s.basis().matrix()(1, e));
  };
  CHECK(axis(weighted, 2) > 10 * axis(weighted, 1));
  CHECK(axis(weighted, 2) > axis(weighted, 0));
  CHECK(axis(plain, 0) > 10 * axis(plain, 2));
  CHECK(weighted.axes().left_out < 0.2);
  CHECK(weighted.fit_error() > 0.9);
}

TEST_CASE("axes about zero take zeros to coordinates of zero, exactly") {
  Data data;
  INFO(data);
  GuardedBuffer<float> x(500, 20, 20);
  fill_low_rank(data, 12, 0.1, x.view());
  for (index_t i = 0; i < 500; ++i) {
    for (index_t e = 0; e < 20; ++e) x(i, e) += 3;  // far from zero
  }
  std::fill_n(x.view().row(17), 20, 0.0F);
  const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
  SubspaceShape about_zero = shape(20, 13);
  about_zero.origin = adr::AxesOrigin::zero;
  FittedSubspace subspace(about_zero);
  REQUIRE(subspace.fit(vectors, k_no_gram));
  SubspaceCoordinates coordinates;
  REQUIRE(project(subspace, vectors, coordinates));
  for (index_t k = 1; k < 14; ++k) CHECK(coordinates.matrix()(17, k) == 0);
  for (index_t e = 0; e < 20; ++e) CHECK(subspace.axes().mean[e] == 0);
  // The mean takes one more axis, and the rank is 13 then.
  const Energy left = energy(x.view(), decoded(subspace, coordinates));
  CHECK(std::sqrt(left.within / left.total) < 0.05);
}

TEST_CASE("vectors that are not finite are seen and are not fitted to") {
  Data data;
  INFO(data);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  GuardedBuffer<float> x(300, 70, 70);
  data.fill_normal(x.view());
  const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
  FittedSubspace subspace(shape(70, 3));
  REQUIRE(subspace.fit(vectors, k_no_gram));
  SubspaceCoordinates before;
  CHECK(project(subspace, vectors, before));
  for (const float bad : {nan, infinity, -infinity}) {
    for (const index_t v : {0, 63, 299}) {
      for (const index_t e : {0, 69}) {
        INFO(bad << " in element " << e << " of vector " << v);
        const float good = x(v, e);
        x(v, e) = bad;
        SubspaceCoordinates coordinates;
        CHECK_FALSE(project(subspace, vectors, coordinates));
        bool others_stay = true;
        for (index_t other = 0; other < 300; ++other) {
          if (other == v) continue;
          for (index_t k = 0; k < 4; ++k) {
            others_stay =
                others_stay && coordinates.matrix()(other, k) == before.matrix()(other, k);
          }
        }
        CHECK(others_stay);
        FittedSubspace without(shape(70, 3));
        CHECK(without.fit(vectors, k_no_gram));
        CHECK(std::isfinite(without.fit_error()));
        CHECK(std::isfinite(without.axes().variances[0]));
        x(v, e) = good;
      }
    }
  }
  const std::uint64_t version = subspace.version();
  for (index_t v = 0; v < 300; ++v) x(v, v % 70) = nan;
  CHECK_FALSE(subspace.fit(vectors, k_no_gram));
  CHECK(subspace.version() == version);
  CHECK(subspace.fitted());
  const MatrixVectors<const float> none(MatrixView<const float>(x.data(), 0, 70));
  CHECK_FALSE(subspace.fit(none, k_no_gram));
  SubspaceCoordinates empty;
  CHECK(project(subspace, none, empty));
  CHECK(subspace.measure(none).total == 0);
}

TEST_CASE("vectors and metrics of any scale are fitted to alike") {
  Data data;
  INFO(data);
  GuardedBuffer<float> x(300, 8, 8);
  data.fill_normal(x.view());
  const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
  FittedSubspace subspace(shape(8, 3));
  REQUIRE(subspace.fit(vectors, k_no_gram));
  const double error = subspace.fit_error();
  for (index_t v = 0; v < 300; ++v) {
    for (index_t e = 0; e < 8; ++e) x(v, e) *= 1e13F;
  }
  GuardedBuffer<float> gram(8, 8, 8);
  for (index_t i = 0; i < 8; ++i) {
    for (index_t k = 0; k < 8; ++k) gram(i, k) = i == k ? 1e30F : 0.0F;
  }
  REQUIRE(subspace.fit(vectors, static_cast<const GuardedBuffer<float>&>(gram).view()));
  CHECK(std::abs(subspace.fit_error() - error) < 1e-5 * error);
}

TEST_CASE("fits are counted, repeatable, and can be saved and loaded") {
  Data data;
  INFO(data);
  GuardedBuffer<float> x(20000, 9, 9);
  fill_low_rank(data, 5, 0.1, x.view());
  const MatrixVectors<const float> vectors(static_cast<const GuardedBuffer<float>&>(x).view());
  FittedSubspace subspace(shape(9, 4));
  FittedSubspace again(shape(9, 4));
  CHECK(subspace.version() == 0);
  REQUIRE(subspace.fit(vectors, k_no_gram));
  CHECK(subspace.version() == 1);
  REQUIRE(again.fit(vectors, k_no_gram));
  SubspaceCoordinates a;
  SubspaceCoordinates b;
  project(subspace, vectors, a);
  project(again, vectors, b);
  const auto size = static_cast<std::size_t>(a.values.size()) * sizeof(float);
  CHECK(std::memcmp(a.values.data(), b.values.data(), size) == 0);

  SubspaceShape other_seed = shape(9, 4);
  other_seed.seed = 2;
  FittedSubspace other(other_seed);
  REQUIRE(other.fit(vectors, k_no_gram));
  project(other, vectors, b);
  CHECK(std::memcmp(a.values.data(), b.values.data(), size) != 0);

  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("state");
  adr::StateWriter writer;
  adr::StateArchive saver(writer);
  again.exchange(saver);
  writer.save(path);
  FittedSubspace loaded(other_seed);
  adr::StateReader reader(path);
  adr::StateArchive loader(reader);
  loaded.exchange(loader);
  CHECK_NOTHROW(reader.require_end());
  CHECK(loaded.version() == 1);
  CHECK(loaded.fit_error() == again.fit_error());
  CHECK(loaded.axes().left_out == again.axes().left_out);
  project(loaded, vectors, b);
  CHECK(std::memcmp(a.values.data(), b.values.data(), size) == 0);
  // What is measured needs the saved axes alone; the seed has other vectors sampled.
  CHECK_THAT(loaded.measure(vectors).within_clusters,
             Catch::Matchers::WithinRel(subspace.measure(vectors).within_clusters, 0.2));
}

TEST_CASE("a subspace that was never fitted is loaded as one, and one of another length is none") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("state");
  const auto save = [&](FittedSubspace& subspace) {
    adr::StateWriter writer;
    adr::StateArchive saver(writer);
    subspace.exchange(saver);
    writer.save(path);
  };
  const auto load = [&](FittedSubspace& subspace) {
    adr::StateReader reader(path);
    adr::StateArchive loader(reader);
    subspace.exchange(loader);
    reader.require_end();
  };
  FittedSubspace never_fitted(shape(9, 4));
  save(never_fitted);
  FittedSubspace loaded(shape(9, 4));
  load(loaded);
  CHECK_FALSE(loaded.fitted());
  Data data;
  INFO(data);
  GuardedBuffer<float> x(100, 9, 9);
  fill_low_rank(data, 5, 0.1, x.view());
  FittedSubspace fitted(shape(9, 4));
  REQUIRE(fitted.fit(MatrixVectors<const float>(static_cast<const GuardedBuffer<float>&>(x).view()),
                     k_no_gram));
  save(fitted);
  FittedSubspace longer(shape(10, 4));
  CHECK_THAT(adr_test::message_of<std::runtime_error>([&] { load(longer); }),
             adr_test::contains("elements of a vector must be between 10 and 10, got 9"));
}
