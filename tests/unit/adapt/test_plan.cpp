#include <limits>
#include <string>

#include "adr/adapt/plan.hpp"
#include "support/catch.hpp"

namespace {

using adr::Plan;

constexpr adr::index_t k_columns = 100;

/// What validate says of the default setting after a change.
template <class Change>
std::string after(const Change& change) {
  Plan config;
  change(config);
  return config.validate(k_columns);
}

}  // namespace

TEST_CASE("Plan defaults are the published setting") {
  const Plan config;
  CHECK(config.validate(k_columns) == "");
  CHECK(config.method == adr::Method::published);
  CHECK(config.vector_length == 25);
  CHECK(config.hash_count == 10);
  CHECK(config.hash_center == adr::HashCenter::origin);
  CHECK_FALSE(config.cluster_reuse);
  CHECK(config.max_product_age == 0);
}

TEST_CASE("Plan refuses sub-vectors that do not fit the columns") {
  const std::string least = "vector_length must be at least 1, got ";
  CHECK(after([](Plan& c) { c.vector_length = 0; }) == least + "0");
  CHECK(after([](Plan& c) { c.vector_length = -5; }) == least + "-5");
  CHECK(after([](Plan& c) { c.vector_length = 101; }) ==
        "vector_length must be at most the number of unfolded columns (100), got 101");
  CHECK(after([](Plan& c) { c.vector_length = 1; }) == "");
  CHECK(after([](Plan& c) { c.vector_length = 100; }) == "");
  CHECK(after([](Plan& c) { c.vector_length = 33; }) == "");
  CHECK(Plan().validate(24) ==
        "vector_length must be at most the number of unfolded columns (24), got 25");
}

TEST_CASE("Plan refuses hash counts outside 1 to 64") {
  const std::string rule = "hash_count must be between 1 and 64, got ";
  CHECK(after([](Plan& c) { c.hash_count = 0; }) == rule + "0");
  CHECK(after([](Plan& c) { c.hash_count = -1; }) == rule + "-1");
  CHECK(after([](Plan& c) { c.hash_count = 65; }) == rule + "65");
  CHECK(after([](Plan& c) { c.hash_count = 1; }) == "");
  CHECK(after([](Plan& c) { c.hash_count = 64; }) == "");
}

TEST_CASE("Plan refuses ages that mean nothing") {
  CHECK(after([](Plan& c) { c.max_product_age = -1; }) ==
        "max_product_age must be at least 0 changes of the weights, got -1");
  CHECK(after([](Plan& c) { c.max_product_age = 3; }) ==
        "max_product_age must be 0 unless cluster_reuse is on, got 3");
  CHECK(after([](Plan& c) {
          c.max_product_age = 3;
          c.cluster_reuse = true;
        }) == "");
}

TEST_CASE("Plan refuses an empty cache and a centre that is never fitted") {
  CHECK(after([](Plan& c) { c.cluster_cache_limit = 0; }) ==
        "cluster_cache_limit must be at least 1 cluster, got 0");
  CHECK(after([](Plan& c) { c.cluster_cache_limit = -9; }) ==
        "cluster_cache_limit must be at least 1 cluster, got -9");
  CHECK(after([](Plan& c) { c.refit_interval = 0; }) ==
        "refit_interval must be at least 1 forward pass, got 0");
  CHECK(after([](Plan& c) { c.refit_interval = -1; }) ==
        "refit_interval must be at least 1 forward pass, got -1");
  CHECK(after([](Plan& c) {
          c.cluster_cache_limit = 1;
          c.refit_interval = 1;
        }) == "");
}

TEST_CASE("Plan asks nothing of the hash when the product is dense") {
  CHECK(after([](Plan& c) {
          c.method = adr::Method::exact;
          c.vector_length = 0;
          c.hash_count = 0;
        }) == "");
}

TEST_CASE("Plan takes sub-vectors for what they are to the published method alone") {
  for (const adr::index_t length : {-5, 0, 101}) {
    CHECK(after([&](Plan& c) {
            c.method = adr::Method::subspace;
            c.vector_length = length;
          }) == "");
  }
}

TEST_CASE("Plan refuses subspaces that mean nothing") {
  CHECK(after([](Plan& c) { c.kept_coordinates = -3; }) ==
        "kept_coordinates must be at least 0, got -3");
  CHECK(after([](Plan& c) { c.kept_coordinates = 1000; }) == "");
  const auto error = [](double value) { return after([&](Plan& c) { c.subspace_error = value; }); };
  const std::string rule = "subspace_error must be between 0 and 1, both excluded, got ";
  CHECK(error(0) == rule + "0");
  CHECK(error(1) == rule + "1");
  CHECK(error(-0.5) == rule + "-0.5");
  CHECK(error(std::numeric_limits<double>::quiet_NaN()) == rule + "nan");
  CHECK(error(1e-6) == "");
  CHECK(error(0.999) == "");
}

TEST_CASE("Plan refuses steps of rounding that mean nothing") {
  const auto step = [](double value) {
    return after([&](Plan& c) { c.gradient_rounding = value; });
  };
  const std::string rule = "gradient_rounding must be above 0 and at most 1e6, got ";
  CHECK(step(0) == rule + "0");
  CHECK(step(-2) == rule + "-2");
  CHECK(step(std::numeric_limits<double>::infinity()) == rule + "inf");
  CHECK(step(std::numeric_limits<double>::quiet_NaN()) == rule + "nan");
  CHECK(step(0.01) == "");
  CHECK(step(1e6) == "");
}

TEST_CASE("Plan refuses numbers that no state file could hold") {
  const adr::index_t most = Plan::k_most;
  CHECK(after([=](Plan& c) { c.refit_interval = most; }) == "");
  CHECK(after([=](Plan& c) { c.refit_interval = most + 1; }) ==
        "refit_interval must be at most 1152921504606846976, got 1152921504606846977");
  CHECK(after([=](Plan& c) { c.cluster_cache_limit = most + 1; }) != "");
  CHECK(after([=](Plan& c) {
          c.method = adr::Method::exact;
          c.meter_interval = most + 1;
        }) != "");
}

TEST_CASE("Plans are equal when everything agrees") {
  CHECK(Plan() == Plan());
  Plan other;
  other.meter_interval = 10;
  CHECK(other != Plan());
  CHECK(other.clusters_as(Plan()));
  other = Plan();
  other.gradient_rounding = 1;
  CHECK(other != Plan());
  other = Plan();
  other.seed = 2;
  CHECK(other != Plan());
}

TEST_CASE("methods have names") {
  CHECK(std::string(to_string(adr::Method::exact)) == "exact");
  CHECK(std::string(to_string(adr::Method::published)) == "published");
  CHECK(std::string(to_string(adr::Method::subspace)) == "subspace");
}
