// The last few values: found by key, kept in the order of use, the oldest replaced.
#include <string>
#include <vector>

#include "adr/core/recently_used.hpp"
#include "support/catch.hpp"

namespace {

using List = adr::detail::RecentlyUsed<int, std::string, 3>;

std::vector<std::string> values(const List& list) {
  std::vector<std::string> all;
  list.for_each([&](const std::string& value) { all.push_back(value); });
  return all;
}

}  // namespace

TEST_CASE("RecentlyUsed keeps the last used values, the last one first") {
  using Values = std::vector<std::string>;
  List list;
  CHECK(list.last() == nullptr);
  CHECK(list.find(1) == nullptr);
  CHECK(values(list).empty());
  CHECK(list.insert(1, "one") == "one");
  CHECK(list.insert(2, "two") == "two");
  CHECK(list.insert(3, "three") == "three");
  CHECK(values(list) == Values{"three", "two", "one"});

  REQUIRE(list.find(1) != nullptr);
  CHECK(*list.last() == "one");
  CHECK(values(list) == Values{"one", "three", "two"});
  CHECK(list.find(4) == nullptr);
  CHECK(values(list) == Values{"one", "three", "two"});

  list.insert(4, "four");
  CHECK(values(list) == Values{"four", "one", "three"});
  CHECK(list.find(2) == nullptr);
  *list.find(3) = "drei";
  CHECK(values(list) == Values{"drei", "four", "one"});
}

TEST_CASE("RecentlyUsed does not take a key that was never given for one it has") {
  List list;
  list.insert(5, "five");
  CHECK(list.find(0) == nullptr);  // the key of entries that are empty yet
}
