// packed_gemm and PackedFactor against plain loops: every orientation at sizes around registers,
// panels and blocks.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "adr/core/parallel.hpp"
#include "adr/exact/packed_factor.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "property/reuse_reference.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/elements.hpp"
#include "support/guarded_buffer.hpp"

using adr::GemmFactor;
using adr::index_t;
using adr::MatrixView;
using adr::PackedFactor;
using adr::Update;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

namespace {

/// A factor in guarded memory, awkwardly placed or not.
template <class T>
struct Stored {
  GuardedBuffer<T> buffer;
  bool transposed;
  Stored(index_t rows, index_t cols, bool transposed_, bool awkward)
      : buffer(transposed_ ? cols : rows, transposed_ ? rows : cols,
               (transposed_ ? rows : cols) + (awkward ? 3 : 0),
               awkward ? Start::misaligned : Start::aligned),
        transposed(transposed_) {}
  [[nodiscard]] GemmFactor<T> factor() const { return {buffer.view(), transposed}; }
};

template <class T>
T at(const GemmFactor<T>& factor, index_t i, index_t j) {
  return factor.transposed ? factor.matrix(j, i) : factor.matrix(i, j);
}

/// a b of whole numbers, which floats hold exactly whatever the order of the sums.
template <class T>
std::vector<T> product(const GemmFactor<T>& a, const GemmFactor<T>& b, std::vector<T> sums) {
  for (index_t i = 0; i < a.rows(); ++i) {
    T* row = sums.data() + i * b.cols();
    for (index_t k = 0; k < a.cols(); ++k) {
      for (index_t j = 0; j < b.cols(); ++j) row[j] += at(a, i, k) * at(b, k, j);
    }
  }
  return sums;
}

/// Around registers, panels, blocks of rows and of terms.
template <class T>
std::vector<index_t> sizes() {
  const index_t width = adr::detail::k_panel_width<T>;
  std::vector<index_t> all = {0, 1, 2, 3, 4, 5, 8, 9, 13, width - 1, width, width + 1, 64, 97, 130};
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

struct Choice {
  bool a_transposed, b_transposed, accumulate, awkward;
  explicit Choice(unsigned bits)
      : a_transposed((bits & 1u) != 0),
        b_transposed((bits & 2u) != 0),
        accumulate((bits & 4u) != 0),
        awkward((bits & 8u) != 0) {}
};

/// Whether to run the next case. Where builds are slow every eleventh will do: 11 shares no factor
/// with the lengths of the loops below, so that all that they go over comes up.
struct Turns {
  unsigned passed = 0;
  bool next() { return !adr_test::k_slow_build || passed++ % 11 == 0; }
};

template <class T, class Multiply>
void check(index_t n, index_t k, index_t m, const Choice& choice, Data& data,
           const Multiply& multiply) {
  Stored<T> a(n, k, choice.a_transposed, choice.awkward);
  Stored<T> b(k, m, choice.b_transposed, choice.awkward);
  GuardedBuffer<T> c(n, m, m + (choice.awkward ? 5 : 0));
  data.fill_whole(a.buffer.view());
  data.fill_whole(b.buffer.view());
  std::vector<T> expected(static_cast<std::size_t>(n * m));
  if (choice.accumulate) {
    data.fill_whole(c.view());
    expected = adr_test::elements_of(c);
  }
  expected = product(a.factor(), b.factor(), expected);
  multiply(a.factor(), b.factor(), choice.accumulate ? Update::accumulate : Update::replace,
           c.view());
  if (adr_test::elements_of(c) != expected || !a.buffer.damage().empty() ||
      !b.buffer.damage().empty() || !c.damage().empty()) {
    FAIL("n, k, m = " << n << ", " << k << ", " << m << "; transposed " << choice.a_transposed
                      << choice.b_transposed << ", accumulate " << choice.accumulate << ", awkward "
                      << choice.awkward << "; damage " << c.damage());
  }
}

template <class T, class Multiply>
void check_all(Data& data, const Multiply& multiply) {
  unsigned turn = 0;
  Turns turns;
  for (const index_t n : sizes<T>()) {
    for (const index_t m : sizes<T>()) {
      for (const index_t k : {1, 17, 67}) {
        // The orientations in every case, update and memory in turns.
        for (unsigned bits = 0; bits < 4; ++bits) {
          const unsigned other = turn++ * 7u % 16u & 12u;
          if (turns.next()) check<T>(n, k, m, Choice(bits | other), data, multiply);
        }
      }
    }
  }
  const index_t pairs[][2] = {{1, 5}, {3, 40}, {8, 21}, {6, 130}, {33, 20}, {50, 3}, {131, 1}};
  for (const auto& pair : pairs) {
    std::vector<index_t> depths = sizes<T>();
    for (const index_t k : {255, 256, 257, 300, 515, 2049}) depths.push_back(k);
    for (const index_t k : depths) {
      for (unsigned bits = 0; bits < 16; ++bits) {
        if (turns.next()) check<T>(pair[0], k, pair[1], Choice(bits), data, multiply);
      }
    }
  }
  // Several blocks of everything.
  for (unsigned bits = 0; bits < 16; ++bits) {
    if (!turns.next()) continue;
    check<T>(203, 530, 300, Choice(bits), data, multiply);
    check<T>(2, 130, 1100, Choice(bits), data, multiply);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("packed_gemm multiplies in every orientation", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  check_all<T>(data, [](const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                        const MatrixView<T>& c) { adr::packed_gemm(a, b, update, c); });
}

TEMPLATE_TEST_CASE("A packed factor multiplies as the factor", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  PackedFactor<T> packed;
  check_all<T>(data, [&](const GemmFactor<T>& a, const GemmFactor<T>& b, Update update,
                         const MatrixView<T>& c) {
    packed.pack(b);
    CHECK(packed.rows() == b.rows());
    CHECK(packed.cols() == b.cols());
    packed.multiply(a, update, c);
  });
}

TEMPLATE_TEST_CASE("packed_gemm rounds no more than sums may", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const index_t shapes[][3] = {{1, 3001, 7},    {5, 4099, 9},  {16, 1000, 65},
                               {64, 2000, 130}, {3, 700, 300}, {200, 27, 64}};
  for (const auto& s : shapes) {
    for (unsigned bits = 0; bits < 4; ++bits) {
      const Choice choice(bits);
      Stored<T> a(s[0], s[1], choice.a_transposed, true);
      Stored<T> b(s[1], s[2], choice.b_transposed, true);
      GuardedBuffer<T> c(s[0], s[2], s[2]);
      data.fill_normal(a.buffer.view());
      data.fill_normal(b.buffer.view());
      adr::packed_gemm(a.factor(), b.factor(), Update::replace, c.view());
      const auto whole = [](const Stored<T>& stored) {
        const adr_test::Matrix matrix(stored.buffer.view());
        return stored.transposed ? adr::reference::transpose(matrix) : matrix;
      };
      const adr_test::Expected expected{
          adr::reference::multiply(whole(a), whole(b)),
          adr::reference::multiply(adr_test::absolute(whole(a)), adr_test::absolute(whole(b))),
          s[1]};
      INFO("n, k, m = " << s[0] << ", " << s[1] << ", " << s[2] << "; orientation " << bits);
      CHECK(adr_test::fault<T>(c.view(), expected) == "");
    }
  }
}

TEST_CASE("packed_gemm keeps infinities and NaN to their rows and columns", "") {
  Data data;
  INFO(data);
  for (const index_t n : {1, 5, 40}) {
    for (unsigned bits = 0; bits < 4; ++bits) {
      const Choice choice(bits);
      Stored<float> a(n, 50, choice.a_transposed, false);
      Stored<float> b(50, 21, choice.b_transposed, false);
      GuardedBuffer<float> c(n, 21, 21);
      data.fill_whole(a.buffer.view());
      data.fill_whole(b.buffer.view());
      (choice.b_transposed ? b.buffer(20, 3) : b.buffer(3, 20)) = std::nanf("");
      adr::packed_gemm(a.factor(), b.factor(), Update::replace, c.view());
      for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < 21; ++j) REQUIRE(std::isnan(c(i, j)) == (j == 20));
      }
    }
  }
}

TEST_CASE("packed_gemm has the same bits in every thread", "") {
  Data data;
  INFO(data);
  const index_t shapes[][3] = {{1, 800, 70}, {7, 800, 70}, {64, 300, 200}, {300, 75, 64}};
  for (const auto& s : shapes) {
    for (unsigned bits = 0; bits < 4; ++bits) {
      const Choice choice(bits);
      Stored<float> a(s[0], s[1], choice.a_transposed, false);
      Stored<float> b(s[1], s[2], choice.b_transposed, false);
      data.fill_normal(a.buffer.view());
      data.fill_normal(b.buffer.view());
      std::vector<std::vector<float>> results(6);
      adr::parallel_for(6, 3, [&](index_t i, int) {
        GuardedBuffer<float> c(s[0], s[2], s[2] + i,
                               i % 2 == 0 ? Start::aligned : Start::misaligned);
        adr::packed_gemm(a.factor(), b.factor(), Update::replace, c.view());
        results[static_cast<std::size_t>(i)] = adr_test::elements_of(c);
      });
      for (const auto& result : results) CHECK(adr_test::same_bits(result, results[0]));
    }
  }
}

TEST_CASE("packed_gemm allocates nothing in the steady state") {
  Data data;
  PackedFactor<float> packed;
  const index_t shapes[][3] = {{1, 80, 70}, {5, 80, 70}, {64, 300, 200}, {300, 75, 64}};
  for (unsigned bits = 0; bits < 4; ++bits) {
    long counts[2] = {};
    for (long& count : counts) {
      for (const auto& s : shapes) {
        Stored<float> a(s[0], s[1], (bits & 1u) != 0, false);
        Stored<float> b(s[1], s[2], (bits & 2u) != 0, false);
        GuardedBuffer<float> c(s[0], s[2], s[2]);
        data.fill_normal(a.buffer.view());
        data.fill_normal(b.buffer.view());
        const long before = adr_test::allocations;
        adr::packed_gemm(a.factor(), b.factor(), Update::replace, c.view());
        packed.pack(b.factor());
        packed.multiply(a.factor(), Update::replace, c.view());
        count += adr_test::allocations - before;
      }
    }
    CHECK(counts[1] == 0);
  }
}
