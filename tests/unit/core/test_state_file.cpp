// State files: the documented bytes, the fields come back to the last bit, and whatever else is
// found under the name is refused with a message that says why.
#include <cstring>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/resource.h>

#include <csignal>
#endif

#include "adr/core/state_archive.hpp"
#include "adr/core/state_file.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"
#include "support/state_bytes.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::AlignedBuffer;
using adr::index_t;
using adr::MatrixView;
using adr::StateReader;
using adr::StateWriter;
using adr_test::append_integer;
using adr_test::Bytes;
using adr_test::contains;
using adr_test::payload_of;
using adr_test::read_bytes;
using adr_test::refusal;
using adr_test::state_file_of;
using adr_test::StateHeader;
using adr_test::TemporaryFolder;
using adr_test::write_bytes;

constexpr float k_rows[2][4] = {{1.0F, -2.5F, 3.0F, 99.0F}, {0.5F, -0.0F, 1e-45F, 99.0F}};

/// What the golden file holds.
StateWriter small_state() {
  StateWriter writer;
  writer.put_setting("method", "subspace");
  writer.put_setting("outputs", 64);
  writer.put_count(7);
  writer.put_f64("error", -0.125);
  writer.put_rows("rows", MatrixView<const float>(k_rows[0], 2, 3, 4));
  return writer;
}

Bytes golden_bytes() {
  return adr_test::from_hex(
      "414452737461746504000000040302015f00000000000000de36e60374cccb310600000000000000"
      "6d6574686f640800000000000000737562737061636507000000000000006f757470757473020000"
      "000000000036340700000000000000000000000000c0bf0000803f000020c0000040400000003f00"
      "00008001000000");
}

/// The message with which a file of these bytes is refused before any field is read.
std::string refusal_of(const std::string& path, const Bytes& bytes) {
  write_bytes(path, bytes);
  return adr_test::message_of<std::runtime_error>([&] { StateReader reader(path); });
}

std::vector<std::string> names_in(const TemporaryFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

template <class Call>
std::string failure(const Call& call) {
  return adr_test::message_of<std::runtime_error>(call);
}

}  // namespace

TEST_CASE("A state file has the documented bytes") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  small_state().save(path);
  CHECK(read_bytes(path) == golden_bytes());
  CHECK(state_file_of(payload_of(golden_bytes())) == golden_bytes());
}

TEST_CASE("Nothing but a regular file is replaced") {
  const TemporaryFolder folder;
  const std::string file = folder.file("state");
  const std::string link = folder.file("link");
  small_state().save(file);
  std::filesystem::create_symlink(file, link);
  for (const std::string& path : {link, folder.path(), std::string("/dev/null")}) {
    CHECK_THAT(adr_test::message_of<std::runtime_error>([&] { small_state().save(path); }),
               adr_test::contains("what is there is no regular file"));
  }
  CHECK(std::filesystem::is_symlink(link));
  CHECK(std::filesystem::is_character_file("/dev/null"));
  CHECK(names_in(folder).size() == 2);
}

TEST_CASE("The golden state file is read as what it holds") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  write_bytes(path, golden_bytes());
  StateReader reader(path);
  reader.require_setting("method", "subspace");
  reader.require_setting("outputs", 64);
  CHECK(reader.get_count("count", 7, 7) == 7);
  CHECK(reader.get_f64("error") == -0.125);
  const AlignedBuffer<float> rows = reader.get_rows("rows", 2, 3, 16);
  REQUIRE(rows.size() == 32);
  for (index_t i = 0; i < 2; ++i) {
    CHECK(std::memcmp(rows.data() + i * 16, k_rows[i], 3 * sizeof(float)) == 0);
    for (index_t j = 3; j < 16; ++j) CHECK(rows[i * 16 + j] == 0.0F);
  }
  CHECK_NOTHROW(reader.require_end());
}

TEST_CASE("The extremes of every kind of field come back") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  using Float = std::numeric_limits<float>;
  using Double = std::numeric_limits<double>;
  const float floats[] = {Float::max(), Float::lowest(), Float::min(), Float::denorm_min(), -0.0F};
  const double doubles[] = {Double::max(), Double::lowest(), Double::denorm_min(), -0.0, 1.0 / 3};
  StateWriter writer;
  writer.put_u64(std::numeric_limits<std::uint64_t>::max());
  writer.put_u64(0);
  writer.put_count(std::numeric_limits<index_t>::max());
  writer.put_rows("floats", {floats, 1, 5});
  writer.put_rows("no rows", {nullptr, 0, 5});
  writer.put_rows("no columns", {nullptr, 5, 0});
  for (const double value : doubles) writer.put_f64("double", value);
  writer.put_setting(std::string(64, 'n'), "");
  writer.save(path);

  StateReader reader(path);
  CHECK(reader.get_u64("most") == std::numeric_limits<std::uint64_t>::max());
  CHECK(reader.get_u64("least") == 0);
  constexpr index_t k_most = std::numeric_limits<index_t>::max();
  CHECK(reader.get_count("count", 0, k_most) == k_most);
  CHECK(std::memcmp(reader.get_rows("floats", 1, 5, 5).data(), floats, sizeof(floats)) == 0);
  CHECK(reader.get_rows("no rows", 0, 5, 16).size() == 0);
  CHECK(reader.get_rows("no columns", 5, 0, 0).size() == 0);
  for (const double value : doubles) {
    const double read = reader.get_f64("double");
    CHECK(std::memcmp(&read, &value, sizeof(value)) == 0);
  }
  CHECK_NOTHROW(reader.require_setting(std::string(64, 'n'), ""));
  CHECK_NOTHROW(reader.require_end());
}

namespace {

/// One field of every kind, listed once.
enum class Letter { a, b, c };
struct Everything {
  double real = 0;
  std::uint64_t bits = 0;
  bool flag = false;
  std::int32_t small = 0;
  index_t large = 0;
  int from_minus_one = 0;
  Letter letter = Letter::a;
  AlignedBuffer<std::uint64_t> numbers;
  AlignedBuffer<float> floats;
  AlignedBuffer<double> doubles = AlignedBuffer<double>(2);

  void exchange(adr::StateArchive& archive) {
    archive.agree("name", "value");
    archive.agree("number", 7);
    archive("real", real);
    archive("bits", bits);
    archive("flag", flag);
    archive.count("small", small, 0, 9);
    archive("large", large);
    archive.count("signed", from_minus_one, -1, 1);
    archive.choice("letter", letter, Letter::c);
    archive.numbers("numbers", numbers, small);
    archive.rows("floats", floats, 2, 3, 16);
    archive.row("doubles", doubles.data(), 2);
  }
};

void save(Everything& everything, const std::string& path) {
  StateWriter writer;
  adr::StateArchive saver(writer);
  everything.exchange(saver);
  writer.save(path);
}

void load(Everything& everything, const std::string& path) {
  StateReader reader(path);
  adr::StateArchive loader(reader);
  everything.exchange(loader);
  reader.require_end();
}

}  // namespace

TEST_CASE("One list of fields writes them and reads them back") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  Everything written;
  written.real = -1.0 / 3;
  written.bits = ~std::uint64_t{5};
  written.flag = true;
  written.small = 2;
  written.large = (index_t{1} << 62) - 1;
  written.from_minus_one = -1;
  written.letter = Letter::b;
  for (const std::uint64_t number : {~std::uint64_t{0}, std::uint64_t{3}}) {
    written.numbers.resize(written.numbers.size() + 1);
    written.numbers[written.numbers.size() - 1] = number;
  }
  written.floats.assign(32, 0.0F);
  for (const index_t i : {0, 1, 2, 16, 17, 18}) written.floats[i] = 0.1F * static_cast<float>(i);
  written.doubles[0] = std::numeric_limits<double>::max();
  written.doubles[1] = 1.0 / 3;
  save(written, path);

  Everything read;
  read.numbers.assign(5, 1);
  load(read, path);
  CHECK(read.real == written.real);
  CHECK(read.bits == written.bits);
  CHECK(read.flag);
  CHECK(read.small == 2);
  CHECK(read.large == written.large);
  CHECK(read.from_minus_one == -1);
  CHECK(read.letter == Letter::b);
  REQUIRE(read.numbers.size() == 2);
  CHECK(read.numbers[0] == written.numbers[0]);
  CHECK(read.numbers[1] == 3);
  REQUIRE(read.floats.size() == 32);
  CHECK(std::memcmp(read.floats.data(), written.floats.data(), 32 * sizeof(float)) == 0);
  CHECK(std::memcmp(read.doubles.data(), written.doubles.data(), 2 * sizeof(double)) == 0);
  save(read, folder.file("again"));
  CHECK(read_bytes(folder.file("again")) == read_bytes(path));

  written.small = 10;
  CHECK_THAT(refusal([&] { save(written, path); }),
             contains("small must be between 0 and 9, got 10"));
  StateWriter writer;
  writer.put_setting("name", "value");
  writer.put_setting("number", 7);
  writer.put_f64("real", 0);
  for (const index_t count : {0, 1, 10}) writer.put_count(count);
  writer.save(path);
  CHECK_THAT(failure([&] { load(read, path); }), contains("small must be between 0 and 9, got 10"));
  CHECK_THAT(failure([&] {
               StateReader reader(path);
               adr::StateArchive(reader).require(false, "rule ", 7);
             }),
             contains("'" + path + "': rule 7"));
}

TEST_CASE("Doubles take eight bytes each, also where rows are padded") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const double rows[2][3] = {{1.0, -2.5, 99.0}, {0.1, -0.0, 99.0}};
  StateWriter writer;
  writer.put_rows("rows", MatrixView<const double>(rows[0], 2, 2, 3));
  writer.save(path);
  Bytes expected;
  for (const double value : {1.0, -2.5, 0.1, -0.0}) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    append_integer(expected, bits, 8);
  }
  CHECK(payload_of(read_bytes(path)) == expected);
  const AlignedBuffer<double> read = StateReader(path).get_rows<double>("rows", 2, 2, 8);
  REQUIRE(read.size() == 16);
  for (index_t i = 0; i < 2; ++i) {
    CHECK(std::memcmp(read.data() + i * 8, rows[i], 2 * sizeof(double)) == 0);
    for (index_t j = 2; j < 8; ++j) CHECK(read[i * 8 + j] == 0.0);
  }
  CHECK_THAT(failure([&] { StateReader(path).get_rows<double>("rows", 5, 1, 8); }),
             contains("rows needs 5 x 1 elements of 8 bytes, 32 bytes are left"));
  const double bad = std::numeric_limits<double>::infinity();
  CHECK_THAT(failure([&] { writer.put_rows("rows", MatrixView<const double>(&bad, 1, 1)); }),
             contains("rows must be finite"));
}

TEST_CASE("A state file without fields and one of several megabytes are read") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  StateWriter().save(path);
  CHECK_NOTHROW(StateReader(path).require_end());

  std::vector<float> numbers(700'001);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  StateWriter writer;
  writer.put_rows("numbers", {numbers.data(), 1, 700'001});
  writer.save(path);
  StateReader reader(path);
  const AlignedBuffer<float> read = reader.get_rows("numbers", 1, 700'001, 700'001);
  CHECK(std::equal(numbers.begin(), numbers.end(), read.data()));
  CHECK_NOTHROW(reader.require_end());

  Bytes file = read_bytes(path);
  file.resize(file.size() - 1);
  CHECK_THAT(refusal_of(path, file), contains("2800004 bytes, 2800003 are there"));
}

TEST_CASE("Every flipped bit of a state file is noticed") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  Bytes file = golden_bytes();
  REQUIRE(refusal_of(path, file) == "(no error)");
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    const auto flip = static_cast<char>(1 << (bit % 8));
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ flip);
    INFO("bit " << bit);
    REQUIRE_THAT(refusal_of(path, file), contains(path));
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ flip);
  }
}

TEST_CASE("State files of any other length are refused") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const Bytes file = golden_bytes();
  for (std::size_t length = 0; length < file.size(); ++length) {
    INFO("length " << length);
    const Bytes part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
    REQUIRE_THAT(refusal_of(path, part), contains(length < 8 ? "no state file" : "truncated"));
  }
  Bytes longer = file;
  longer.push_back(0);
  CHECK_THAT(refusal_of(path, longer), contains("goes on after its payload of 95 bytes"));
  longer = file;
  longer.insert(longer.end(), file.begin(), file.end());
  CHECK_THAT(refusal_of(path, longer), contains("goes on after its payload of 95 bytes"));
}

TEST_CASE("Headers that this library does not write are refused by name") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const Bytes payload = payload_of(golden_bytes());
  StateHeader header(payload);
  SECTION("a foreign file") {
    header.magic = "ADRStatE";
    CHECK_THAT(refusal_of(path, header.followed_by(payload)), contains("does not begin with"));
  }
  SECTION("an older version") {
    header.version = 2;
    CHECK_THAT(refusal_of(path, header.followed_by(payload)),
               contains("has format version 2, this library reads version 4"));
  }
  SECTION("a newer version") {
    header.version = 5;
    CHECK_THAT(refusal_of(path, header.followed_by(payload)), contains("has format version 5"));
  }
  SECTION("no version") {
    header.version = 0;
    CHECK_THAT(refusal_of(path, header.followed_by(payload)), contains("has format version 0"));
  }
  SECTION("the other byte order") {
    header.byte_order = 0x04030201;
    header.version = 1 << 24;
    CHECK_THAT(refusal_of(path, header.followed_by(payload)), contains("in the wrong order"));
  }
  SECTION("a size that no machine has room for") {
    header.size = std::uint64_t{1} << 62;
    CHECK_THAT(refusal_of(path, header.followed_by(payload)),
               contains("4611686018427387904 bytes, 95 are there"));
    header.size = std::numeric_limits<std::uint64_t>::max();
    CHECK_THAT(refusal_of(path, header.followed_by(payload)), contains("truncated"));
  }
  SECTION("another checksum") {
    ++header.checksum;
    CHECK_THAT(refusal_of(path, header.followed_by(payload)), contains("checksum"));
  }
}

TEST_CASE("Places without a readable file are refused") {
  const TemporaryFolder folder;
  CHECK_THAT(failure([&] { StateReader reader(folder.file("nothing")); }),
             contains("cannot be opened: No such file"));
  CHECK_THAT(failure([&] { StateReader reader(folder.path()); }), contains(folder.path()));
}

TEST_CASE("Fields that are not what is asked for are refused") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  small_state().save(path);
  StateReader reader(path);
  SECTION("another value") {
    CHECK_THAT(failure([&] { reader.require_setting("method", "dense"); }),
               contains("'" + path + "' is for method subspace, this layer has dense"));
  }
  SECTION("another number") {
    reader.require_setting("method", "subspace");
    CHECK_THAT(failure([&] { reader.require_setting("outputs", 63); }),
               contains("is for outputs 64, this layer has 63"));
  }
  SECTION("another setting") {
    CHECK_THAT(failure([&] { reader.require_setting("outputs", 64); }),
               contains("the setting outputs must be next, got method"));
  }
  SECTION("a count out of bounds") {
    reader.require_setting("method", "subspace");
    reader.require_setting("outputs", 64);
    StateReader copy = reader;
    CHECK_THAT(failure([&] { reader.get_count("groups", 8, 9); }),
               contains("groups must be between 8 and 9, got 7"));
    CHECK_THAT(failure([&] { copy.get_count("groups", 0, 6); }), contains("got 7"));
  }
  SECTION("fields left over") {
    CHECK_THAT(failure([&] { reader.require_end(); }), contains("95 bytes are left"));
  }
}

TEST_CASE("Fields beyond the end are refused before memory is taken for them") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  StateWriter writer;
  writer.put_u64(std::numeric_limits<std::uint64_t>::max());
  writer.save(path);
  constexpr index_t k_huge = index_t{1} << 40;
  const auto refused = [&](const auto& read) {
    return failure([&] {
      StateReader reader(path);
      read(reader);
    });
  };
  CHECK_THAT(refused([](StateReader& r) { r.get_rows("axes", k_huge, k_huge, k_huge); }),
             contains("axes needs 1099511627776 x 1099511627776 elements of 4 bytes, 8 bytes"));
  CHECK_THAT(refused([](StateReader& r) { r.get_rows("axes", 1, k_huge, k_huge); }),
             contains("axes needs"));
  CHECK_THAT(refused([](StateReader& r) { r.get_rows("axes", k_huge, 1, 16); }),
             contains("axes needs"));
  CHECK_THAT(refused([](StateReader& r) { r.get_rows("axes", 3, 1, 16); }), contains("axes needs"));
  CHECK_THAT(refused([](StateReader& r) { r.get_count("count", 0, k_huge); }),
             contains("got 18446744073709551615"));
  CHECK_THAT(refused([](StateReader& r) { r.require_setting("name", "value"); }),
             contains("a text must be between 0 and 64"));
  CHECK_THAT(refused([](StateReader& r) {
               r.get_u64("first");
               r.get_u64("second");
             }),
             contains("second needs 1 x 1 elements of 8 bytes, 0 bytes are left"));
}

TEST_CASE("Numbers that are not finite are neither written nor read") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const float bad_floats[] = {std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()};
  for (const float bad : bad_floats) {
    StateWriter writer;
    const float row[2] = {1.0F, bad};
    CHECK_THAT(failure([&] {
                 writer.put_rows("mean", {row, 1, 2});
               }),
               contains("mean must be finite"));
    CHECK_THAT(failure([&] { writer.put_f64("error", double{bad}); }),
               contains("error must be finite"));

    std::uint32_t bits = 0;
    std::memcpy(&bits, &bad, sizeof(bits));
    Bytes payload;
    append_integer(payload, bits, 4);
    write_bytes(path, state_file_of(payload));
    CHECK_THAT(failure([&] { StateReader(path).get_rows("mean", 1, 1, 1); }),
               contains("mean must be finite"));
    const double wide = double{bad};
    std::uint64_t wide_bits = 0;
    std::memcpy(&wide_bits, &wide, sizeof(wide_bits));
    payload.clear();
    append_integer(payload, wide_bits, 8);
    write_bytes(path, state_file_of(payload));
    CHECK_THAT(failure([&] { StateReader(path).get_f64("error"); }),
               contains("error must be finite"));
  }
}

TEST_CASE("Saving replaces the file and leaves nothing else") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  write_bytes(path, {'o', 'l', 'd'});
  small_state().save(path);
  CHECK(read_bytes(path) == golden_bytes());
  CHECK(names_in(folder) == std::vector<std::string>{"state"});
  StateWriter().save(path);
  CHECK(read_bytes(path).size() == 32);
}

TEST_CASE("Saving does not touch what another writer has begun") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  write_bytes(path + ".tmp0", {'b', 'e', 'g', 'u', 'n'});
  small_state().save(path);
  CHECK(read_bytes(path) == golden_bytes());
  CHECK(read_bytes(path + ".tmp0") == Bytes{'b', 'e', 'g', 'u', 'n'});
  CHECK(names_in(folder).size() == 2);
}

TEST_CASE("A place that cannot be written is refused and nothing is left behind") {
  const TemporaryFolder folder;
  const std::string nowhere = folder.file("no/such/folder");
  CHECK_THAT(failure([&] { small_state().save(nowhere); }),
             contains("state file '" + nowhere + "' cannot be written: No such file"));
  const std::string taken = folder.file("taken");
  std::filesystem::create_directories(taken + "/folder");
  CHECK_THAT(failure([&] { small_state().save(taken); }),
             contains("state file '" + taken + "' cannot be written: "));
  CHECK(names_in(folder) == std::vector<std::string>{"taken"});
  CHECK_THAT(failure([&] { small_state().save(""); }), contains("state file '' cannot be written"));
}

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("Without room for the whole file the old one stays") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  small_state().save(path);
  const std::vector<float> numbers(100'000);
  StateWriter large;
  large.put_rows("numbers", {numbers.data(), 1, 100'000});

  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit narrow = before;
  narrow.rlim_cur = 20'000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &narrow) == 0);
  const std::string message = failure([&] { large.save(path); });
  REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, handler);

  CHECK_THAT(message, contains("state file '" + path + "' cannot be written: File too large"));
  CHECK(read_bytes(path) == golden_bytes());
  CHECK(names_in(folder) == std::vector<std::string>{"state"});
  large.save(path);
  CHECK(read_bytes(path).size() == 400'040 - 8);
}
#endif
