// Headers of other libraries that nearly every test includes, compiled once for all tests.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
