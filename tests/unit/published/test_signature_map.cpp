#include <unordered_map>
#include <vector>

#include "adr/published/signature_map.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

namespace {

using adr::index_t;
using adr::SignatureMap;
using adr_test::Data;

/// Puts the signatures into both maps; false when they ever differ.
bool agrees_with_standard_map(SignatureMap& map, const std::vector<std::uint64_t>& signatures) {
  std::unordered_map<std::uint64_t, std::int32_t> expected;
  for (const std::uint64_t signature : signatures) {
    const auto before = expected.find(signature);
    if (map.find(signature) !=
        (before == expected.end() ? SignatureMap::k_absent : before->second)) {
      return false;
    }
    const auto next = static_cast<std::int32_t>(expected.size());
    const std::int32_t number = expected.emplace(signature, next).first->second;
    if (map.find_or_insert(signature) != number) return false;
    if (map.size() != static_cast<std::int32_t>(expected.size())) return false;
  }
  for (const auto& [signature, number] : expected) {
    if (map.find(signature) != number) return false;
  }
  return true;
}

/// Signatures of `bits` bits of which about each second is new, in three kinds of order.
std::vector<std::uint64_t> random_signatures(Data& data, int bits, index_t count) {
  std::vector<std::uint64_t> result;
  const std::uint64_t mask = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  for (index_t i = 0; i < count; ++i) {
    const auto random = static_cast<std::uint64_t>(data.between(0, (index_t{1} << 62)));
    const bool known = !result.empty() && data.between(0, 1) == 0;
    result.push_back(known ? result[static_cast<std::size_t>(random % result.size())]
                           : (random * 4 + static_cast<std::uint64_t>(data.between(0, 3))) & mask);
  }
  return result;
}

}  // namespace

TEST_CASE("SignatureMap numbers signatures as the standard map does") {
  Data data;
  INFO(data);
  // 14 bits and fewer index a table, more are hashed.
  for (const int bits : {1, 2, 8, 13, 14, 15, 16, 20, 31, 32, 33, 63, 64}) {
    INFO(bits << " bits");
    SignatureMap map;
    map.reset(bits);
    CHECK(map.size() == 0);
    CHECK(agrees_with_standard_map(map, random_signatures(data, bits, 6000)));
  }
}

TEST_CASE("SignatureMap numbers extreme signatures") {
  for (const int bits : {1, 14, 15, 64}) {
    const std::uint64_t all = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    SignatureMap map;
    map.reset(bits);
    CHECK(map.find(0) == SignatureMap::k_absent);
    CHECK(map.find(all) == SignatureMap::k_absent);
    CHECK(map.find_or_insert(all) == 0);
    CHECK(map.find(0) == SignatureMap::k_absent);
    CHECK(map.find_or_insert(0) == 1);
    CHECK(map.find_or_insert(all) == 0);
    CHECK(map.find_or_insert(0) == 1);
    CHECK(map.size() == 2);
  }
}

TEST_CASE("SignatureMap keeps its numbers while it grows") {
  SignatureMap map;
  map.reset(64);
  constexpr std::int32_t k_count = 20000;
  // The signatures differ in the highest bits alone, which a weak hash would fold together.
  const auto signature = [](std::int32_t i) { return static_cast<std::uint64_t>(i) << 48; };
  bool numbered = true;
  for (std::int32_t i = 0; i < k_count; ++i) {
    numbered = numbered && map.find_or_insert(signature(i)) == i;
  }
  CHECK(numbered);
  bool kept = true;
  for (std::int32_t i = 0; i < k_count; ++i) kept = kept && map.find(signature(i)) == i;
  CHECK(kept);
  CHECK(map.find(signature(k_count)) == SignatureMap::k_absent);
  CHECK(map.size() == k_count);
}

TEST_CASE("SignatureMap shows every signature with its number once") {
  Data data;
  INFO(data);
  SignatureMap map;
  for (const int bits : {3, 14, 15, 64}) {
    INFO(bits << " bits");
    map.reset(bits);
    map.for_each([](std::uint64_t, std::int32_t) { FAIL("nothing is known yet"); });
    const std::vector<std::uint64_t> signatures = random_signatures(data, bits, 3000);
    for (const std::uint64_t signature : signatures) map.find_or_insert(signature);
    std::vector<int> seen(static_cast<std::size_t>(map.size()));
    bool right = true;
    map.for_each([&](std::uint64_t signature, std::int32_t number) {
      right = right && map.find(signature) == number;
      ++seen[static_cast<std::size_t>(number)];
    });
    CHECK(right);
    CHECK(seen == std::vector<int>(seen.size(), 1));
  }
}

TEST_CASE("SignatureMap forgets everything when it is reset and changes its form") {
  Data data;
  INFO(data);
  SignatureMap map;
  // Tables of every kind after tables of every other kind, small ones after large ones.
  for (const int bits : {10, 20, 10, 14, 64, 14, 3, 40, 64, 11, 15, 1, 64}) {
    INFO(bits << " bits");
    map.reset(bits);
    CHECK(map.size() == 0);
    CHECK(map.find(0) == SignatureMap::k_absent);
    CHECK(map.find(1) == SignatureMap::k_absent);
    CHECK(agrees_with_standard_map(map, random_signatures(data, bits, 3000)));
  }
}
