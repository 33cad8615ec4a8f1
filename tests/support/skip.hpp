// Tests that need files which are not part of the project: they name them by an environment
// variable and count as skipped, not as passed, where it is not set.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace adr_test {

/// ctest reports a test that prints this marker as skipped (see cmake/AdrTest.cmake).
inline void report_skipped(const std::string& reason) {
  std::printf("adr-test-skipped: %s\n", reason.c_str());
  std::fflush(stdout);
}

/// The folder that the variable (ADR_DATA or ADR_SNAPSHOTS) names; empty, and the test reported as
/// skipped, when it is not set. Use it as the first thing of a test case:
///   const std::string folder = adr_test::data_folder_or_skip("ADR_SNAPSHOTS");
///   if (folder.empty()) return;
inline std::string data_folder_or_skip(const char* variable) {
  const char* folder = std::getenv(variable);
  if (folder != nullptr && *folder != '\0') return folder;
  report_skipped(std::string(variable) + " is not set");
  return {};
}

}  // namespace adr_test
