// The median of the last samples: exact values, what is forgotten and what is left out.
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "adr/adapt/robust_median.hpp"
#include "adr/core/state_archive.hpp"
#include "support/catch.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::RobustMedian;

/// The samples that a median keeps, the oldest first, as it saves them.
template <int Capacity>
std::vector<double> kept(RobustMedian<Capacity> median) {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("median.state");
  adr::StateWriter writer;
  adr::StateArchive put(writer);
  median.exchange("times", put);
  writer.save(path);
  adr::StateReader reader(path);
  adr::StateArchive get(reader);
  int count = 0;
  get.count("times", count, 0, Capacity);
  std::vector<double> samples(static_cast<std::size_t>(count));
  for (double& sample : samples) get("times", sample);
  reader.require_end();
  return samples;
}

}  // namespace

TEST_CASE("A median of nothing is 0") {
  const RobustMedian<5> median;
  CHECK(median.empty());
  CHECK(median.count() == 0);
  CHECK(median.median() == 0);
}

TEST_CASE("The median is the middle sample, of two the lower one") {
  RobustMedian<5> median;
  const double samples[] = {7, 3, 9, 1, 5};
  const double medians[] = {7, 3, 7, 3, 5};
  for (int i = 0; i < 5; ++i) {
    median.add(samples[i]);
    CAPTURE(i);
    CHECK(median.count() == i + 1);
    CHECK(median.median() == medians[i]);
  }
  CHECK(!median.empty());
}

TEST_CASE("A median forgets its oldest sample") {
  RobustMedian<3> median;
  for (const double sample : {1.0, 2.0, 3.0, 10.0, 20.0}) median.add(sample);
  CHECK(kept(median) == std::vector<double>{3, 10, 20});
  CHECK(median.count() == 3);
  CHECK(median.median() == 10);
}

TEST_CASE("A minority of disturbed samples does not move a median away") {
  RobustMedian<9> median;
  for (int i = 0; i < 5; ++i) median.add(2.0 + 0.25 * i);
  for (int i = 0; i < 4; ++i) median.add(1000.0);
  CHECK(median.median() == 3.0);
}

TEST_CASE("A median leaves out what is negative or not finite, and takes 0") {
  RobustMedian<3> median;
  median.add(-1);
  median.add(-std::numeric_limits<double>::min());
  median.add(std::numeric_limits<double>::quiet_NaN());
  median.add(std::numeric_limits<double>::infinity());
  median.add(-std::numeric_limits<double>::infinity());
  CHECK(median.empty());
  median.add(0);
  CHECK(median.count() == 1);
}

TEST_CASE("A cleared median begins anew") {
  RobustMedian<3> median;
  for (const double sample : {5.0, 6.0, 7.0}) median.add(sample);
  median.clear();
  CHECK(median.empty());
  CHECK(median.median() == 0);
  median.add(1);
  CHECK(median.median() == 1);
}

TEST_CASE("A median of one sample is the last one") {
  RobustMedian<1> median;
  median.add(4);
  median.add(2);
  CHECK(median.median() == 2);
}

TEST_CASE("A restored median goes on as the saved one") {
  RobustMedian<5> saved;
  for (const double sample : {8.0, 1.0, 6.0, 3.0, 9.0, 2.0}) saved.add(sample);
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("median.state");
  {
    adr::StateWriter writer;
    adr::StateArchive archive(writer);
    saved.exchange("times", archive);
    writer.save(path);
  }
  RobustMedian<5> restored;
  restored.add(77);
  adr::StateReader reader(path);
  adr::StateArchive archive(reader);
  restored.exchange("times", archive);
  reader.require_end();
  CHECK(kept(restored) == std::vector<double>{1, 6, 3, 9, 2});
  saved.add(4);
  restored.add(4);
  CHECK(kept(restored) == kept(saved));
  CHECK(restored.median() == 4);
}

TEST_CASE("A median is not restored from a file of more samples") {
  RobustMedian<5> saved;
  for (int i = 0; i < 5; ++i) saved.add(i);
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("median.state");
  adr::StateWriter writer;
  adr::StateArchive put(writer);
  saved.exchange("times", put);
  writer.save(path);
  RobustMedian<3> smaller;
  adr::StateReader reader(path);
  adr::StateArchive get(reader);
  CHECK_THROWS_WITH(smaller.exchange("times", get),
                    adr_test::contains("times must be between 0 and 3"));
  CHECK(smaller.empty());
}
