// Reading CIFAR-10 files: whole ones are read, all others are refused with a reason.
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/skip.hpp"
#include "training/cifar10.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr_test::contains;
using adr_test::TemporaryFolder;
using adr_test::write_bytes;
using training::read_cifar10;

/// Record i has label i % 10 and pixel bytes that count up from first_byte + i.
std::vector<char> records(int count, int first_byte) {
  std::vector<char> bytes;
  for (int i = 0; i < count; ++i) {
    bytes.push_back(static_cast<char>(i % 10));
    for (int p = 0; p < 3072; ++p) bytes.push_back(static_cast<char>(first_byte + i + p));
  }
  return bytes;
}

void write_folder(const TemporaryFolder& folder) {
  write_bytes(folder.file("data_batch_2.bin"), records(4, 100));
  write_bytes(folder.file("data_batch_1.bin"), records(12, 0));
  write_bytes(folder.file("test_batch.bin"), records(3, 50));
}

}  // namespace

TEST_CASE("All records are read in the order of the files") {
  const TemporaryFolder folder;
  write_folder(folder);
  const training::DataSet data = read_cifar10(folder.path(), 0, 0);
  REQUIRE(data.train.size() == 16);
  REQUIRE(data.test.size() == 3);
  CHECK(data.train.labels[11] == 1);
  CHECK(data.train.labels[12] == 0);
  CHECK(data.train.image(12)[5] == 105);
  CHECK(data.test.image(2)[0] == 52);
  CHECK(data.train.shape == training::ImageShape{3, 32, 32});
  CHECK(data.train.pixels.size() == 16 * 3072);
}

TEST_CASE("A limit takes the first images and reaches across files") {
  const TemporaryFolder folder;
  write_folder(folder);
  CHECK(read_cifar10(folder.path(), 5, 2).train.size() == 5);
  CHECK(read_cifar10(folder.path(), 13, 2).train.size() == 13);
  CHECK(read_cifar10(folder.path(), 5, 2).test.size() == 2);
  CHECK_THROWS_WITH(read_cifar10(folder.path(), 17, 0),
                    contains("--train-images must be at most") && contains("(16), got 17"));
  CHECK_THROWS_WITH(read_cifar10(folder.path(), 0, 4),
                    contains("--test-images must be at most") && contains("(3), got 4"));
}

TEST_CASE("Truncated and foreign files are refused") {
  const TemporaryFolder folder;
  write_folder(folder);
  std::vector<char> bytes = records(4, 0);

  SECTION("a record cut short") {
    bytes.pop_back();
    write_bytes(folder.file("data_batch_2.bin"), bytes);
    CHECK_THROWS_WITH(read_cifar10(folder.path(), 0, 0),
                      contains("data_batch_2.bin") && contains("3073 bytes, got 12291"));
  }
  SECTION("an empty file") {
    write_bytes(folder.file("test_batch.bin"), {});
    CHECK_THROWS_WITH(read_cifar10(folder.path(), 0, 0), contains("got 0 bytes"));
  }
  SECTION("a label that does not exist") {
    bytes[3073] = 10;
    write_bytes(folder.file("data_batch_2.bin"), bytes);
    CHECK_THROWS_WITH(read_cifar10(folder.path(), 0, 0), contains("below 10, got 10 in record 1"));
  }
  SECTION("nothing is appended from a refused file") {
    bytes[3 * 3073] = 77;
    write_bytes(folder.file("foreign.bin"), bytes);
    training::ImageSet set;
    CHECK_THROWS_AS(training::append_cifar10_file(folder.file("foreign.bin"), 100, set),
                    training::UserError);
    CHECK(set.size() == 0);
    CHECK(set.pixels.empty());
  }
}

TEST_CASE("Missing folders and files are refused") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(read_cifar10(folder.file("nowhere"), 0, 0), contains("must name a folder"));
  CHECK_THROWS_WITH(read_cifar10(folder.path(), 0, 0), contains("found no data_batch_*.bin"));
  write_bytes(folder.file("data_batch_1.bin"), records(1, 0));
  CHECK_THROWS_WITH(read_cifar10(folder.path(), 0, 0),
                    contains("test_batch.bin") && contains("cannot be read"));
}

TEST_CASE("The real data set is balanced") {
  const std::string folder = adr_test::data_folder_or_skip("ADR_DATA");
  if (folder.empty()) return;
  const training::DataSet data = read_cifar10(folder, 0, 0);
  std::vector<int> per_class(10, 0);
  for (const std::uint8_t label : data.test.labels) ++per_class[label];
  for (const int count : per_class) {
    CHECK(count > data.test.size() / 20);
    CHECK(count < data.test.size() / 5);
  }
}
