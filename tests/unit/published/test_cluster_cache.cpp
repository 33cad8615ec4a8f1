// The rules stand numbered at the top of adr/published/cluster_cache.hpp; the tests follow them.
#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "adr/core/matrix_rows.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/state_file.hpp"
#include "adr/published/cluster_cache.hpp"
#include "adr/published/cluster_rows.hpp"
#include "adr/reference/clustering.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"
#include "support/tolerance.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::ClusterCache;
using adr::index_t;
using adr::SliceClusters;
using adr_test::Data;

constexpr index_t k_length = 2;
constexpr index_t k_outputs = 3;
constexpr index_t k_many = 1000;

struct Cluster {
  std::uint64_t signature;
  std::int32_t count;
  float centroid[k_length];
};

/// The clusters of one slice of a batch, as a clusterer would leave them.
SliceClusters<float> batch_of(const std::vector<Cluster>& clusters, double within_energy = 0) {
  SliceClusters<float> slice;
  slice.length = k_length;
  slice.centroid_stride = adr::simd::padded(k_length);
  slice.cluster_count = static_cast<index_t>(clusters.size());
  slice.counts.resize(slice.cluster_count);
  slice.signatures.resize(slice.cluster_count);
  slice.is_apart.assign(slice.cluster_count, 0);
  slice.centroids.assign(slice.cluster_count * slice.centroid_stride, 0.0f);
  slice.within_cluster_energy = within_energy;
  for (index_t c = 0; c < slice.cluster_count; ++c) {
    const Cluster& cluster = clusters[static_cast<std::size_t>(c)];
    slice.counts[c] = cluster.count;
    slice.signatures[c] = cluster.signature;
    std::copy_n(cluster.centroid, k_length, slice.centroids.data() + c * slice.centroid_stride);
  }
  return slice;
}

std::vector<float> centroid_of(const SliceClusters<float>& slice, index_t c) {
  const float* centroid = slice.centroid_matrix().row(c);
  return {centroid, centroid + k_length};
}

/// The stored product row of a cluster that may be used, or nothing.
std::vector<float> product_of(const ClusterCache<float>& cache, index_t slice, index_t c) {
  const float* product = cache.fresh_product(slice, c);
  return product == nullptr ? std::vector<float>{}
                            : std::vector<float>(product, product + k_outputs);
}

/// A cache for slices of H bits, at weights version 1.
ClusterCache<float> make_cache(index_t slices, index_t limit = k_many, index_t age = 0,
                               int bits = 10) {
  ClusterCache<float> cache(bits, k_outputs, limit, age);
  cache.set_weights(111);
  cache.prepare(slices);
  return cache;
}

constexpr float k_product[k_outputs] = {7, 8, 9};
const std::vector<float> k_product_values(k_product, k_product + k_outputs);
const std::vector<float> k_nothing;

/// What reading a cache from a file says.
std::string load(ClusterCache<float>& cache, index_t slices, const std::string& path) {
  return adr_test::message_of<std::runtime_error>([&] {
    adr::StateReader reader(path);
    adr::StateArchive loader(reader);
    cache.exchange(loader, slices, [](index_t) { return k_length; });
    reader.require_end();
  });
}
void save(ClusterCache<float>& cache, index_t slices, const std::string& path) {
  adr::StateWriter writer;
  adr::StateArchive saver(writer);
  cache.exchange(saver, slices, [](index_t) { return k_length; });
  writer.save(path);
}

}  // namespace

TEST_CASE("rule 1: the first centroid of a cluster stays") {
  for (const int bits : {10, 40}) {
    auto cache = make_cache(1, k_many, 0, bits);
    auto first = batch_of({{5, 3, {1, 2}}, {6, 1, {-1, 4}}});
    CHECK(cache.recall(0, first) == 0);
    CHECK(centroid_of(first, 0) == std::vector<float>{1, 2});
    CHECK(cache.stored_clusters() == 2);

    auto second = batch_of({{9, 2, {8, 8}}, {5, 4, {3, 5}}, {6, 7, {-1, 4}}});
    CHECK(cache.recall(0, second) == 11);
    CHECK(centroid_of(second, 0) == std::vector<float>{8, 8});
    CHECK(centroid_of(second, 1) == std::vector<float>{1, 2});
    CHECK(centroid_of(second, 2) == std::vector<float>{-1, 4});
    CHECK(cache.stored_clusters() == 3);

    auto third = batch_of({{5, 1, {100, 100}}, {9, 1, {0, 0}}});
    CHECK(cache.recall(0, third) == 2);
    CHECK(centroid_of(third, 0) == std::vector<float>{1, 2});
    CHECK(centroid_of(third, 1) == std::vector<float>{8, 8});
  }
}

TEST_CASE("rule 1: a centroid beyond the range of its elements is not kept") {
  auto cache = make_cache(1);
  auto first = batch_of({{5, 3, {std::numeric_limits<float>::infinity(), 2}}, {6, 1, {1, 1}}});
  cache.recall(0, first);
  CHECK(cache.stored_clusters() == 1);
  auto second = batch_of({{5, 3, {1, 2}}});
  CHECK(cache.recall(0, second) == 0);
  CHECK(centroid_of(second, 0) == std::vector<float>{1, 2});
}

TEST_CASE("rule 1: slices know their own clusters alone") {
  auto cache = make_cache(2);
  auto batch = batch_of({{5, 3, {1, 2}}});
  cache.recall(0, batch);
  cache.store_product(0, 0, k_product);
  auto other_slice = batch_of({{5, 2, {3, 4}}});
  CHECK(cache.recall(1, other_slice) == 0);
  CHECK(centroid_of(other_slice, 0) == std::vector<float>{3, 4});
  CHECK(product_of(cache, 1, 0) == k_nothing);
  CHECK(product_of(cache, 0, 0) == k_product_values);
  CHECK(cache.stored_clusters() == 2);
}

TEST_CASE("rule 1: the energy grows by what the foreign centroid costs") {
  auto cache = make_cache(1);
  auto first = batch_of({{5, 3, {1, 2}}}, 0.5);
  cache.recall(0, first);
  CHECK(first.within_cluster_energy == 0.5);
  // 4 members whose mean is (2, 3) away from the stored centroid, and a new cluster.
  auto second = batch_of({{5, 4, {3, 5}}, {6, 9, {1, 1}}}, 0.25);
  cache.recall(0, second);
  CHECK(second.within_cluster_energy == 0.25 + 4 * (4 + 9));
}

TEMPLATE_TEST_CASE("rule 1: the corrected energy is that of the definition", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_columns = 12;
  const adr::SignHash<T> hash(k_columns, k_columns, 4, true, 3);
  adr::Context context;
  context.workspace().reserve(adr::RowClusterer<T>::workspace_bytes(hash, 1));
  adr::RowClusterer<T> clusterer;
  adr::Clustering<T> result;
  ClusterCache<T> cache(4, k_outputs, k_many, 0);
  cache.prepare(1);
  for (int batch = 0; batch < 3; ++batch) {
    adr_test::GuardedBuffer<T> x(100, k_columns, k_columns);
    data.fill_normal(x.view());
    clusterer.cluster(adr::MatrixRows<T>(x.view()), hash, context, result);
    auto& clusters = result.slices[0];
    const double own_energy = clusters.within_cluster_energy;
    cache.recall(0, clusters);
    const std::vector<index_t> ids(clusters.ids.data(), clusters.ids.data() + 100);
    const adr::reference::Matrix reference(x.view());
    const double expected = adr::reference::within_cluster_energy(
        reference, {0, k_columns}, ids, adr::reference::Matrix(clusters.centroid_matrix()));
    // As exact as the energy that the clusterer gives, whose sums in T run over 128 rows.
    const double magnitude = adr::reference::total_energy(reference, {0, k_columns}) + expected;
    adr_test::Comparison comparison;
    comparison.expect(clusters.within_cluster_energy, expected,
                      adr_test::sum_tolerance<T>(2 * 128 * k_columns, magnitude));
    CHECK(comparison.fault() == "");
    if (batch > 0) CHECK(clusters.within_cluster_energy > own_energy);
  }
}

TEST_CASE("rule 2: a product row is known after it was stored") {
  auto cache = make_cache(1);
  auto batch = batch_of({{5, 3, {1, 2}}, {6, 1, {3, 4}}});
  cache.recall(0, batch);
  CHECK(product_of(cache, 0, 0) == k_nothing);
  cache.store_product(0, 1, k_product);
  CHECK(product_of(cache, 0, 0) == k_nothing);
  CHECK(product_of(cache, 0, 1) == k_product_values);
  // The next batch shows the clusters in another order.
  auto next = batch_of({{6, 1, {3, 4}}, {7, 1, {0, 1}}, {5, 3, {1, 2}}});
  cache.recall(0, next);
  CHECK(product_of(cache, 0, 0) == k_product_values);
  CHECK(product_of(cache, 0, 1) == k_nothing);
  CHECK(product_of(cache, 0, 2) == k_nothing);
}

TEST_CASE("rule 2: a product row outlives max_product_age changes of the weights and no more") {
  for (const index_t age : {0, 1, 3}) {
    INFO("max_product_age " << age);
    auto cache = make_cache(1, k_many, age);
    auto batch = batch_of({{5, 3, {1, 2}}});
    cache.recall(0, batch);
    cache.store_product(0, 0, k_product);
    for (index_t changes = 0; changes <= age + 2; ++changes) {
      INFO(changes << " changes");
      if (changes > 0) cache.set_weights(static_cast<std::uint64_t>(1000 + changes));
      // Saying the same weights again is no change.
      for (int repeat = 0; repeat < 3 && changes > 0; ++repeat) {
        cache.set_weights(static_cast<std::uint64_t>(1000 + changes));
      }
      CHECK(product_of(cache, 0, 0) == (changes <= age ? k_product_values : k_nothing));
      // The centroid never goes stale.
      auto again = batch_of({{5, 1, {50, 60}}});
      CHECK(cache.recall(0, again) == 1);
      CHECK(centroid_of(again, 0) == std::vector<float>{1, 2});
      CHECK(product_of(cache, 0, 0) == (changes <= age ? k_product_values : k_nothing));
    }
  }
}

TEST_CASE("rule 2: a product row that is stored again is as young as the weights") {
  auto cache = make_cache(1);
  auto batch = batch_of({{5, 3, {1, 2}}});
  cache.recall(0, batch);
  cache.store_product(0, 0, k_product);
  cache.set_weights(222);
  CHECK(product_of(cache, 0, 0) == k_nothing);
  const float newer[k_outputs] = {-1, -2, -3};
  cache.store_product(0, 0, newer);
  CHECK(product_of(cache, 0, 0) == std::vector<float>{-1, -2, -3});
  // Weights that return count as changed.
  cache.set_weights(111);
  CHECK(product_of(cache, 0, 0) == k_nothing);
}

TEST_CASE("rule 2: a cluster without product is not fresh at any age") {
  auto cache = make_cache(1, k_many, std::numeric_limits<index_t>::max());
  auto batch = batch_of({{5, 3, {1, 2}}});
  cache.recall(0, batch);
  CHECK(product_of(cache, 0, 0) == k_nothing);
}

TEST_CASE("rule 3: at most limit clusters are stored per slice") {
  auto cache = make_cache(2, 2);
  auto batch = batch_of({{1, 1, {1, 1}}, {2, 1, {2, 2}}, {3, 1, {3, 3}}});
  CHECK(cache.recall(0, batch) == 0);
  CHECK(cache.stored_clusters() == 2);
  for (index_t c = 0; c < 3; ++c) cache.store_product(0, c, k_product);
  CHECK(product_of(cache, 0, 1) == k_product_values);
  CHECK(product_of(cache, 0, 2) == k_nothing);

  auto again = batch_of({{3, 1, {9, 9}}, {2, 1, {9, 9}}});
  CHECK(cache.recall(0, again) == 1);
  CHECK(centroid_of(again, 0) == std::vector<float>{9, 9});
  CHECK(centroid_of(again, 1) == std::vector<float>{2, 2});
  CHECK(product_of(cache, 0, 0) == k_nothing);
  CHECK(product_of(cache, 0, 1) == k_product_values);
  CHECK(cache.stored_clusters() == 2);

  // The limit holds per slice.
  cache.recall(1, batch);
  CHECK(cache.stored_clusters() == 4);
}

TEST_CASE("rule 3: many clusters fit when the limit allows them") {
  auto cache = make_cache(1, 100000, 0, 30);
  std::vector<Cluster> clusters;
  for (int i = 0; i < 5000; ++i) {
    clusters.push_back({static_cast<std::uint64_t>(i) * 77u, 1, {static_cast<float>(i), 0.5f}});
  }
  auto batch = batch_of(clusters);
  cache.recall(0, batch);
  for (index_t c = 0; c < 5000; ++c) {
    const float product[k_outputs] = {static_cast<float>(c), 1, 2};
    cache.store_product(0, c, product);
  }
  std::reverse(clusters.begin(), clusters.end());
  auto again = batch_of(clusters);
  CHECK(cache.recall(0, again) == 5000);
  bool kept = true;
  for (index_t c = 0; c < 5000; ++c) {
    const auto value = static_cast<float>(4999 - c);
    kept = kept && centroid_of(again, c) == std::vector<float>{value, 0.5f} &&
           product_of(cache, 0, c) == std::vector<float>{value, 1, 2};
  }
  CHECK(kept);
}

TEST_CASE("rule 4: clusters of vectors that are not finite are never stored") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  auto cache = make_cache(1);
  // Its signature is 0, as that of the zero vector, which is another cluster.
  auto batch = batch_of({{0, 2, {nan, nan}}, {7, 1, {1, 1}}}, 1.5);
  batch.non_finite_cluster = 0;
  batch.is_apart[0] = 1;
  CHECK(cache.recall(0, batch) == 0);
  CHECK(cache.stored_clusters() == 1);
  CHECK(batch.within_cluster_energy == 1.5);
  cache.store_product(0, 0, k_product);
  CHECK(product_of(cache, 0, 0) == k_nothing);

  auto zeros = batch_of({{0, 4, {0, 0}}});
  CHECK(cache.recall(0, zeros) == 0);
  CHECK(centroid_of(zeros, 0) == std::vector<float>{0, 0});
  CHECK(cache.stored_clusters() == 2);

  auto both = batch_of({{0, 4, {1, 0}}, {0, 2, {nan, 3}}}, 0);
  both.non_finite_cluster = 1;
  both.is_apart[1] = 1;
  CHECK(cache.recall(0, both) == 4);
  CHECK(both.within_cluster_energy == 4);
  CHECK(centroid_of(both, 0) == std::vector<float>{0, 0});
  CHECK(both.centroid_matrix()(1, 1) == 3);
}

TEST_CASE("clear forgets everything and prepare keeps what it has") {
  auto cache = make_cache(2);
  auto batch = batch_of({{5, 3, {1, 2}}});
  cache.recall(1, batch);
  cache.store_product(1, 0, k_product);
  cache.prepare(2);
  auto again = batch_of({{5, 3, {4, 4}}});
  CHECK(cache.recall(1, again) == 3);
  CHECK(product_of(cache, 1, 0) == k_product_values);

  cache.clear();
  CHECK(cache.stored_clusters() == 0);
  cache.prepare(2);
  auto after = batch_of({{5, 3, {4, 4}}});
  CHECK(cache.recall(1, after) == 0);
  CHECK(centroid_of(after, 0) == std::vector<float>{4, 4});
  CHECK(product_of(cache, 1, 0) == k_nothing);

  // Another number of slices is another input.
  cache.prepare(3);
  CHECK(cache.stored_clusters() == 0);
}

TEST_CASE("a cache that was saved and loaded goes on as the one that was not") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("state");
  for (const int bits : {10, 40}) {
    INFO(bits << " bits");
    constexpr index_t k_age = 1;
    auto cache = make_cache(2, 3, k_age, bits);
    auto batch = batch_of({{5, 3, {1, 2}}, {6, 1, {3, 4}}});
    cache.recall(1, batch);
    cache.store_product(1, 0, k_product);  // too old after the next change
    cache.set_weights(222);
    cache.recall(1, batch);
    cache.store_product(1, 1, k_product);
    cache.set_weights(333);
    save(cache, 2, path);
    ClusterCache<float> loaded(bits, k_outputs, 3, k_age);
    REQUIRE(load(loaded, 2, path) == "(no error)");
    CHECK(loaded.stored_clusters() == 2);
    for (auto* c : {&cache, &loaded}) {
      INFO((c == &loaded ? "loaded" : "saved"));
      c->set_weights(333);  // no change
      c->prepare(2);
      auto next = batch_of({{6, 2, {9, 9}}, {5, 3, {8, 8}}, {7, 1, {7, 7}}, {9, 1, {0, 1}}});
      CHECK(c->recall(1, next) == 5);
      CHECK(centroid_of(next, 0) == std::vector<float>{3, 4});
      CHECK(centroid_of(next, 1) == std::vector<float>{1, 2});
      CHECK(product_of(*c, 1, 0) == k_product_values);
      CHECK(product_of(*c, 1, 1) == k_nothing);
      CHECK(c->stored_clusters() == 3);
      c->set_weights(444);
      CHECK(product_of(*c, 1, 0) == k_nothing);
    }
  }
}

TEST_CASE("an unused cache is loaded as one, and knows the weights") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("state");
  ClusterCache<float> empty(10, k_outputs, k_many, 0);
  save(empty, 2, path);
  ClusterCache<float> loaded(10, k_outputs, k_many, 0);
  REQUIRE(load(loaded, 2, path) == "(no error)");
  CHECK(loaded.stored_clusters() == 0);
  loaded.prepare(2);
  auto batch = batch_of({{5, 3, {1, 2}}});
  CHECK(loaded.recall(0, batch) == 0);
}

TEST_CASE("a cache that cannot be is refused") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("state");
  // One slice of a cache of 10 bits and 3 clusters at most, at version 4 of the weights.
  const auto refused = [&](std::uint64_t count, const std::vector<std::uint64_t>& signatures,
                           std::uint64_t version) {
    const float centroids[] = {1, 2, 3, 4};
    adr::StateWriter writer;
    writer.put_u64(111);
    writer.put_count(4);
    writer.put_count(1);
    writer.put_u64(count);
    for (const std::uint64_t signature : signatures) writer.put_u64(signature);
    writer.put_rows("centroids", {centroids, 2, k_length});
    writer.put_u64(version);
    if (version > 0) writer.put_rows("product", {k_product, 1, k_outputs});
    writer.put_u64(0);
    writer.save(path);
    ClusterCache<float> cache(10, k_outputs, 3, 0);
    return load(cache, 1, path);
  };
  using adr_test::contains;
  CHECK(refused(2, {5, 1023}, 5) == "(no error)");
  CHECK(refused(2, {5, 1023}, 0) == "(no error)");
  CHECK_THAT(refused(4, {5, 1023}, 5), contains("stored clusters must be between 0 and 3, got 4"));
  CHECK_THAT(refused(2, {5, 1024}, 5), contains("signatures must have 10 bits"));
  CHECK_THAT(refused(2, {5, ~std::uint64_t{0}}, 5), contains("signatures must have 10 bits"));
  CHECK_THAT(refused(2, {5, 5}, 5), contains("signatures must differ from each other"));
  CHECK_THAT(refused(2, {5, 6}, 6),
             contains("version of a product must be between 0 and 5, got 6"));
  CHECK_THAT(refused(1, {5, 6}, 5), contains(path));
}
