// Random test data that can be made again: one seed for a run, taken from the environment variable
// ADR_TEST_SEED, and printed with every failure of a test case that says INFO(data).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <ostream>
#include <vector>

#include "adr/core/random.hpp"
#include "adr/core/types.hpp"

namespace adr_test {

using adr::index_t;

/// The seed of this run; 1 unless ADR_TEST_SEED says otherwise.
inline std::uint64_t test_seed() {
  const char* text = std::getenv("ADR_TEST_SEED");
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : 1;
}

/// A source of test data. Begin a test case with:  Data data;  INFO(data);
class Data {
 public:
  Data() : random_(test_seed()) {}

  /// An approximately standard normal number.
  template <class T>
  T normal() {
    return static_cast<T>(random_.normal());
  }
  /// One with the probability `density`, else zero.
  template <class T>
  T normal_or_zero(double density) {
    return static_cast<double>(between(0, 999)) < density * 1000 ? normal<T>() : T(0);
  }
  /// A small whole number, -8 to 8: sums and products of these are exact in float, in any order.
  template <class T>
  T whole() {
    return static_cast<T>(between(-8, 8));
  }
  /// A uniform integer in [first, last].
  index_t between(index_t first, index_t last) { return first + random_.below(last - first + 1); }

  template <class T>
  void fill_normal(const adr::MatrixView<T>& matrix) {
    for_each(matrix, [&](T& element) { element = normal<T>(); });
  }
  template <class T>
  void fill_whole(const adr::MatrixView<T>& matrix) {
    for_each(matrix, [&](T& element) { element = whole<T>(); });
  }
  template <class T>
  std::vector<T> normals(index_t count) {
    std::vector<T> result(static_cast<std::size_t>(count));
    for (T& element : result) element = normal<T>();
    return result;
  }

  friend std::ostream& operator<<(std::ostream& out, const Data&) {
    return out << "to repeat: ADR_TEST_SEED=" << test_seed();
  }

 private:
  template <class T, class Use>
  static void for_each(const adr::MatrixView<T>& matrix, const Use& use) {
    for (index_t i = 0; i < matrix.rows; ++i) {
      for (index_t j = 0; j < matrix.cols; ++j) use(matrix(i, j));
    }
  }

  adr::Random random_;
};

/// Makes all but that share of the elements zero, and leaves one element in any case.
template <class T>
void thin_out(const adr::MatrixView<T>& matrix, double share, Data& data) {
  const auto kept = static_cast<index_t>(share * 1000);
  for (index_t i = 0; i < matrix.rows; ++i) {
    for (index_t j = 0; j < matrix.cols; ++j) {
      if (i + j > 0 && data.between(0, 999) >= kept) matrix(i, j) = T(0);
    }
  }
}

}  // namespace adr_test
