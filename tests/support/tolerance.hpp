// How far a result may be from the double-precision reference, and a comparison that cannot be
// vacuous.
//
// A sum of K products in T is off by at most gamma_K * sum |x||w|, with gamma_K = K u / (1 - K u)
// and u half the machine epsilon, whatever the order of the terms and fused or not. Tolerances are
// made of that bound; one chosen by hand either hides errors or fails at random.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>

#include "adr/core/types.hpp"

namespace adr_test {

using adr::index_t;

/// The bound for a sum of `terms` products whose absolute values add up to `magnitude`, times 2.
template <class T>
double sum_tolerance(index_t terms, double magnitude) {
  const double rounded =
      static_cast<double>(terms + 2) * 0.5 * static_cast<double>(std::numeric_limits<T>::epsilon());
  return 2 * rounded / (1 - rounded) * magnitude;
}

/// Compares results with their references one by one. In a test: CHECK(comparison.fault() == "").
class Comparison {
 public:
  void expect(double actual, double expected, double tolerance) {
    // Written so that a NaN on either side is an error.
    if (!(std::abs(actual - expected) <= tolerance) && first_error_.empty()) {
      std::ostringstream text;
      text.precision(17);
      text << "element " << count_ << " is " << actual << ", the reference " << expected
           << ", tolerance " << tolerance;
      first_error_ = text.str();
    }
    largest_tolerance_ = std::max(largest_tolerance_, tolerance);
    largest_reference_ = std::max(largest_reference_, std::abs(expected));
    ++count_;
  }

  /// Empty when every element is within its tolerance and the tolerances can tell the results from
  /// zero.
  [[nodiscard]] std::string fault() const {
    if (!first_error_.empty()) return first_error_;
    if (largest_tolerance_ > 0 && !(largest_tolerance_ < largest_reference_)) {
      std::ostringstream text;
      text << "vacuous: the tolerance " << largest_tolerance_ << " reaches the largest reference "
           << largest_reference_;
      return text.str();
    }
    return {};
  }

 private:
  index_t count_ = 0;
  double largest_tolerance_ = 0;
  double largest_reference_ = 0;
  std::string first_error_;
};

}  // namespace adr_test
