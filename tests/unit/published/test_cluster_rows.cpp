#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "adr/core/matrix_rows.hpp"
#include "adr/published/cluster_rows.hpp"
#include "adr/reference/clustering.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/unfold/unfolded_rows.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::Clustering;
using adr::Context;
using adr::index_t;
using adr::MatrixRows;
using adr::MatrixView;
using adr::RowClusterer;
using adr::SignHash;
using adr::SliceClusters;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::sum_tolerance;
using adr_test::test_seed;

/// Clusters an input with scratch memory of exactly the stated size.
template <class T, class Input>
Clustering<T> cluster(const Input& input, const SignHash<T>& hash, int threads = 1) {
  Context context(threads);
  const std::size_t bytes = RowClusterer<T>::workspace_bytes(hash, threads);
  context.workspace().reserve(bytes);
  RowClusterer<T> clusterer;
  Clustering<T> result;
  clusterer.cluster(input, hash, context, result);
  CHECK(context.workspace().peak_bytes() == bytes);
  return result;
}

template <class T>
Clustering<T> cluster(const GuardedBuffer<T>& x, const SignHash<T>& hash, int threads = 1) {
  return cluster<T>(MatrixRows<const T>(x.view()), hash, threads);
}

template <class T>
bool equal(const adr::AlignedBuffer<T>& a, const adr::AlignedBuffer<T>& b) {
  return a.size() == b.size() &&
         (a.size() == 0 ||
          std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0);
}

/// Empty when the clusterings are the same bit for bit, else what differs.
template <class T>
std::string difference(const Clustering<T>& a, const Clustering<T>& b) {
  if (a.rows != b.rows || a.columns != b.columns || a.slices.size() != b.slices.size()) {
    return "shape";
  }
  for (std::size_t s = 0; s < a.slices.size(); ++s) {
    const SliceClusters<T>& p = a.slices[s];
    const SliceClusters<T>& q = b.slices[s];
    const std::string where = " of slice " + std::to_string(s);
    if (p.first_column != q.first_column || p.length != q.length) return "columns" + where;
    if (p.cluster_count != q.cluster_count) return "cluster_count" + where;
    if (!equal(p.ids, q.ids)) return "ids" + where;
    if (!equal(p.counts, q.counts)) return "counts" + where;
    if (!equal(p.signatures, q.signatures)) return "signatures" + where;
    if (!equal(p.is_apart, q.is_apart)) return "is_apart" + where;
    if (!equal(p.centroids, q.centroids)) return "centroids" + where;
    if (p.non_finite_cluster != q.non_finite_cluster) return "non_finite_cluster" + where;
    if (p.total_energy != q.total_energy) return "total_energy" + where;
    if (p.within_cluster_energy != q.within_cluster_energy) return "within_cluster_energy" + where;
  }
  return {};
}

/// The tolerances of the energies of a slice. Members are added up in T, and so are the squares of
/// a block of 128 rows.
struct EnergyTolerance {
  double total;
  double within;
};

template <class T>
EnergyTolerance energy_tolerance(const adr::reference::Matrix& x,
                                 const adr::reference::Slice& slice,
                                 const std::vector<index_t>& ids) {
  const double total = adr::reference::total_energy(x, slice);
  const std::vector<index_t> members = adr::reference::counts(ids);
  const adr::reference::Matrix centroids = adr::reference::centroids(x, slice, ids);
  adr::reference::Matrix sizes = x;
  for (double& element : sizes.elements) element = std::abs(element);
  const adr::reference::Matrix mean_sizes = adr::reference::centroids(sizes, slice, ids);
  EnergyTolerance tolerance{sum_tolerance<T>(128 * slice.length, total), 0};
  tolerance.within = tolerance.total;
  for (index_t c = 0; c < centroids.rows; ++c) {
    const index_t count = members[static_cast<std::size_t>(c)];
    for (index_t l = 0; l < slice.length; ++l) {
      const double size = std::abs(centroids(c, l));
      tolerance.within +=
          static_cast<double>(count) * (2 * size * sum_tolerance<T>(count, mean_sizes(c, l)) +
                                        sum_tolerance<T>(slice.length, size * size));
    }
  }
  return tolerance;
}

/// Compares a clustering of finite rows with the definition. Ids must be those of the signatures
/// that the hash gives, in the order of first appearance; sums and energies those of the ids.
template <class T>
void check_against_reference(const Clustering<T>& result, const GuardedBuffer<T>& x,
                             const SignHash<T>& hash) {
  const MatrixView<const T> view = x.view();
  const adr::reference::Matrix reference(view);
  const auto slices = adr::reference::slices(view.cols, hash.slice_length(0));
  REQUIRE(result.slices.size() == slices.size());
  CHECK(result.rows == view.rows);
  CHECK(result.columns == view.cols);
  CHECK(result.non_finite_vectors() == 0);
  index_t total_clusters = 0;
  for (std::size_t s = 0; s < slices.size(); ++s) {
    INFO("slice " << s);
    const SliceClusters<T>& clusters = result.slices[s];
    const adr::reference::Slice& slice = slices[s];
    CHECK(clusters.first_column == slice.first);
    CHECK(clusters.length == slice.length);
    CHECK(clusters.non_finite_cluster == -1);
    total_clusters += clusters.cluster_count;

    std::vector<std::uint64_t> signatures(static_cast<std::size_t>(view.rows));
    hash.signatures(static_cast<index_t>(s), view.block(0, slice.first, view.rows, slice.length),
                    signatures.data());
    const std::vector<index_t> ids = adr::reference::number_by_first_appearance(signatures);
    REQUIRE(clusters.ids.size() == view.rows);
    CHECK(std::vector<index_t>(clusters.ids.data(), clusters.ids.data() + view.rows) == ids);
    REQUIRE(clusters.cluster_count == adr::reference::cluster_count(ids));
    REQUIRE(clusters.counts.size() == clusters.cluster_count);
    REQUIRE(clusters.signatures.size() == clusters.cluster_count);
    const std::vector<index_t> counts = adr::reference::counts(ids);
    CHECK(std::vector<index_t>(clusters.counts.data(),
                               clusters.counts.data() + clusters.cluster_count) == counts);
    index_t members = 0;
    for (const index_t count : counts) members += count;
    CHECK(members == view.rows);
    bool signatures_agree = true;
    for (index_t n = 0; n < view.rows; ++n) {
      const auto row = static_cast<std::size_t>(n);
      signatures_agree = signatures_agree && clusters.signatures[ids[row]] == signatures[row];
    }
    CHECK(signatures_agree);

    const adr::reference::Matrix centroids = adr::reference::centroids(reference, slice, ids);
    adr::reference::Matrix sizes = reference;
    for (double& element : sizes.elements) element = std::abs(element);
    const adr::reference::Matrix mean_sizes = adr::reference::centroids(sizes, slice, ids);
    const MatrixView<const T> found = clusters.centroid_matrix();
    Comparison comparison;
    bool padding_is_zero = true;
    for (index_t c = 0; c < found.rows; ++c) {
      for (index_t l = 0; l < slice.length; ++l) {
        comparison.expect(static_cast<double>(found(c, l)), centroids(c, l),
                          sum_tolerance<T>(counts[static_cast<std::size_t>(c)], mean_sizes(c, l)));
      }
      for (index_t l = slice.length; l < clusters.centroid_stride; ++l) {
        padding_is_zero = padding_is_zero && found.row(c)[l] == T(0);
      }
    }
    CHECK(comparison.fault() == "");
    CHECK(padding_is_zero);
    CHECK(clusters.centroid_stride >= slice.length);
    CHECK(clusters.centroid_stride % adr::simd::k_row_padding == 0);

    Comparison energies;
    const auto tolerance = energy_tolerance<T>(reference, slice, ids);
    energies.expect(clusters.total_energy, adr::reference::total_energy(reference, slice),
                    tolerance.total);
    energies.expect(clusters.within_cluster_energy,
                    adr::reference::within_cluster_energy(reference, slice, ids, centroids),
                    tolerance.within);
    CHECK(energies.fault() == "");
    CHECK(clusters.within_cluster_energy >= 0);
  }
  CHECK(result.total_clusters() == total_clusters);
}

/// A kind of neuron vector that is not finite or not usable.
enum class Bad { nan, infinity, minus_infinity, overflow };
constexpr Bad k_bad_kinds[] = {Bad::nan, Bad::infinity, Bad::minus_infinity, Bad::overflow};

/// Spoils the first slice of a row.
template <class T>
void spoil(Bad kind, const SignHash<T>& hash, GuardedBuffer<T>& x, index_t row) {
  switch (kind) {
    case Bad::nan:
      x(row, 1) = std::numeric_limits<T>::quiet_NaN();
      return;
    case Bad::infinity:
      x(row, 1) = std::numeric_limits<T>::infinity();
      return;
    case Bad::minus_infinity:
      x(row, 1) = -std::numeric_limits<T>::infinity();
      return;
    case Bad::overflow:
      for (index_t l = 0; l < hash.slice_length(0); ++l) {
        x(row, l) = hash.plane(0, 0, l) > 0 ? std::numeric_limits<T>::max()
                                            : -std::numeric_limits<T>::max();
      }
      return;
  }
}

/// Compares the clusters of an input with some spoiled rows with those of the input without them.
template <class T>
void check_isolation(const SliceClusters<T>& spoiled, const SliceClusters<T>& clean,
                     const std::vector<bool>& is_bad) {
  index_t bad_count = 0;
  for (const bool bad : is_bad) bad_count += bad ? 1 : 0;
  const std::int32_t own = spoiled.non_finite_cluster;
  REQUIRE(own >= 0);
  REQUIRE(spoiled.cluster_count == clean.cluster_count + 1);
  CHECK(spoiled.counts[own] == bad_count);
  CHECK(spoiled.signatures[own] == 0);

  bool ids_agree = true;
  bool in_order_of_first_member = true;
  index_t clean_row = 0;
  std::int32_t next = 0;
  for (index_t n = 0; n < spoiled.ids.size(); ++n) {
    const std::int32_t id = spoiled.ids[n];
    if (is_bad[static_cast<std::size_t>(n)]) {
      ids_agree = ids_agree && id == own;
    } else {
      const std::int32_t expected = clean.ids[clean_row++];
      ids_agree = ids_agree && id == expected + (expected >= own ? 1 : 0);
    }
    in_order_of_first_member = in_order_of_first_member && id <= next;
    if (id == next) ++next;
  }
  CHECK(ids_agree);
  CHECK(in_order_of_first_member);

  bool others_are_clean = true;
  for (index_t c = 0; c < clean.cluster_count; ++c) {
    const index_t place = c >= own ? c + 1 : c;
    others_are_clean = others_are_clean && spoiled.counts[place] == clean.counts[c] &&
                       spoiled.signatures[place] == clean.signatures[c];
    for (index_t l = 0; l < clean.length; ++l) {
      others_are_clean =
          others_are_clean && spoiled.centroid_matrix()(place, l) == clean.centroid_matrix()(c, l);
    }
  }
  CHECK(others_are_clean);
}

}  // namespace

TEMPLATE_TEST_CASE("RowClusterer gives the clusters of the definition", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const struct {
    index_t columns, length;
    int planes;
    bool shared, centred;
  } settings[] = {{10, 3, 4, true, false},   {31, 16, 6, false, false}, {25, 25, 10, true, true},
                  {33, 17, 15, false, true}, {7, 7, 1, true, false},    {5, 1, 3, false, false},
                  {40, 20, 64, true, false}};
  // Blocks have 128 rows.
  for (const index_t rows : {0, 1, 2, 3, 31, 127, 128, 129, 300}) {
    for (const auto& setting : settings) {
      INFO(rows << " x " << setting.columns << ", L = " << setting.length
                << ", H = " << setting.planes);
      SignHash<T> hash(setting.columns, setting.length, setting.planes, setting.shared,
                       test_seed() + 3);
      if (setting.centred) {
        const auto center = data.normals<T>(setting.columns);
        hash.set_center({center.data(), setting.columns});
      }
      GuardedBuffer<T> x(rows, setting.columns, setting.columns + 3, adr_test::Start::misaligned);
      data.fill_normal(x.view());
      check_against_reference(cluster(x, hash), x, hash);
      CHECK(x.damage() == "");
    }
  }
}

TEMPLATE_TEST_CASE("RowClusterer puts identical rows into one cluster without energy within", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const SignHash<T> hash(20, 9, 12, true, 5);
  for (const index_t rows : {1, 2, 13, 128, 300}) {
    INFO(rows << " rows");
    GuardedBuffer<T> x(rows, 20, 20);
    const auto row = data.normals<T>(20);
    for (index_t n = 0; n < rows; ++n) {
      for (index_t j = 0; j < 20; ++j) x(n, j) = row[static_cast<std::size_t>(j)];
    }
    const auto result = cluster(x, hash);
    check_against_reference(result, x, hash);
    CHECK(result.total_clusters() == 3);
  }
}

TEMPLATE_TEST_CASE("RowClusterer keeps rows that are all different as they are", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  // 64 planes in 20 dimensions: two of 150 random rows agree on all with probability 1e-15.
  const SignHash<T> hash(40, 20, 64, false, 6);
  GuardedBuffer<T> x(150, 40, 40);
  data.fill_normal(x.view());
  const auto result = cluster(x, hash);
  CHECK(result.total_clusters() == 300);
  for (const auto& slice : result.slices) {
    bool same = true;
    for (index_t n = 0; n < 150; ++n) {
      same = same && slice.ids[n] == n && slice.counts[n] == 1;
      for (index_t l = 0; l < slice.length; ++l) {
        same = same && slice.centroid_matrix()(n, l) == x(n, slice.first_column + l);
      }
    }
    CHECK(same);
  }
}

TEMPLATE_TEST_CASE("RowClusterer puts zero rows into the cluster of signature 0", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const SignHash<T> hash(8, 8, 20, true, 7);
  GuardedBuffer<T> x(30, 8, 8);
  data.fill_normal(x.view());
  for (const index_t n : {4, 5, 29}) {
    for (index_t j = 0; j < 8; ++j) x(n, j) = T(0);
  }
  const auto result = cluster(x, hash);
  check_against_reference(result, x, hash);
  const auto& slice = result.slices[0];
  CHECK(slice.ids[4] == slice.ids[5]);
  CHECK(slice.ids[4] == slice.ids[29]);
  CHECK(slice.signatures[slice.ids[4]] == 0);
}

TEMPLATE_TEST_CASE("RowClusterer isolates rows that are not finite wherever they stand", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_clean = 200;
  // Few planes make large clusters that could be contaminated; 20 go through the hashed map.
  for (const int planes : {4, 20}) {
    const SignHash<T> hash(22, 15, planes, true, 8);
    GuardedBuffer<T> clean(k_clean, 22, 22);
    data.fill_normal(clean.view());
    const auto expected = cluster(clean, hash);
    const std::vector<index_t> places_of_bad_rows[] = {
        {0}, {1}, {100}, {k_clean}, {0, 64, 200, 202}, {127, 128, 129, 130, 131, 132}};
    for (const auto& places : places_of_bad_rows) {
      for (const Bad kind : k_bad_kinds) {
        INFO(planes << " planes, first bad row " << places.front() << ", kind "
                    << static_cast<int>(kind));
        const index_t rows = k_clean + static_cast<index_t>(places.size());
        std::vector<bool> is_bad(static_cast<std::size_t>(rows), false);
        for (const index_t place : places) is_bad[static_cast<std::size_t>(place)] = true;
        GuardedBuffer<T> x(rows, 22, 22);
        index_t clean_row = 0;
        for (index_t n = 0; n < rows; ++n) {
          const bool bad = is_bad[static_cast<std::size_t>(n)];
          for (index_t j = 0; j < 22; ++j) x(n, j) = bad ? T(1) : clean(clean_row, j);
          if (bad) {
            spoil(kind, hash, x, n);
          } else {
            ++clean_row;
          }
        }
        const auto result = cluster(x, hash);
        check_isolation(result.slices[0], expected.slices[0], is_bad);
        CHECK(result.non_finite_vectors() == static_cast<index_t>(places.size()));
        const auto centroid = result.slices[0].centroid_matrix();
        bool centroid_is_finite = true;
        for (index_t l = 0; l < centroid.cols; ++l) {
          centroid_is_finite =
              centroid_is_finite && std::isfinite(centroid(result.slices[0].non_finite_cluster, l));
        }
        if (kind != Bad::overflow) CHECK_FALSE(centroid_is_finite);

        // The bad rows are finite in the other slice, where they are ordinary.
        CHECK(result.slices[1].non_finite_cluster == -1);
        CHECK(result.slices[1].ids.size() == rows);

        const adr::reference::Matrix reference(static_cast<const GuardedBuffer<T>&>(clean).view());
        const auto& ids = expected.slices[0].ids;
        const auto tolerance = energy_tolerance<T>(
            reference, {0, 15}, std::vector<index_t>(ids.data(), ids.data() + k_clean));
        Comparison energies;
        energies.expect(result.slices[0].total_energy, expected.slices[0].total_energy,
                        tolerance.total);
        energies.expect(result.slices[0].within_cluster_energy,
                        expected.slices[0].within_cluster_energy, tolerance.within);
        CHECK(energies.fault() == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("RowClusterer gives rows that are all not finite one cluster without energy", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  const SignHash<T> hash(6, 6, 4, true, 8);
  for (const index_t rows : {1, 130}) {
    GuardedBuffer<T> x(rows, 6, 6);
    for (index_t n = 0; n < rows; ++n) {
      for (index_t j = 0; j < 6; ++j) x(n, j) = T(1);
      spoil(k_bad_kinds[n % 4], hash, x, n);
    }
    const auto result = cluster(x, hash);
    const auto& slice = result.slices[0];
    CHECK(slice.cluster_count == 1);
    CHECK(slice.non_finite_cluster == 0);
    CHECK(slice.counts[0] == rows);
    CHECK(slice.total_energy == 0);
    CHECK(slice.within_cluster_energy == 0);
  }
}

TEMPLATE_TEST_CASE("RowClusterer gives the same bits on any number of threads", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const int planes : {3, 10, 30}) {
    const SignHash<T> hash(50, 6, planes, false, 9);
    GuardedBuffer<T> x(333, 50, 51);
    data.fill_normal(x.view());
    x(17, 3) = std::numeric_limits<T>::quiet_NaN();
    x(200, 30) = std::numeric_limits<T>::infinity();
    const auto expected = cluster(x, hash);
    // The centroids of these clusters hold NaN, but equal ones: bits are compared.
    for (const int threads : {2, 3, 8}) {
      INFO(planes << " planes, " << threads << " threads");
      CHECK(difference(cluster(x, hash, threads), expected) == "");
    }
  }
}

TEMPLATE_TEST_CASE("RowClusterer reads unfolded images as it reads the unfolded matrix", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const adr::Layout layout : {adr::Layout::nchw, adr::Layout::nhwc}) {
    adr::ConvGeometry g;
    g.layout = layout;
    g.in_channels = 4;
    g.out_channels = 2;
    g.in_height = 9;
    g.in_width = 8;
    g.set_kernel(3);
    g.set_padding(1);
    g.groups = 2;
    adr_test::GuardedImages<T> images(g, 3, 5);
    data.fill_normal(images.elements());
    const SignHash<T> hash(g.columns(), 7, 8, true, 10);
    for (index_t group = 0; group < 2; ++group) {
      const auto reference = adr::reference::im2col(g, images.view(), group);
      GuardedBuffer<T> unfolded(reference.rows, reference.cols, reference.cols);
      for (index_t n = 0; n < reference.rows; ++n) {
        for (index_t j = 0; j < reference.cols; ++j) {
          unfolded(n, j) = static_cast<T>(reference(n, j));
        }
      }
      const adr::UnfoldedRows<const T> input(g, images.view(), group);
      for (const int threads : {1, 3}) {
        CHECK(difference(cluster<T>(input, hash, threads), cluster(unfolded, hash)) == "");
      }
    }
    CHECK(images.damage() == "");
  }
}

TEST_CASE("RowClusterer carries nothing over from one input to the next") {
  Data data;
  INFO(data);
  Context context(2);
  RowClusterer<float> clusterer;
  Clustering<float> result;
  const struct {
    index_t rows, columns, length;
    int planes;
  } inputs[] = {{300, 30, 11, 20}, {40, 10, 3, 5}, {0, 10, 3, 5},
                {200, 30, 11, 20}, {5, 8, 8, 64},  {300, 12, 4, 10}};
  for (const auto& input : inputs) {
    const SignHash<float> hash(input.columns, input.length, input.planes, true, 11);
    GuardedBuffer<float> x(input.rows, input.columns, input.columns);
    data.fill_normal(x.view());
    if (input.rows == 300) x(2, 2) = std::numeric_limits<float>::infinity();
    context.workspace().reserve(RowClusterer<float>::workspace_bytes(hash, 2));
    clusterer.cluster(MatrixRows<float>(x.view()), hash, context, result);
    CHECK(difference(result, cluster(x, hash)) == "");
  }
}

TEST_CASE("RowClusterer measures its stages when it is asked to") {
  Data data;
  INFO(data);
  const SignHash<float> hash(30, 10, 10, true, 12);
  GuardedBuffer<float> x(500, 30, 30);
  data.fill_normal(x.view());
  Context context(2);
  context.workspace().reserve(RowClusterer<float>::workspace_bytes(hash, 2));
  RowClusterer<float> clusterer;
  Clustering<float> result;
  adr::StageTimes times;
  clusterer.cluster(MatrixRows<float>(x.view()), hash, context, result, &times);
  CHECK(times.seconds(adr::Stage::unfold) > 0);
  CHECK(times.seconds(adr::Stage::hash) > 0);
  CHECK(times.seconds(adr::Stage::cluster) > 0);
  CHECK(times.seconds(adr::Stage::gather) == 0);
  CHECK(difference(result, cluster(x, hash)) == "");
}

namespace {

/// An input of 8 columns that fails once the second slice of the third block is read.
struct FailingInput {
  [[nodiscard]] static index_t rows() { return 300; }
  [[nodiscard]] static index_t cols() { return 8; }
  static void load(index_t first_row, index_t first_col, const MatrixView<float>& block) {
    if (first_row >= 256 && first_col >= 4) throw std::runtime_error("no more rows");
    for (index_t i = 0; i < block.rows; ++i) {
      for (index_t j = 0; j < block.cols; ++j) block(i, j) = 1.0f;
    }
  }
};

/// An input that is too large to exist.
struct HugeInput {
  [[nodiscard]] static index_t rows() { return index_t{1} << 31; }
  [[nodiscard]] static index_t cols() { return 8; }
  static void load(index_t, index_t, const MatrixView<float>&) { FAIL("a huge input was read"); }
};

}  // namespace

TEST_CASE("RowClusterer refuses inputs of another shape and leaves the result alone") {
  Data data;
  INFO(data);
  const SignHash<float> hash(8, 4, 4, true, 13);
  GuardedBuffer<float> x(20, 8, 8);
  data.fill_normal(x.view());
  Context context;
  context.workspace().reserve(RowClusterer<float>::workspace_bytes(hash, 1));
  RowClusterer<float> clusterer;
  Clustering<float> result;
  clusterer.cluster(MatrixRows<float>(x.view()), hash, context, result);

  const GuardedBuffer<float> narrow(20, 7, 7);
  CHECK(adr_test::refusal([&] {
          clusterer.cluster(MatrixRows<const float>(narrow.view()), hash, context, result);
        }) == "cluster: the input must have 8 columns, got 7");
  CHECK(adr_test::refusal([&] { clusterer.cluster(HugeInput(), hash, context, result); }) ==
        "cluster: the input must have at most 2147483647 rows, got 2147483648");
  CHECK(difference(result, cluster(x, hash)) == "");
}

TEST_CASE("RowClusterer leaves no half-made clusters behind when an input fails") {
  Data data;
  INFO(data);
  const SignHash<float> hash(8, 4, 4, true, 13);
  GuardedBuffer<float> x(300, 8, 8);
  data.fill_normal(x.view());
  for (const int threads : {1, 2}) {
    Context context(threads);
    context.workspace().reserve(RowClusterer<float>::workspace_bytes(hash, threads));
    RowClusterer<float> clusterer;
    Clustering<float> result;
    clusterer.cluster(MatrixRows<float>(x.view()), hash, context, result);
    CHECK(adr_test::message_of<std::runtime_error>(
              [&] { clusterer.cluster(FailingInput(), hash, context, result); }) == "no more rows");
    CHECK(result.rows == 0);
    // The scratch memory was given back, and the next input is clustered as ever.
    clusterer.cluster(MatrixRows<float>(x.view()), hash, context, result);
    CHECK(difference(result, cluster(x, hash)) == "");
  }
}

TEST_CASE("RowClusterer keeps the digits of centroids of very many rows") {
  // 0.1 is not a binary fraction, so a plain float sum of so many rows drifts by about a per cent.
  constexpr index_t k_rows = 1000000;
  const std::vector<float> x(k_rows, 0.1F);
  const SignHash<float> hash(1, 1, 4, true, 1);
  const Clustering<float> result =
      cluster<float>(MatrixRows<const float>(MatrixView<const float>(x.data(), k_rows, 1)), hash);
  const SliceClusters<float>& slice = result.slices[0];
  REQUIRE(slice.cluster_count == 1);
  CHECK_THAT(slice.centroids[0], Catch::Matchers::WithinRel(0.1F, 5e-5F));
  CHECK(slice.within_cluster_energy < 1e-3 * slice.total_energy);
}

TEST_CASE("RowClusterer measures energies beyond the range of float") {
  const std::vector<float> x{1e25F, 1e25F, -1e25F, 1e25F, 3e25F, 1e25F};
  const SignHash<float> hash(2, 2, 1, true, 1);
  const Clustering<float> result =
      cluster<float>(MatrixRows<const float>(MatrixView<const float>(x.data(), 3, 2)), hash);
  const SliceClusters<float>& slice = result.slices[0];
  CHECK(slice.non_finite_cluster == -1);
  CHECK_THAT(slice.total_energy, Catch::Matchers::WithinRel(1.4e51, 1e-5));
  CHECK(std::isfinite(slice.within_cluster_energy));
}

TEST_CASE("RowClusterer keeps a vector that is far from all others to itself") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 300;
  const SignHash<float> hash(8, 4, 3, true, 5);
  GuardedBuffer<float> x(k_rows, 8, 8);
  data.fill_normal(x.view());
  const Clustering<float> clean = cluster(x, hash);
  for (const float scale : {1e5F, 1e13F, 1e30F}) {
    INFO("times " << scale);
    GuardedBuffer<float> spoiled(k_rows, 8, 8);
    for (index_t i = 0; i < k_rows; ++i) std::copy_n(x.view().row(i), 8, spoiled.view().row(i));
    for (const index_t row : {0, 7, 299}) {
      for (index_t k = 0; k < 4; ++k) spoiled(row, k) *= scale;
    }
    const Clustering<float> found = cluster(spoiled, hash);
    CHECK(equal(found.slices[1].ids, clean.slices[1].ids));
    CHECK(equal(found.slices[1].centroids, clean.slices[1].centroids));
    const SliceClusters<float>& slice = found.slices[0];
    CHECK(slice.non_finite_cluster == -1);
    index_t apart = 0;
    for (index_t c = 0; c < slice.cluster_count; ++c) apart += slice.is_apart[c];
    CHECK(apart == 3);
    for (const index_t row : {0, 7, 299}) {
      const std::int32_t own = slice.ids[row];
      CHECK(slice.is_apart[own] == 1);
      CHECK(slice.counts[own] == 1);
      CHECK(slice.centroid_matrix()(own, 1) == spoiled(row, 1));
    }
    // Nothing of them is in the other means, or in what the clusters say of themselves.
    for (index_t c = 0; c < slice.cluster_count; ++c) {
      if (slice.is_apart[c] != 0) continue;
      for (index_t k = 0; k < 4; ++k) CHECK(std::abs(slice.centroid_matrix()(c, k)) < 10);
    }
    CHECK(slice.total_energy < 4 * 10 * k_rows);
    CHECK(slice.within_cluster_energy > 0.05 * slice.total_energy);
  }
  // Among vectors of zeros, those that are not zero are what is usual.
  GuardedBuffer<float> rare(k_rows, 8, 8);
  for (index_t i = 0; i < k_rows; ++i) std::fill_n(rare.view().row(i), 8, 0.0F);
  for (index_t k = 0; k < 8; ++k) rare(41, k) = 3;
  const Clustering<float> found = cluster(rare, hash);
  for (const auto& slice : found.slices) {
    for (index_t c = 0; c < slice.cluster_count; ++c) CHECK(slice.is_apart[c] == 0);
  }
}
