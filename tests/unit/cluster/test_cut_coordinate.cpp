// Cutting a coordinate into cells: the error by its definition, thresholds that never fall, and
// bits that go where they lower the error most.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "adr/cluster/cut_coordinate.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

namespace {

using adr::index_t;
using adr::detail::CutCoordinate;
using adr_test::Data;

/// The squared distances of the values to the means of their cells.
double error_of(const std::vector<double>& values, const std::vector<double>& thresholds) {
  std::vector<double> sums(thresholds.size() + 1);
  std::vector<double> counts(thresholds.size() + 1);
  const auto cell = [&](double value) {
    return static_cast<std::size_t>(
        std::count_if(thresholds.begin(), thresholds.end(), [&](double t) { return value > t; }));
  };
  for (const double value : values) {
    sums[cell(value)] += value;
    ++counts[cell(value)];
  }
  double total = 0;
  for (const double value : values) {
    const double difference = value - sums[cell(value)] / counts[cell(value)];
    total += difference * difference;
  }
  return total;
}

/// Values of a normal, a lopsided and a lumpy kind.
std::vector<std::vector<double>> samples(Data& data) {
  const std::vector<double> normal = data.normals<double>(700);
  std::vector<double> lopsided;
  std::vector<double> lumpy;
  for (const double value : normal) {
    lopsided.push_back(1000 + std::exp(2 * value));
    lumpy.push_back(std::floor(value));
  }
  return {normal, lopsided, lumpy};
}

}  // namespace

TEST_CASE("a cut coordinate has the error of its cells, less with every bit") {
  Data data;
  INFO(data);
  for (const std::vector<double>& values : samples(data)) {
    CutCoordinate coordinate(values);
    CHECK(coordinate.bits() == 0);
    CHECK(coordinate.thresholds().empty());
    const double all = error_of(values, {});
    CHECK(std::abs(coordinate.error() - all) < 1e-9 * all);
    for (int bits = 1; bits <= 8; ++bits) {
      INFO(bits << " bits");
      const double before = coordinate.error();
      const double gain = coordinate.gain();
      CHECK(gain >= 0);
      coordinate.refine();
      CHECK(coordinate.bits() == bits);
      CHECK(std::abs(coordinate.error() - (before - gain)) < 1e-12 * all);
      REQUIRE(coordinate.thresholds().size() == (std::size_t{1} << bits) - 1);
      CHECK(std::is_sorted(coordinate.thresholds().begin(), coordinate.thresholds().end()));
      CHECK(std::abs(coordinate.error() - error_of(values, coordinate.thresholds())) < 1e-9 * all);
    }
  }
}

TEST_CASE("the bits of a cut coordinate quarter the error of normal values, nearly") {
  Data data;
  INFO(data);
  CutCoordinate coordinate(data.normals<double>(5000));
  // What the best cells of a normal distribution leave: 0.363, 0.117, 0.0345 (Max 1960).
  const double all = coordinate.error();
  for (const double least : {0.363, 0.117, 0.0345}) {
    coordinate.refine();
    CHECK(coordinate.error() < 1.1 * least * all);
    CHECK(coordinate.error() > 0.9 * least * all);
  }
}

TEST_CASE("a cut coordinate of equal values and of one value has nothing to gain") {
  for (const std::size_t count : {1, 50}) {
    CutCoordinate coordinate(std::vector<double>(count, 0.1));
    CHECK(coordinate.error() == 0);
    CHECK(coordinate.gain() == 0);
    coordinate.refine();
    CHECK(coordinate.error() == 0);
    CHECK(coordinate.thresholds().size() == 1);
  }
}

TEST_CASE("deal_bits gives bits to wide coordinates, and ends where none helps") {
  Data data;
  INFO(data);
  const auto coordinates = [&] {
    std::vector<CutCoordinate> result;
    for (const double width : {0.5, 8.0, 0.0, 2.0}) {
      std::vector<double> values = data.normals<double>(1000);
      for (double& value : values) value *= width;
      result.emplace_back(values);
    }
    return result;
  };
  std::vector<CutCoordinate> one = coordinates();
  adr::detail::deal_bits(one, 1);
  CHECK(one[1].bits() == 1);
  std::vector<CutCoordinate> many = coordinates();
  adr::detail::deal_bits(many, 8);
  CHECK(many[0].bits() + many[1].bits() + many[3].bits() == 8);
  CHECK(many[2].bits() == 0);
  CHECK(many[1].bits() > many[3].bits());
  CHECK(many[3].bits() > many[0].bits());
  // As many bits as there are values to tell apart, and no more.
  std::vector<CutCoordinate> few;
  few.emplace_back(std::vector<double>{0, 0, 1, 1, 2, 2, 3, 3});
  adr::detail::deal_bits(few, 12);
  CHECK(few[0].bits() == 2);
  CHECK(few[0].error() == 0);
  std::vector<CutCoordinate> none;
  adr::detail::deal_bits(none, 5);
  CHECK(none.empty());
}
