// The main function of the tests under Catch2 2; Catch2 3 brings a compiled one.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
