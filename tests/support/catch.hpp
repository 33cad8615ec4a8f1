// Catch2 2 and Catch2 3 under one include. Use what is spelled alike in both: TEST_CASE, SECTION,
// TEMPLATE_TEST_CASE, GENERATE, INFO, CHECK..., Catch::Matchers::WithinAbs and WithinRel. Not
// Approx, not SKIP (support/skip.hpp instead), and for texts adr_test::contains.
#pragma once

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#define ADR_TEST_CATCH2_VERSION 3
#else
#include <catch2/catch.hpp>
#define ADR_TEST_CATCH2_VERSION 2
#endif

// The element types of TEMPLATE_TEST_CASE. With sanitizers one is enough: both are the same
// templates.
#if defined(ADR_TEST_FLOAT_ALONE)
#define ADR_TEST_ELEMENTS float
#else
#define ADR_TEST_ELEMENTS float, double
#endif

namespace adr_test {

/// A matcher for a part of a text, as in CHECK_THROWS_WITH(call(), contains("row_stride")).
inline auto contains(const std::string& part) {
#if ADR_TEST_CATCH2_VERSION == 3
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

}  // namespace adr_test
