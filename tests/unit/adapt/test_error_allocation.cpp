// Which layer gets which setting: errors where they cost the output least and save the most time.
#include <vector>

#include "adr/adapt/error_allocation.hpp"
#include "adr/options.hpp"
#include "support/catch.hpp"

namespace {

adr::Plan subspace_plan(adr::index_t coordinates) {
  adr::Options options;
  options.setting = adr::Subspace{coordinates};
  return options.plan();
}

}  // namespace

TEST_CASE("Errors go where they cost the output least and save the most time") {
  const adr::Ladder ladder = {
      {subspace_plan(2), 0.1, 0.2}, {subspace_plan(8), 0.3, 0.05}, {adr::Options().plan(), 1, 0}};
  // The first layer is slow and matters little; the second is quick and matters.
  std::vector<adr::LayerChoices> layers = {{ladder, 0.1, 0.25}, {ladder, 0.01, 1}};
  const auto costs = [&](double max_error) {
    const std::vector<adr::Rung> rungs = adr::rungs_within(layers, max_error);
    CHECK(adr::expected_error(layers, rungs) <= max_error);
    std::vector<double> list;
    for (const adr::Rung& rung : rungs) list.push_back(rung.cost);
    return list;
  };
  CHECK(costs(1) == std::vector<double>{0.1, 0.1});
  CHECK(costs(0.15) == std::vector<double>{0.1, 0.3});  // sqrt(0.25 * 0.04 + 0.0025) = 0.112
  CHECK(costs(0.06) == std::vector<double>{0.3, 0.3});  // sqrt(0.25 * 0.0025 + 0.0025) = 0.056
  CHECK(costs(0.03) == std::vector<double>{0.3, 1});
  CHECK(costs(0) == std::vector<double>{1, 1});
  // The same error everywhere in the output: what it costs no longer differs, the time does.
  layers[0].influence = 1;
  CHECK(costs(0.06) == std::vector<double>{0.3, 1});
}
