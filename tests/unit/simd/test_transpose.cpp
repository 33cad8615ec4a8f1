#include <limits>
#include <vector>

#include "adr/simd/transpose.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"

namespace {

namespace simd = adr::simd;
using adr::index_t;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

/// Calls use(form of registers) for the native form and the plain one.
template <class Use>
void for_both_forms(const Use& use) {
  {
    INFO("native registers of " << simd::FloatLanes::size);
    use(simd::FloatLanes{});
  }
  {
    INFO("no registers");
    use(simd::PlainLanes{});
  }
}

/// 0, 1, and sizes around one and two tiles of every instruction set.
constexpr index_t k_sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 37};

enum class Way { replace, add };

template <class T, class U, Way way>
void check_all_sizes(Data& data) {
  for_both_forms([&](auto form) {
    using L = decltype(form);
    for (const index_t rows : k_sizes) {
      for (const index_t cols : k_sizes) {
        GuardedBuffer<T> from(rows, cols, cols + 3, Start::misaligned);
        GuardedBuffer<U> to(cols, rows, rows + 2, Start::misaligned);
        GuardedBuffer<U> before(cols, rows, rows);
        data.fill_normal(from.view());
        data.fill_normal(before.view());
        for (index_t j = 0; j < cols; ++j) {
          for (index_t i = 0; i < rows; ++i) to(j, i) = before(j, i);
        }
        const auto transpose =
            way == Way::add ? simd::transpose_add<T, U, L> : simd::transpose<T, U, L>;
        transpose(from.data(), cols + 3, rows, cols, to.data(), rows + 2);
        bool right = true;
        for (index_t i = 0; i < rows; ++i) {
          for (index_t j = 0; j < cols; ++j) {
            const U value = static_cast<U>(from(i, j));
            right = right && to(j, i) == (way == Way::add ? before(j, i) + value : value);
          }
        }
        INFO(rows << " x " << cols);
        CHECK(right);
        CHECK(to.damage() == "");
      }
    }
  });
}

}  // namespace

TEST_CASE("transpose writes every element of every size and nothing else") {
  Data data;
  INFO(data);
  check_all_sizes<float, float, Way::replace>(data);
  check_all_sizes<double, double, Way::replace>(data);
}

TEST_CASE("transpose rounds double to float") {
  Data data;
  INFO(data);
  check_all_sizes<double, float, Way::replace>(data);
}

TEST_CASE("transpose_add adds every element of every size and nothing else") {
  Data data;
  INFO(data);
  check_all_sizes<float, float, Way::add>(data);
  check_all_sizes<double, double, Way::add>(data);
}

TEST_CASE("transpose reads overlapping rows") {
  Data data;
  INFO(data);
  constexpr index_t k_rows = 37;
  constexpr index_t k_cols = 18;
  for_both_forms([&](auto form) {
    using L = decltype(form);
    for (const index_t stride : {1, 3}) {
      // Of exactly this size, so that the sanitizers see a read behind the last element.
      const std::vector<float> line = data.normals<float>((k_rows - 1) * stride + k_cols);
      GuardedBuffer<float> to(k_cols, k_rows, k_rows + 1);
      simd::transpose<float, float, L>(line.data(), stride, k_rows, k_cols, to.data(), k_rows + 1);
      bool right = true;
      for (index_t i = 0; i < k_rows; ++i) {
        for (index_t j = 0; j < k_cols; ++j)
          right = right && to(j, i) == line[static_cast<std::size_t>(i * stride + j)];
      }
      CHECK(right);
      CHECK(to.damage() == "");
    }
  });
}

TEST_CASE("transpose keeps values that are no numbers to themselves") {
  constexpr index_t k_size = 33;
  for_both_forms([&](auto form) {
    using L = decltype(form);
    GuardedBuffer<float> from(k_size, k_size, k_size);
    GuardedBuffer<float> to(k_size, k_size, k_size);
    for (index_t i = 0; i < k_size; ++i) {
      for (index_t j = 0; j < k_size; ++j) {
        from(i, j) = i == j ? std::numeric_limits<float>::infinity() : 1.0F;
        to(j, i) = 1;
      }
    }
    simd::transpose_add<float, float, L>(from.data(), k_size, k_size, k_size, to.data(), k_size);
    bool right = true;
    for (index_t i = 0; i < k_size; ++i) {
      for (index_t j = 0; j < k_size; ++j) {
        right = right && to(i, j) == (i == j ? std::numeric_limits<float>::infinity() : 2.0F);
      }
    }
    CHECK(right);
  });
}
