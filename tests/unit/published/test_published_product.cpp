// PublishedProduct, the published method behind the layers: the hash it makes, and cluster reuse
// across batches with its rule of staleness.
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/published/published_product.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/naive_product.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::DenseGemm;
using adr::GemmFactor;
using adr::HashCenter;
using adr::index_t;
using adr::MatrixView;
using adr::Plan;
using adr::ReuseLinear;
using adr::Update;
using adr_test::Data;
using adr_test::fault;
using adr_test::GivenIds;
using adr_test::LinearCase;
using adr_test::Matrix;
using adr_test::naive_product;

namespace {

using PublishedProduct = adr::PublishedProduct<adr::MatrixDomain<double>>;

Plan hyperplane(index_t length, int bits) {
  Plan config;
  config.vector_length = length;
  config.hash_count = bits;
  return config;
}

Plan cluster_reuse(index_t max_age = 0) {
  Plan config = hyperplane(4, 5);
  config.cluster_reuse = true;
  config.max_product_age = max_age;
  return config;
}

/// A linear layer with cluster reuse that counts its multiplications.
struct Counted {
  int calls = 0;
  ReuseLinear<double> layer;

  explicit Counted(const Plan& config, const LinearCase<double>& c)
      : layer(c.columns, c.outputs, config) {
    layer.set_dense_gemm(
        DenseGemm<double>([this](const GemmFactor<double>& a, const GemmFactor<double>& b,
                                 Update update, const MatrixView<double>& result) {
          ++calls;
          naive_product(a, b, update, result);
        }));
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  void forward(LinearCase<double>& c) {
    calls = 0;
    layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
  }
};

/// The output with the centroids that the layer used and the given weights (K x M).
adr_test::Expected with_stored_centroids(const ReuseLinear<double>& layer,
                                         const LinearCase<double>& c, const Matrix& weights) {
  const GivenIds given(layer.clustering());
  const auto centroids = adr_test::stored_centroids(layer.clustering());
  const std::vector<double> bias = Matrix(c.bias.view()).elements;
  adr_test::Expected expected;
  expected.terms = c.columns + 10;
  expected.value =
      adr::reference::centroid_forward(given.slices, centroids, given.ids, weights, c.rows);
  adr::reference::add_bias(bias, expected.value);
  expected.magnitude = adr_test::absolute(expected.value);
  for (double& element : expected.magnitude.elements) element += 100;
  return expected;
}

Matrix weights_of(const LinearCase<double>& c) {
  return adr::reference::transpose(Matrix(c.w.view()));
}

}  // namespace

TEST_CASE("PublishedProduct puts the planes through the mean at the first pass and every refit") {
  Data data;
  INFO(data);
  Plan config = hyperplane(4, 6);
  config.hash_center = HashCenter::mean;
  config.refit_interval = 3;
  PublishedProduct product(adr::product_shape(10, 3), config);
  Context context;
  const DenseGemm<double> gemm;
  adr::Report report;
  std::vector<double> used;
  const auto forward = [&](LinearCase<double>& c) {
    report.reset();
    return product.forward(
        adr::MatrixOperand<const double>{c.x_view()}, adr::transposed(c.w_view()), c.bias.vector(),
        adr::MatrixOperand<double>{c.y.view()}, {gemm, context, report, nullptr});
  };
  LinearCase<double> none_learned(50, 10, 3, data);
  product.set_learning(false);
  CHECK_FALSE(forward(none_learned));
  product.set_learning(true);
  for (int pass = 0; pass < 9; ++pass) {
    INFO("pass " << pass);
    LinearCase<double> c(50, 10, 3, data);
    for (index_t i = 0; i < 50; ++i) {
      for (index_t k = 0; k < 10; ++k) c.x(i, k) += pass + static_cast<double>(k);
    }
    CHECK(forward(c));
    if (pass % 3 == 0) {
      used = adr::reference::column_sums(Matrix(c.x.view()));
      for (double& element : used) element /= 50;
    }
    const auto& hash = product.hash();
    for (index_t s = 0; s < hash.slice_count(); ++s) {
      for (int h = 0; h < 6; ++h) {
        double threshold = 0;
        for (index_t l = 0; l < hash.slice_length(s); ++l) {
          threshold += used[static_cast<std::size_t>(4 * s + l)] * hash.plane(s, h, l);
        }
        CHECK(std::abs(hash.threshold(s, h) - threshold) < 1e-10);
      }
    }
  }
  // Learning has ended when the next mean is due.
  product.set_learning(false);
  const double before = product.hash().threshold(0, 0);
  LinearCase<double> later(50, 10, 3, data);
  CHECK(forward(later));
  CHECK(product.hash().threshold(0, 0) == before);
}

TEST_CASE("Cluster reuse: the same batch and weights again cost no product") {
  Data data;
  INFO(data);
  LinearCase<double> c(60, 10, 7, data);
  Counted run(cluster_reuse(), c);
  run.forward(c);
  CHECK(run.calls == 3);
  CHECK(run.layer.report().cluster_reuse_rate() == 0.0);
  CHECK(run.layer.report().product_reuse_rate() == 0.0);
  CHECK(fault<double>(c.output(), adr_test::clustered_output(
                                      c.operands(), GivenIds(run.layer.clustering()))) == "");
  const auto first = adr_test::elements_of(c.y);
  const double energy = run.layer.report().within_cluster_energy;
  for (int again = 0; again < 3; ++again) {
    run.forward(c);
    CHECK(run.calls == 0);
    CHECK(adr_test::same_bits(adr_test::elements_of(c.y), first));
    CHECK(run.layer.report().cluster_reuse_rate() == 1.0);
    CHECK(run.layer.report().product_reuse_rate() == 1.0);
    CHECK(run.layer.report().within_cluster_energy == energy);
    CHECK(run.layer.report().forward.multiply_adds_done == 60 * 10 * (5 + 1) + 60 * 3 * 7);
  }
}

TEST_CASE("Cluster reuse with age 0 never uses a stale product") {
  Data data;
  INFO(data);
  LinearCase<double> c(60, 10, 7, data);
  Counted run(cluster_reuse(0), c);
  run.forward(c);
  for (int update = 0; update < 3; ++update) {
    c.w(update, 3) += 0.5;
    run.forward(c);
    CHECK(run.calls == 3);
    CHECK(run.layer.report().cluster_reuse_rate() == 1.0);
    CHECK(run.layer.report().product_reuse_rate() == 0.0);
    CHECK(fault<double>(c.output(), with_stored_centroids(run.layer, c, weights_of(c))) == "");
    run.forward(c);
    CHECK(run.calls == 0);
  }
}

TEST_CASE("Cluster reuse with age A uses a product for A changes of the weights, then renews it") {
  Data data;
  INFO(data);
  const index_t max_age = GENERATE(1, 2, 3);
  LinearCase<double> c(60, 10, 7, data);
  Counted run(cluster_reuse(max_age), c);
  index_t age = 0;
  Matrix product_weights;
  for (int update = 0; update < 9; ++update) {
    if (update > 0) c.w(2, update) += 0.5;
    const bool renew = update == 0 || age + 1 > max_age;
    age = renew ? 0 : age + 1;
    if (renew) product_weights = weights_of(c);
    // Passes with unchanged weights do not count.
    for (int pass = 0; pass < 2; ++pass) {
      INFO("age " << max_age << ", update " << update << ", pass " << pass);
      run.forward(c);
      CHECK(run.calls == (renew && pass == 0 ? 3 : 0));
      CHECK(run.layer.report().product_reuse_rate() == (renew && pass == 0 ? 0.0 : 1.0));
      CHECK(fault<double>(c.output(), with_stored_centroids(run.layer, c, product_weights)) == "");
    }
  }
}

TEST_CASE("Cluster reuse: a new batch takes the centroids it knows and adds its own") {
  Data data;
  INFO(data);
  LinearCase<double> first(25, 10, 7, data);
  LinearCase<double> second(80, 10, 7, data);
  for (index_t m = 0; m < 7; ++m) {
    std::copy_n(first.w.view().row(m), 10, second.w.view().row(m));
  }
  Counted run(cluster_reuse(), first);
  run.forward(first);
  std::vector<std::set<std::uint64_t>> known;
  for (const auto& slice : run.layer.clustering().slices) {
    known.emplace_back(slice.signatures.data(), slice.signatures.data() + slice.cluster_count);
  }
  const auto old_centroids = adr_test::stored_centroids(run.layer.clustering());

  run.forward(second);
  const auto& clustering = run.layer.clustering();
  const GivenIds given(clustering);
  const Matrix x(second.x.view());
  const auto means = given.centroids(x);
  const auto used = adr_test::stored_centroids(clustering);
  double known_vectors = 0;
  double reused = 0;
  double within = 0;
  double clusters = 0;
  double fresh_products = 0;
  for (std::size_t s = 0; s < given.slices.size(); ++s) {
    const auto& slice = clustering.slices[s];
    const auto counts = adr::reference::counts(given.ids[s]);
    for (index_t id = 0; id < slice.cluster_count; ++id) {
      const bool is_known = known[s].count(slice.signatures[id]) == 1;
      clusters += 1;
      if (is_known) {
        known_vectors += static_cast<double>(counts[static_cast<std::size_t>(id)]);
        reused += 1;
      } else {
        fresh_products += static_cast<double>(slice.length * 7);
        for (index_t l = 0; l < slice.length; ++l) {
          CHECK(std::abs(used[s](id, l) - means[s](id, l)) < 1e-13);
        }
      }
    }
    within += adr::reference::within_cluster_energy(x, given.slices[s], given.ids[s], used[s]);
  }
  const auto& stats = run.layer.report();
  REQUIRE(reused > 0);
  REQUIRE(reused < clusters);
  CHECK(stats.known_vectors == known_vectors);
  CHECK(stats.cluster_reuse_rate() == known_vectors / (80 * 3));
  CHECK(stats.reused_products == reused);
  CHECK(stats.product_reuse_rate() == reused / clusters);
  CHECK(std::abs(stats.within_cluster_energy - within) < 1e-10 * stats.total_energy);
  CHECK(stats.forward.multiply_adds_done == 80 * 10 * (5 + 1) + fresh_products + 80 * 3 * 7);
  CHECK(fault<double>(second.output(),
                      with_stored_centroids(run.layer, second, weights_of(second))) == "");

  // The weight gradient is that of the forward product: with the stored centroids.
  run.layer.backward(second.x_view(), second.w_view(), second.d_y_view(),
                     {second.d_x.view(), second.d_w.view(), second.d_bias.vector()});
  const Matrix d_w = adr::reference::centroid_weight_gradient(given.slices, used, given.ids,
                                                              Matrix(second.d_y.view()), 10);
  CHECK(adr_test::relative_distance(second.weight_gradient(), d_w) < 1e-13);
  CHECK(fault<double>(second.input_gradient(),
                      adr_test::cluster_mean_input_gradient(second.operands(), given)) == "");

  // The first batch still finds its own centroids.
  run.forward(first);
  CHECK(run.calls == 0);
  const auto again = adr_test::stored_centroids(run.layer.clustering());
  for (std::size_t s = 0; s < again.size(); ++s) {
    CHECK(again[s].elements == old_centroids[s].elements);
  }
}

TEST_CASE("Cluster reuse forgets when told, when refitted and when the setting changes") {
  Data data;
  INFO(data);
  LinearCase<double> c(60, 10, 7, data);
  SECTION("clear_cache") {
    Counted run(cluster_reuse(), c);
    run.forward(c);
    run.layer.clear_cache();
    run.forward(c);
    CHECK(run.layer.report().known_vectors == 0);
    CHECK(run.calls == 3);
  }
  SECTION("refit") {
    Plan config = cluster_reuse();
    config.hash_center = HashCenter::mean;
    config.refit_interval = 3;
    Counted run(config, c);
    for (int pass = 0; pass < 7; ++pass) {
      INFO("pass " << pass);
      run.forward(c);
      CHECK(run.layer.report().cluster_reuse_rate() == (pass % 3 == 0 ? 0.0 : 1.0));
      CHECK(run.calls == (pass % 3 == 0 ? 3 : 0));
    }
    // The mean is forgotten with the cache.
    run.layer.clear_cache();
    for (index_t i = 0; i < c.rows; ++i) c.x(i, 0) += 100;
    run.forward(c);
    CHECK(run.layer.report().known_vectors == 0);
    CHECK(run.layer.clustering().slices[0].cluster_count > 10);
  }
  SECTION("set_plan") {
    Counted run(cluster_reuse(), c);
    run.forward(c);
    run.layer.set_plan(cluster_reuse(1));
    run.forward(c);
    CHECK(run.layer.report().known_vectors == 0);
  }
}

TEST_CASE("Cluster reuse stores no more than its limit and nothing that is not finite") {
  Data data;
  INFO(data);
  LinearCase<double> c(60, 10, 7, data);
  SECTION("limit") {
    Plan config = cluster_reuse();
    config.cluster_cache_limit = 2;
    Counted run(config, c);
    run.forward(c);
    run.forward(c);
    CHECK(run.layer.report().reused_products == 2 * 3);
    CHECK(run.calls == 3);
    CHECK(fault<double>(c.output(), with_stored_centroids(run.layer, c, weights_of(c))) == "");
  }
  SECTION("not finite") {
    c.x(4, 1) = std::numeric_limits<double>::quiet_NaN();
    Counted run(cluster_reuse(), c);
    run.forward(c);
    CHECK(run.layer.report().non_finite_vectors == 1);
    c.x(4, 1) = std::numeric_limits<double>::infinity();
    run.forward(c);
    CHECK(run.layer.report().known_vectors == 60 * 3 - 1);
    CHECK(run.layer.report().reused_products == run.layer.report().clusters - 1);
    CHECK(run.calls == 1);
    for (index_t n = 0; n < 60; ++n) {
      for (index_t m = 0; m < 7; ++m) CHECK(std::isfinite(c.y(n, m)) == (n != 4));
    }
  }
}

TEST_CASE("Cluster reuse gives the same bits on any number of threads") {
  Data data;
  INFO(data);
  LinearCase<float> first(200, 40, 17, data);
  LinearCase<float> second(300, 40, 17, data);
  std::vector<float> bits;
  for (const int threads : {1, 2, 3, 8}) {
    Context context(threads);
    ReuseLinear<float> layer(40, 17, cluster_reuse(), context);
    layer.forward(first.x_view(), first.w_view(), first.bias.vector(), first.y.view());
    layer.forward(second.x_view(), first.w_view(), first.bias.vector(), second.y.view());
    const auto result = adr_test::elements_of(second.y);
    if (threads == 1) bits = result;
    CHECK(layer.report().known_vectors > 0);
    CHECK(adr_test::same_bits(result, bits));
  }
}
