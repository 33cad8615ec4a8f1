// What the main functions of the comparing programs have in common: arguments, mistakes and exit
// statuses.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "training/errors.hpp"

namespace training {

/// Parses the arguments and calls run(). Returns the exit status: 0, 2 for what the user can
/// correct, 1 for any other failure, whose text is printed behind the name.
template <class Run>
int run_program(CLI::App& app, int argc, char** argv, const char* name, const Run& run) {
  constexpr int k_failure = 1;
  constexpr int k_user_error = 2;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : k_user_error;
  }
  const auto fail = [&](const std::exception& error, int status) {
    std::fprintf(stderr, "%s: %s\n", name, error.what());
    return status;
  };
  try {
    run();
  } catch (const UserError& error) {
    return fail(error, k_user_error);
  } catch (const std::exception& error) {
    return fail(error, k_failure);
  }
  return 0;
}

}  // namespace training
