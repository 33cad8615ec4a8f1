// cached_products: a table made of stored rows and new ones is the table of the whole product.
#include <vector>

#include "adr/core/matrix_rows.hpp"
#include "adr/published/cached_products.hpp"
#include "adr/published/cluster_rows.hpp"
#include "adr/published/sign_hash.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

using adr::ClusterCache;
using adr::Clustering;
using adr::DenseGemm;
using adr::GemmFactor;
using adr::index_t;
using adr::MatrixRows;
using adr::MatrixView;
using adr::SignHash;
using adr::Update;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Matrix;

namespace {

constexpr index_t k_rows = 60;
constexpr index_t k_columns = 11;
constexpr index_t k_outputs = 9;
constexpr int k_bits = 5;

/// One multiplication that the table asked for: how many clusters it had.
using Calls = std::vector<index_t>;

DenseGemm<float> recording(Calls& calls) {
  return DenseGemm<float>([&calls](const GemmFactor<float>& a, const GemmFactor<float>& b,
                                   Update update, const MatrixView<float>& result) {
    calls.push_back(a.rows());
    DenseGemm<float>()(a, b, update, result);
  });
}

struct Fixture {
  Data data;
  SignHash<float> hash{k_columns, 4, k_bits, true, 7};
  GuardedBuffer<float> x{k_rows, k_columns, k_columns + 2};
  GuardedBuffer<float> w{k_columns, k_outputs, k_outputs + 1};
  ClusterCache<float> cache{k_bits, k_outputs, 1000, 0};
  Calls calls;
  DenseGemm<float> gemm = recording(calls);

  Fixture() {
    data.fill_normal(x.view());
    data.fill_normal(w.view());
    cache.set_weights(1);
    cache.prepare(hash.slice_count());
  }

  Clustering<float> cluster(index_t first_row, index_t rows) {
    adr::Context context;
    context.workspace().reserve(adr::RowClusterer<float>::workspace_bytes(hash, 1));
    Clustering<float> result;
    const MatrixView<const float> all = x.view();
    adr::RowClusterer<float>().cluster(MatrixRows<const float>(all.middle_rows(first_row, rows)),
                                       hash, context, result);
    return result;
  }

  /// Makes the table of a slice, checks it against the reference and returns how many rows were
  /// taken from the cache.
  index_t table_is_right(const Clustering<float>& clustering, index_t s) {
    const auto& slice = clustering.slices[static_cast<std::size_t>(s)];
    GuardedBuffer<float> table(slice.cluster_count, k_outputs, k_outputs + 7);
    const index_t reused =
        adr::cached_products(slice, s, adr::as_is(w.view()), gemm, cache, table.view());
    const Matrix weights =
        adr::reference::rows_of(Matrix(w.view()), slice.first_column, slice.length);
    const Matrix centroids(slice.centroid_matrix());
    const adr_test::Expected expected{
        adr::reference::multiply(centroids, weights),
        adr::reference::multiply(adr_test::absolute(centroids), adr_test::absolute(weights)),
        slice.length};
    CHECK(adr_test::fault(table.view(), expected) == "");
    CHECK(table.damage() == "");
    return reused;
  }
};

}  // namespace

TEST_CASE("cached_products multiplies new clusters and copies stored ones") {
  Fixture f;
  INFO(f.data);
  Clustering<float> first = f.cluster(0, k_rows / 3);
  Clustering<float> second = f.cluster(0, k_rows);
  for (index_t s = 0; s < f.hash.slice_count(); ++s) {
    INFO("slice " << s);
    auto& clusters = first.slices[static_cast<std::size_t>(s)];
    auto& more = second.slices[static_cast<std::size_t>(s)];
    REQUIRE(clusters.cluster_count < more.cluster_count);

    // All new: one multiplication.
    CHECK(f.cache.recall(s, clusters) == 0);
    f.calls.clear();
    CHECK(f.table_is_right(first, s) == 0);
    CHECK(f.calls == Calls{clusters.cluster_count});

    // All known: none.
    f.calls.clear();
    CHECK(f.table_is_right(first, s) == clusters.cluster_count);
    CHECK(f.calls.empty());

    // The clusters of the first rows are known, and come first because numbers follow the rows.
    CHECK(f.cache.recall(s, more) > 0);
    f.calls.clear();
    CHECK(f.table_is_right(second, s) == clusters.cluster_count);
    CHECK(f.calls == Calls{more.cluster_count - clusters.cluster_count});
  }
}

TEST_CASE("cached_products multiplies every run of clusters without a usable row") {
  Fixture f;
  INFO(f.data);
  // Known are the clusters of some rows in the middle; before and behind them are new ones.
  Clustering<float> known = f.cluster(20, 6);
  Clustering<float> all = f.cluster(0, k_rows);
  index_t slices_with_two_runs = 0;
  for (index_t s = 0; s < f.hash.slice_count(); ++s) {
    INFO("slice " << s);
    auto& some = known.slices[static_cast<std::size_t>(s)];
    auto& slice = all.slices[static_cast<std::size_t>(s)];
    f.cache.recall(s, some);
    f.table_is_right(known, s);
    f.cache.recall(s, slice);
    Calls runs;
    for (index_t c = 0; c < slice.cluster_count; ++c) {
      if (f.cache.fresh_product(s, c) != nullptr) continue;
      const bool continues = c > 0 && f.cache.fresh_product(s, c - 1) == nullptr;
      if (continues) {
        ++runs.back();
      } else {
        runs.push_back(1);
      }
    }
    if (runs.size() >= 2) ++slices_with_two_runs;
    f.calls.clear();
    CHECK(f.table_is_right(all, s) == some.cluster_count);
    CHECK(f.calls == runs);
  }
  CHECK(slices_with_two_runs > 0);
}

TEST_CASE("cached_products computes in every batch what the cache has no room for") {
  Fixture f;
  INFO(f.data);
  f.cache = ClusterCache<float>(k_bits, k_outputs, 3, 0);
  f.cache.set_weights(1);
  f.cache.prepare(f.hash.slice_count());
  Clustering<float> clustering = f.cluster(0, k_rows);
  for (index_t s = 0; s < f.hash.slice_count(); ++s) {
    auto& slice = clustering.slices[static_cast<std::size_t>(s)];
    REQUIRE(slice.cluster_count > 3);
    f.cache.recall(s, slice);
    CHECK(f.table_is_right(clustering, s) == 0);
    f.calls.clear();
    CHECK(f.table_is_right(clustering, s) == 3);
    CHECK(f.calls == Calls{slice.cluster_count - 3});
  }
}
