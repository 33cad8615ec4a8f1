#include "adr/core/context.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"

TEST_CASE("Context runs on one thread unless told otherwise") {
  CHECK(adr::Context().threads() == 1);
  CHECK(adr::Context(3).threads() == 3);
  adr::Context context;
  context.set_threads(2);
  CHECK(context.threads() == 2);
  context.workspace().reserve(100);
  const adr::Context& seen = context;
  CHECK(seen.workspace().capacity_bytes() == 100);
}

TEST_CASE("Context refuses thread counts below 1") {
  adr::Context context(4);
  CHECK(adr_test::refusal([&] { context.set_threads(0); }) ==
        "thread_count must be at least 1, got 0");
  CHECK(adr_test::refusal([&] { context.set_threads(-2); }) ==
        "thread_count must be at least 1, got -2");
  CHECK(adr_test::refusal([&] { adr::Context refused(0); }) ==
        "thread_count must be at least 1, got 0");
  CHECK(context.threads() == 4);
}
