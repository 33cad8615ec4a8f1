// Codebooks in state files: what comes back encodes, decodes and learns on to the same bits, and
// whatever is no codebook of that shape is refused and changes nothing.
#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "adr/cluster/codebook_state.hpp"
#include "adr/unfold/matrix_vectors.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/refusal.hpp"
#include "support/state_bytes.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::AlignedBuffer;
using adr::Codebook;
using adr::CodebookShape;
using adr::CodebookState;
using adr::Context;
using adr::index_t;
using adr::MatrixVectors;
using adr::MatrixView;
using adr::StateReader;
using adr::StateWriter;
using adr::VectorCodes;
using adr_test::append_integer;
using adr_test::Bytes;
using adr_test::contains;
using adr_test::Data;
using adr_test::payload_of;
using adr_test::read_bytes;
using adr_test::state_file_of;
using adr_test::TemporaryFolder;
using adr_test::write_bytes;

constexpr index_t k_vectors = 530;

CodebookShape shape_of(index_t length, index_t group_length, index_t books, index_t entries) {
  CodebookShape shape;
  shape.length = length;
  shape.group_length = group_length;
  shape.books = books;
  shape.entries = entries;
  return shape;
}

/// Vectors whose elements depend on each other.
std::vector<float> some_vectors(Data& data, index_t length) {
  std::vector<float> elements = data.normals<float>(k_vectors * length);
  for (std::size_t i = 1; i < elements.size(); ++i) elements[i] += 0.8F * elements[i - 1] + 0.1F;
  return elements;
}

MatrixVectors<const float> vectors_of(const std::vector<float>& elements, index_t length) {
  return MatrixVectors<const float>({elements.data(), k_vectors, length});
}

VectorCodes encode(const Codebook& codebook, const std::vector<float>& elements) {
  Context context(1);
  context.workspace().reserve(codebook.encode_workspace_bytes(1));
  VectorCodes codes;
  codes.resize(k_vectors, codebook.decoder().book_count(), 0);
  codebook.encode(vectors_of(elements, codebook.shape().length), codes, context);
  return codes;
}

/// Fitted, and moved on by a second batch.
Codebook learned(const CodebookShape& shape, Data& data) {
  Codebook codebook(shape);
  const std::vector<float> first = some_vectors(data, shape.length);
  REQUIRE(codebook.fit(vectors_of(first, shape.length), {}));
  const std::vector<float> second = some_vectors(data, shape.length);
  codebook.refine(vectors_of(second, shape.length), encode(codebook, second), true);
  return codebook;
}

void append(Bytes& bytes, const AlignedBuffer<float>& buffer) {
  append_integer(bytes, static_cast<std::uint64_t>(buffer.size()), 8);
  const std::size_t old_size = bytes.size();
  bytes.resize(old_size + static_cast<std::size_t>(buffer.size()) * sizeof(float));
  if (buffer.size() > 0) {
    std::memcpy(bytes.data() + old_size, buffer.data(), bytes.size() - old_size);
  }
}

/// Everything that a codebook has learned and everything that follows from it, as it is in memory.
Bytes contents(const Codebook& codebook) {
  Bytes bytes;
  const auto number = [&](index_t value) {
    append_integer(bytes, static_cast<std::uint64_t>(value), 8);
  };
  const auto real = [&](double value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    append_integer(bytes, bits, 8);
  };
  real(codebook.fit_error());
  for (const adr::EncodingGroup& group : codebook.groups()) {
    const adr::PrincipalAxes& axes = group.axes;
    for (const index_t value : {group.first_element, axes.length, axes.kept, axes.encode_stride,
                                axes.decode_stride, group.book_count()}) {
      number(value);
    }
    real(axes.left_out);
    for (const auto* buffer :
         {&axes.mean, &axes.encode, &axes.decode, &axes.variances, &group.negated_mean}) {
      append(bytes, *buffer);
    }
    for (const adr::EncodingBook& book : group.books) {
      number(book.first_coordinate);
      number(book.coordinates);
      append(bytes, book.negated_entries);
      append(bytes, book.half_norms);
    }
  }
  const adr::Decoder& decoder = codebook.decoder();
  number(decoder.length);
  number(decoder.entry_count);
  number(decoder.reserves_padding ? 1 : 0);
  append(bytes, decoder.mean);
  for (const adr::DecodingBook& book : decoder.books) {
    number(book.first_element);
    number(book.length);
    number(book.stride);
    append(bytes, book.entries);
  }
  return bytes;
}

void save(const Codebook& codebook, const std::string& path) {
  StateWriter writer;
  write_codebook(writer, codebook);
  writer.save(path);
}

Codebook loaded(const CodebookShape& shape, const std::string& path) {
  Codebook codebook(shape);
  StateReader reader(path);
  read_codebook(reader, codebook);
  reader.require_end();
  return codebook;
}

std::string load_failure(const CodebookShape& shape, const std::string& path) {
  return adr_test::message_of<std::runtime_error>([&] { loaded(shape, path); });
}

/// The codebook of the golden file, part by part; or with another element of an entry.
Codebook small_codebook(float element = 0.5F) {
  CodebookShape shape = shape_of(2, 0, 1, 3);
  shape.kept_coordinates = 1;
  shape.reserves_padding = true;
  const auto fill = [](AlignedBuffer<float>& buffer, const std::vector<float>& values) {
    buffer.resize(static_cast<index_t>(values.size()));
    std::copy(values.begin(), values.end(), buffer.data());
  };
  const auto padded_row = [](float first, float second) {
    std::vector<float> row(16);
    row[0] = first;
    row[1] = second;
    return row;
  };
  const auto joined = [](std::vector<float> rows, const std::vector<float>& row) {
    rows.insert(rows.end(), row.begin(), row.end());
    return rows;
  };
  adr::EncodingGroup group;
  group.axes.length = 2;
  group.axes.kept = 1;
  group.axes.encode_stride = group.axes.decode_stride = 16;
  group.axes.left_out = 0.5;
  fill(group.axes.mean, {1.0F, -2.0F});
  fill(group.axes.encode, joined(padded_row(0.5F, 0.0F), padded_row(0.75F, 0.0F)));
  fill(group.axes.decode, padded_row(1.5F, 0.25F));
  fill(group.axes.variances, {3.0F});
  fill(group.negated_mean, {1.0F});
  adr::EncodingBook encoding;
  encoding.coordinates = 1;
  fill(encoding.negated_entries, {1.0F, -2.0F});
  fill(encoding.half_norms, {0.5F, 2.0F});
  group.books.push_back(std::move(encoding));
  adr::Decoder decoder;
  decoder.length = 2;
  decoder.entry_count = 3;
  decoder.reserves_padding = true;
  fill(decoder.mean, {1.0F, -2.0F});
  adr::DecodingBook decoding;
  decoding.length = 2;
  decoding.stride = 16;
  fill(decoding.entries, joined(joined(padded_row(-1.5F, -0.25F), padded_row(3.0F, element)),
                                padded_row(0.0F, 0.0F)));
  decoder.books.push_back(std::move(decoding));
  std::vector<adr::EncodingGroup> groups;
  groups.push_back(std::move(group));
  Codebook codebook(shape);
  codebook.restore(std::move(groups), std::move(decoder), 0.25);
  return codebook;
}

Bytes golden_bytes() {
  return adr_test::from_hex(
      "41445273746174650200000004030201410100000000000051d3f2b8c50aef070d00000000000000"
      "766563746f725f6c656e6774680100000000000000320c0000000000000067726f75705f6c656e67"
      "74680100000000000000300900000000000000636f6465626f6f6b730100000000000000310d0000"
      "0000000000636f6465626f6f6b5f73697a6501000000000000003309000000000000007175616e74"
      "697a6572070000000000000070726f6475637410000000000000006b6570745f636f6f7264696e61"
      "746573010000000000000031100000000000000072657365727665735f70616464696e6701000000"
      "00000000310100000000000000000000000000d03f02000000000000000100000000000000000000"
      "000000e03f0000803f000000c00000003f0000403f0000c03f0000803e0000404001000000000000"
      "000100000000000000000080bf000000400000c0bf000080be000040400000003f");
}

}  // namespace

TEST_CASE("A codebook comes back to the last bit and learns on alike") {
  Data data;
  INFO(data);
  const bool residual = GENERATE(false, true);
  const bool reserves_padding = GENERATE(false, true);
  const auto sizes =
      GENERATE(shape_of(1, 0, 1, 16), shape_of(3, 0, 4, 16), shape_of(17, 0, 2, 64),
               shape_of(32, 8, 2, 16), shape_of(75, 0, 4, 64), shape_of(37, 10, 3, 16));
  CodebookShape shape = sizes;
  shape.residual = residual;
  shape.reserves_padding = reserves_padding;
  INFO("length " << shape.length << ", groups of " << shape.group_length << ", residual "
                 << residual << ", padding " << reserves_padding);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  Codebook original = learned(shape, data);
  save(original, path);
  Codebook copy = loaded(shape, path);
  CHECK(copy.fitted());
  CHECK(contents(copy) == contents(original));

  const std::vector<float> batch = some_vectors(data, shape.length);
  const VectorCodes expected = encode(original, batch);
  const VectorCodes actual = encode(copy, batch);
  REQUIRE(actual.ids.size() == expected.ids.size());
  for (index_t b = 0; b < expected.books; ++b) {
    CHECK(std::memcmp(actual.plane(b), expected.plane(b), k_vectors) == 0);
  }
  const auto vectors = vectors_of(batch, shape.length);
  const Bytes before = contents(original);
  CHECK(original.refine(vectors, expected, true).relative_error() ==
        copy.refine(vectors, actual, true).relative_error());
  CHECK(contents(original) != before);
  CHECK(contents(copy) == contents(original));

  save(loaded(shape, path), folder.file("again"));
  CHECK(read_bytes(folder.file("again")) == read_bytes(path));
}

TEST_CASE("A codebook of 256 entries and one of constant vectors come back") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const CodebookShape large = shape_of(20, 0, 2, 256);
  const Codebook original = learned(large, data);
  save(original, path);
  CHECK(contents(loaded(large, path)) == contents(original));

  CodebookShape shape = shape_of(9, 0, 4, 16);
  shape.kept_coordinates = 5;  // of no variance: the last book is left without coordinates
  Codebook constant(shape);
  REQUIRE(constant.fit(vectors_of(std::vector<float>(9 * k_vectors, 2.0F), 9), {}));
  CHECK(constant.groups().front().books.back().coordinates == 0);
  save(constant, path);
  CHECK(contents(loaded(shape, path)) == contents(constant));
}

TEST_CASE("A codebook has the documented bytes in a state file") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const Codebook codebook = small_codebook();
  save(codebook, path);
  CHECK(read_bytes(path) == golden_bytes());
  write_bytes(path, golden_bytes());
  CHECK(contents(loaded(codebook.shape(), path)) == contents(codebook));
}

TEST_CASE("Reading counts as a change of the codebook, also back to an unfitted one") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const CodebookShape shape = shape_of(12, 0, 2, 16);
  Codebook codebook = learned(shape, data);
  save(codebook, path);
  const std::uint64_t before = codebook.version();
  StateReader same(path);
  read_codebook(same, codebook);
  CHECK(codebook.version() > before);

  save(Codebook(shape), path);
  CHECK_FALSE(loaded(shape, path).fitted());
  const std::uint64_t between = codebook.version();
  StateReader unfitted(path);
  read_codebook(unfitted, codebook);
  CHECK_FALSE(codebook.fitted());
  CHECK(codebook.version() > between);
}

TEST_CASE("One file holds several codebooks, restored together") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const CodebookShape shape = shape_of(12, 0, 2, 16);
  std::vector<Codebook> originals;
  originals.reserve(3);
  for (int g = 0; g < 3; ++g) originals.push_back(learned(shape, data));
  CHECK(contents(originals[0]) != contents(originals[1]));
  StateWriter writer;
  writer.put_setting("groups", 3);
  for (const Codebook& codebook : originals) write_codebook(writer, codebook);
  writer.save(path);

  StateReader reader(path);
  reader.require_setting("groups", 3);
  std::vector<CodebookState> states;
  states.reserve(3);
  for (int g = 0; g < 3; ++g) states.push_back(read_codebook_state(reader, shape));
  reader.require_end();
  for (std::size_t g = 0; g < 3; ++g) {
    Codebook copy(shape);
    restore_codebook(copy, std::move(states[g]));
    CHECK(contents(copy) == contents(originals[g]));
  }
}

TEST_CASE("A codebook of another shape is refused by what differs") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const CodebookShape shape = shape_of(64, 0, 4, 64);
  save(Codebook(shape), path);
  CHECK(load_failure(shape, path) == "(no error)");
  CodebookShape other = shape;
  std::string expected;
  SECTION("vector_length") {
    other.length = 75;
    expected = "is for vector_length 64, this layer has 75";
  }
  SECTION("group_length") {
    other.group_length = 16;
    expected = "is for group_length 0, this layer has 16";
  }
  SECTION("codebooks") {
    other.books = 2;
    expected = "is for codebooks 4, this layer has 2";
  }
  SECTION("codebook_size") {
    other.entries = 256;
    expected = "is for codebook_size 64, this layer has 256";
  }
  SECTION("quantizer") {
    other.residual = true;
    expected = "is for quantizer product, this layer has residual";
  }
  SECTION("kept_coordinates") {
    other.kept_coordinates = 9;
    expected = "is for kept_coordinates 0, this layer has 9";
  }
  SECTION("reserves_padding") {
    other.reserves_padding = true;
    expected = "is for reserves_padding 0, this layer has 1";
  }
  CHECK_THAT(load_failure(other, path), contains("'" + path + "' " + expected));
}

TEST_CASE("Another seed is no other shape") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  save(small_codebook(), path);
  CodebookShape shape = small_codebook().shape();
  shape.seed = 77;
  CHECK(contents(loaded(shape, path)) == contents(small_codebook()));
}

TEST_CASE("A file that ends early, with a right checksum, leaves the codebook as it was") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const Bytes payload = payload_of(golden_bytes());
  Codebook codebook = small_codebook();
  const Bytes before = contents(codebook);
  const std::uint64_t version = codebook.version();
  for (std::size_t length = 0; length < payload.size(); ++length) {
    INFO("length " << length);
    const Bytes part(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length));
    write_bytes(path, state_file_of(part));
    StateReader reader(path);
    REQUIRE_THROWS_AS(read_codebook(reader, codebook), std::runtime_error);
    REQUIRE(contents(codebook) == before);
    REQUIRE(codebook.version() == version);
  }
  Bytes longer = payload;
  longer.push_back(0);
  write_bytes(path, state_file_of(longer));
  CHECK_THAT(load_failure(codebook.shape(), path), contains("1 bytes are left"));
}

TEST_CASE("Any other byte, with a right checksum, is refused or only another finite number") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const Bytes golden = payload_of(golden_bytes());
  const CodebookShape shape = small_codebook().shape();
  const std::vector<float> batch(2 * k_vectors, 0.5F);
  int refused = 0;
  int taken = 0;
  for (std::size_t i = 0; i < golden.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff}) {
      Bytes payload = golden;
      payload[i] = static_cast<char>(value);
      if (payload == golden) continue;
      write_bytes(path, state_file_of(payload));
      INFO("byte " << i << " is " << value);
      if (const std::string message = load_failure(shape, path); message != "(no error)") {
        REQUIRE_THAT(message, contains(path));
        ++refused;
        continue;
      }
      const Codebook codebook = loaded(shape, path);
      const VectorCodes codes = encode(codebook, batch);
      REQUIRE(codebook.fitted());
      REQUIRE(*std::max_element(codes.plane(0), codes.plane(0) + k_vectors) < 2);
      ++taken;
    }
  }
  // 13 floats and 2 doubles may be other numbers.
  CHECK(taken > 200);
  CHECK(taken < (13 * 4 + 2 * 8) * 6);
  CHECK(refused > 1000);
}

TEST_CASE("Counts that a codebook cannot have are refused") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const CodebookShape shape = small_codebook().shape();
  const Bytes golden = payload_of(golden_bytes());
  const auto with = [&](std::size_t offset, std::uint64_t value) {
    Bytes field;
    append_integer(field, value, 8);
    Bytes payload = golden;
    std::copy(field.begin(), field.end(), payload.begin() + static_cast<std::ptrdiff_t>(offset));
    write_bytes(path, state_file_of(payload));
    return load_failure(shape, path);
  };
  // From the end: 6 entries, coordinates, books, and before them 7 floats, left_out, two counts.
  const std::size_t coordinates = golden.size() - 24 - 8;
  const std::size_t books = coordinates - 8;
  const std::size_t kept = books - 7 * 4 - 16;
  const std::size_t elements = kept - 8;
  const std::size_t fitted = elements - 16;
  REQUIRE(with(kept, 1) == "(no error)");
  for (const std::uint64_t huge :
       {std::uint64_t{3}, std::uint64_t{1} << 31, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    const std::string got = "got " + std::to_string(huge);
    CHECK_THAT(with(coordinates, huge), contains("coordinates of a codebook") && contains(got));
    CHECK_THAT(with(books, huge), contains("codebooks of a group") && contains(got));
    CHECK_THAT(with(kept, huge), contains("kept coordinates") && contains(got));
    CHECK_THAT(with(elements, huge), contains("elements of a group") && contains(got));
    CHECK_THAT(with(fitted, huge), contains("fitted") && contains(got));
  }
  CHECK_THAT(with(coordinates, 0), contains("must be between 1 and 1, got 0"));
  CHECK_THAT(with(kept, 0), contains("must be between 1 and 2, got 0"));
  CHECK_THAT(with(elements, 1), contains("must be between 2 and 2, got 1"));
  CHECK_THAT(with(kept, 2), contains(path));
}

TEST_CASE("Possible counts that the file does not hold are refused before memory is taken") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  constexpr index_t k_length = index_t{1} << 20;  // axes of 4 TB
  const CodebookShape shape = shape_of(k_length, 0, 4, 256);
  const std::vector<float> mean(static_cast<std::size_t>(k_length));
  save(Codebook(shape), path);
  Bytes payload = payload_of(read_bytes(path));
  payload.resize(payload.size() - 8);
  for (const std::uint64_t field : {std::uint64_t{1}, std::uint64_t{0}, std::uint64_t{k_length},
                                    std::uint64_t{k_length}, std::uint64_t{0}}) {
    append_integer(payload, field, 8);
  }
  payload.resize(payload.size() + mean.size() * sizeof(float));
  write_bytes(path, state_file_of(payload));
  CHECK_THAT(load_failure(shape, path),
             contains("encode needs 1048576 x 1048576 elements of 4 bytes, 0 bytes are left"));
}

TEST_CASE("A codebook that is not finite is not written") {
  StateWriter writer;
  const Codebook codebook = small_codebook(std::numeric_limits<float>::infinity());
  CHECK_THAT(adr_test::message_of<std::runtime_error>([&] { write_codebook(writer, codebook); }),
             contains("decoding entries must be finite"));
}
