// CSV files that a resumed run goes on with: what is kept, and that nothing is lost where it cannot
// be.
#include <filesystem>
#include <string>

#include "support/catch.hpp"
#include "training/csv_file.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr_test::contains;
using training::CsvFile;

void write(const std::string& path, const std::string& text) {
  adr_test::write_bytes(path, {text.begin(), text.end()});
}
std::string read(const std::string& path) {
  const auto bytes = adr_test::read_bytes(path);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("A CSV file begins anew, each row on disk at once") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("a.csv");
  write(path, "something else\n");
  CsvFile file("--csv", path, "step,loss", {});
  CHECK(read(path) == "step,loss\n");
  file.append("10,2.5");
  CHECK(read(path) == "step,loss\n10,2.5\n");
}

TEST_CASE("A CSV file of a resumed run keeps the rows up to the checkpoint") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("a.csv");
  write(path, "step,loss\n10,2.5\n20,2.25\n30,2\n");
  CsvFile file("--csv", path, "step,loss", {25, 2});
  file.append("30,1.75");
  CHECK(read(path) == "step,loss\n10,2.5\n20,2.25\n30,1.75\n");
  CsvFile missing("--csv", folder.file("b.csv"), "step,loss", {25, 2});
  CHECK(read(folder.file("b.csv")) == "step,loss\n");
}

TEST_CASE("A CSV file that cannot be continued stays as it is") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("a.csv");
  const std::string text = "step,loss\n10,2.5\n";
  write(path, text);
  CHECK_THROWS_WITH(CsvFile("--csv", path, "step,accuracy", {10, 1}),
                    contains("must begin with the columns of this run"));
  CHECK_THROWS_WITH(CsvFile("--csv", path, "step,loss", {20, 2}),
                    contains("must hold the 2 rows up to the checkpoint, got 1"));
  CHECK(read(path) == text);
  CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST_CASE("Without a path no CSV file is written") {
  CsvFile file("--csv", "", "step,loss", {});
  file.append("10,2.5");
  CHECK_FALSE(file.is_open());
}

TEST_CASE("A CSV file that cannot be written names the option and the path") {
  CHECK_THROWS_WITH(CsvFile("--trace", "no/such/folder/a.csv", "step,loss", {}),
                    contains("--trace: cannot write to 'no/such/folder/a.csv'"));
}
