#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "adr/simd/kernels.hpp"
#include "adr/simd/row_copies.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/sizes.hpp"
#include "support/tolerance.hpp"

namespace {

namespace simd = adr::simd;
using adr::index_t;
using adr::MatrixView;
using adr_test::awkward_sizes;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;
using adr_test::sum_tolerance;

constexpr Start k_starts[] = {Start::aligned, Start::misaligned};

/// Calls use(register type) for the two forms that every kernel exists in.
template <class T, class Use>
void for_both_forms(const Use& use) {
  {
    INFO("native registers of " << simd::Batch<T>::size);
    use(simd::Batch<T>{});
  }
  {
    INFO("scalar registers");
    use(simd::ScalarBatch<T>{});
  }
}

template <class T>
bool same_bits(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

/// Hyperplanes in the form that sign_signatures takes: transposed, padded with zeros, with poison
/// behind the padding.
template <class T>
struct Planes {
  index_t stride;
  GuardedBuffer<T> planes;
  GuardedBuffer<T> thresholds;

  Planes(Data& data, index_t length, int count, bool centred)
      : stride(simd::padded(count)),
        planes(length, stride, stride + 3),
        thresholds(stride, Start::misaligned) {
    for (index_t h = 0; h < stride; ++h) {
      for (index_t l = 0; l < length; ++l) planes(l, h) = h < count ? data.normal<T>() : T(0);
      thresholds(0, h) = centred && h < count ? data.normal<T>() : T(0);
    }
  }
};

/// The signatures of vectors, which must not have damaged anything; `finite` receives the result.
template <class T, class B>
std::vector<std::uint64_t> signatures(const Planes<T>& p, int plane_count,
                                      const GuardedBuffer<T>& vectors, bool* finite = nullptr) {
  const MatrixView<const T> view = vectors.view();
  GuardedBuffer<std::uint64_t> result(view.rows);
  const bool returned = simd::sign_signatures<T, B>(
      view.data, view.row_stride, view.rows, view.cols, p.planes.data(), p.planes.view().row_stride,
      p.thresholds.data(), plane_count, result.data());
  if (finite != nullptr) *finite = returned;
  CHECK(result.damage() == "");
  return {result.data(), result.data() + view.rows};
}

}  // namespace

TEMPLATE_TEST_CASE("registers load, store and compute lane by lane", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    GuardedBuffer<T> a(B::size, Start::misaligned);
    GuardedBuffer<T> b(B::size, Start::misaligned);
    GuardedBuffer<T> c(B::size, Start::misaligned);
    GuardedBuffer<T> result(B::size, Start::misaligned);
    for (auto* buffer : {&a, &b, &c}) data.fill_whole(buffer->view());
    const auto lanes_are = [&](B value, auto expected) {
      value.store(result.data());
      bool equal = result.damage().empty();
      for (index_t i = 0; i < B::size; ++i) {
        equal = equal && result(0, i) == expected(a(0, i), b(0, i), c(0, i));
      }
      return equal;
    };
    const B x = B::load(a.data());
    const B y = B::load(b.data());
    const B z = B::load(c.data());
    CHECK(lanes_are(x, [](T p, T, T) { return p; }));
    CHECK(lanes_are(x + y, [](T p, T q, T) { return p + q; }));
    CHECK(lanes_are(x * y, [](T p, T q, T) { return p * q; }));
    CHECK(lanes_are(multiply_add(x, y, z), [](T p, T q, T r) { return p * q + r; }));
    CHECK(lanes_are(B::broadcast(T(3)), [](T, T, T) { return T(3); }));
    T total = 0;
    for (index_t i = 0; i < B::size; ++i) total += a(0, i);
    CHECK(sum(x) == total);
  });
}

#if !defined(ADR_NO_SIMD) && defined(__FMA__)
TEMPLATE_TEST_CASE("multiply_add rounds once where the processor can", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  using B = adr::simd::Batch<T>;
  GuardedBuffer<T> result(B::size);
  // The square of e is lost from a product that is rounded before the sum.
  const T e = std::numeric_limits<T>::epsilon();
  multiply_add(B::broadcast(1 + e), B::broadcast(1 - e), B::broadcast(-1)).store(result.data());
  for (index_t i = 0; i < B::size; ++i) CHECK(result(0, i) == -e * e);
}
#endif

TEMPLATE_TEST_CASE("greater_mask sets the bit of each lane that is greater and of no NaN", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    const T nan = std::numeric_limits<T>::quiet_NaN();
    const T infinity = std::numeric_limits<T>::infinity();
    const auto mask = [](T lane, T others, T limit, index_t place) {
      std::vector<T> lanes(static_cast<std::size_t>(B::size), others);
      lanes[static_cast<std::size_t>(place)] = lane;
      return greater_mask(B::load(lanes.data()), B::broadcast(limit));
    };
    const std::uint64_t all = (std::uint64_t{1} << B::size) - 1;
    for (index_t i = 0; i < B::size; ++i) {
      const std::uint64_t bit = std::uint64_t{1} << i;
      CHECK(mask(T(1), T(-1), T(0), i) == bit);
      CHECK(mask(T(0), T(1), T(0), i) == (all & ~bit));
      CHECK(mask(nan, T(1), T(0), i) == (all & ~bit));
      CHECK(mask(T(1), T(1), nan, i) == 0);
      CHECK(mask(infinity, -infinity, T(0), i) == bit);
      CHECK(mask(T(-0.0), T(0), T(0), i) == 0);
      CHECK(mask(std::numeric_limits<T>::denorm_min(), T(0), T(0), i) == bit);
    }
  });
}

TEST_CASE("padded rounds up to a multiple of every register") {
  CHECK(simd::padded(0) == 0);
  CHECK(simd::padded(1) == 16);
  CHECK(simd::padded(16) == 16);
  CHECK(simd::padded(17) == 32);
  CHECK(simd::k_row_padding % simd::Batch<float>::size == 0);
  CHECK(simd::k_row_padding % simd::Batch<double>::size == 0);
}

TEMPLATE_TEST_CASE("copy copies every element and nothing else", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    for (const index_t count : awkward_sizes<T>()) {
      for (const Start start : k_starts) {
        INFO("count " << count);
        GuardedBuffer<T> x(count, start);
        GuardedBuffer<T> y(count, Start::misaligned);
        data.fill_normal(x.view());
        simd::copy<T, B>(x.data(), y.data(), count);
        CHECK(std::vector<T>(y.data(), y.data() + count) ==
              std::vector<T>(x.data(), x.data() + count));
        CHECK(y.damage() == "");
      }
    }
  });
}

TEMPLATE_TEST_CASE("copy_rows copies every row and nothing between them", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    for (const index_t cols : awkward_sizes<T>()) {
      for (const index_t rows : {0, 1, 3}) {
        INFO(rows << " x " << cols);
        GuardedBuffer<T> x(rows, cols, cols + 3, Start::misaligned);
        GuardedBuffer<T> y(rows, cols, cols + 1, Start::misaligned);
        data.fill_normal(x.view());
        simd::copy_rows<T, B>(x.data(), cols + 3, rows, cols, y.data(), cols + 1);
        bool same = true;
        for (index_t i = 0; i < rows; ++i) {
          for (index_t j = 0; j < cols; ++j) same = same && x(i, j) == y(i, j);
        }
        CHECK(same);
        CHECK(y.damage() == "");
      }
    }
  });
}

TEMPLATE_TEST_CASE("add gives the sums exactly", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    for (const index_t count : awkward_sizes<T>()) {
      for (const Start start : k_starts) {
        INFO("count " << count);
        GuardedBuffer<T> x(count, start);
        GuardedBuffer<T> y(count, Start::misaligned);
        data.fill_normal(x.view());
        data.fill_normal(y.view());
        std::vector<T> expected(static_cast<std::size_t>(count));
        for (index_t i = 0; i < count; ++i) {
          expected[static_cast<std::size_t>(i)] = x(0, i) + y(0, i);
        }
        simd::add<T, B>(x.data(), y.data(), count);
        CHECK(std::vector<T>(y.data(), y.data() + count) == expected);
        CHECK(y.damage() == "");
        CHECK(x.damage() == "");
      }
    }
  });
}

TEMPLATE_TEST_CASE("add_column_sums sums every column in order", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    for (const index_t cols : awkward_sizes<T>()) {
      for (const index_t rows : {0, 1, 2, 37}) {
        INFO(rows << " x " << cols);
        GuardedBuffer<T> x(rows, cols, cols + 3, Start::misaligned);
        GuardedBuffer<T> to(cols, Start::misaligned);
        data.fill_normal(x.view());
        data.fill_normal(to.view());
        std::vector<T> expected(static_cast<std::size_t>(cols));
        for (index_t c = 0; c < cols; ++c) {
          T sum = 0;
          for (index_t i = 0; i < rows; ++i) sum += x(i, c);
          expected[static_cast<std::size_t>(c)] = to(0, c) + sum;
        }
        simd::add_column_sums<T, B>(x.data(), cols + 3, rows, cols, to.data());
        CHECK(std::vector<T>(to.data(), to.data() + cols) == expected);
        CHECK(to.damage() == "");
        CHECK(x.damage() == "");
      }
    }
  });
}

TEMPLATE_TEST_CASE("scale gives the products exactly", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    for (const index_t count : awkward_sizes<T>()) {
      for (const Start start : k_starts) {
        INFO("count " << count);
        GuardedBuffer<T> x(count, start);
        data.fill_normal(x.view());
        const T factor = data.normal<T>();
        std::vector<T> expected(static_cast<std::size_t>(count));
        for (index_t i = 0; i < count; ++i) {
          expected[static_cast<std::size_t>(i)] = x(0, i) * factor;
        }
        simd::scale<T, B>(factor, x.data(), count);
        CHECK(std::vector<T>(x.data(), x.data() + count) == expected);
        CHECK(x.damage() == "");
      }
    }
  });
}

TEMPLATE_TEST_CASE("dot is the sum of products", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    Comparison comparison;
    for (const index_t count : awkward_sizes<T>()) {
      for (const Start start : k_starts) {
        GuardedBuffer<T> x(count, start);
        GuardedBuffer<T> y(count, Start::misaligned);
        data.fill_normal(x.view());
        data.fill_normal(y.view());
        double reference = 0;
        double magnitude = 0;
        for (index_t i = 0; i < count; ++i) {
          const double product = static_cast<double>(x(0, i)) * static_cast<double>(y(0, i));
          reference += product;
          magnitude += std::abs(product);
        }
        const T result = simd::dot<T, B>(x.data(), y.data(), count);
        comparison.expect(static_cast<double>(result), reference,
                          sum_tolerance<T>(count, magnitude));
      }
    }
    CHECK(comparison.fault() == "");
  });
}

TEMPLATE_TEST_CASE("sign_signatures tells on which side of every plane a vector lies", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    index_t checked_bits = 0;
    index_t unclear_bits = 0;
    for (int planes = 1; planes <= 64; ++planes) {
      // Around the 8 rows that are taken at once; lengths around the padding.
      const index_t row_counts[] = {0, 1, 7, 8, 9, 16, 19};
      const index_t lengths[] = {1, 2, 5, 15, 16, 17, 25, 33};
      const index_t rows = row_counts[planes % 7];
      const index_t length = lengths[planes % 8];
      INFO(planes << " planes, " << rows << " vectors of " << length);
      const Planes<T> p(data, length, planes, planes % 3 == 0);
      GuardedBuffer<T> vectors(rows, length, length + planes % 4, k_starts[planes % 2]);
      data.fill_normal(vectors.view());
      bool finite = false;
      const auto result = signatures<T, B>(p, planes, vectors, &finite);
      CHECK(finite);
      int wrong_bits = 0;
      for (index_t i = 0; i < rows; ++i) {
        const std::uint64_t bits = result[static_cast<std::size_t>(i)];
        if (planes < 64 && (bits >> planes) != 0) ++wrong_bits;
        for (int h = 0; h < planes; ++h) {
          double projection = 0;
          double magnitude = 0;
          for (index_t l = 0; l < length; ++l) {
            const double product =
                static_cast<double>(vectors(i, l)) * static_cast<double>(p.planes(l, h));
            projection += product;
            magnitude += std::abs(product);
          }
          const double beyond = projection - static_cast<double>(p.thresholds(0, h));
          ++checked_bits;
          if (std::abs(beyond) <= sum_tolerance<T>(length, magnitude)) {
            ++unclear_bits;
          } else if (((bits >> h) & 1) != (beyond > 0 ? 1u : 0u)) {
            ++wrong_bits;
          }
        }
      }
      CHECK(wrong_bits == 0);
    }
    // Else the test would pass by leaving out what it checks.
    CHECK(unclear_bits * 100 < checked_bits);
  });
}

TEMPLATE_TEST_CASE("sign_signatures gives equal vectors equal signatures wherever they stand", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    constexpr int k_planes = 64;
    constexpr index_t k_length = 27;
    const Planes<T> p(data, k_length, k_planes, false);
    for (int repeat = 0; repeat < 20; ++repeat) {
      // 13 = 8 + 5: some of the vectors go through the block of rows, some one by one.
      GuardedBuffer<T> vectors(13, k_length, k_length + 1);
      const auto vector = data.normals<T>(k_length);
      for (index_t i = 0; i < 13; ++i) {
        for (index_t l = 0; l < k_length; ++l) vectors(i, l) = vector[static_cast<std::size_t>(l)];
      }
      const auto result = signatures<T, B>(p, k_planes, vectors);
      CHECK(result == std::vector<std::uint64_t>(13, result[0]));
    }
  });
}

TEMPLATE_TEST_CASE("sign_signatures gives ties and zero vectors the bit 0", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    Planes<T> p(data, 4, 20, false);
    GuardedBuffer<T> vectors(9, 4, 4);
    for (index_t i = 0; i < 9; ++i) {
      for (index_t l = 0; l < 4; ++l) vectors(i, l) = T(0);
    }
    bool finite = false;
    CHECK(signatures<T, B>(p, 20, vectors, &finite) == std::vector<std::uint64_t>(9, 0));
    CHECK(finite);
    // A unit vector projects on component 0 of the plane exactly.
    for (index_t i = 0; i < 9; ++i) vectors(i, 0) = T(1);
    for (index_t h = 0; h < 20; ++h) p.thresholds(0, h) = p.planes(0, h);
    CHECK(signatures<T, B>(p, 20, vectors) == std::vector<std::uint64_t>(9, 0));
  });
}

TEMPLATE_TEST_CASE("sign_signatures reports vectors that are not finite and leaves others alone",
                   "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const T infinity = std::numeric_limits<T>::infinity();
  const T largest = std::numeric_limits<T>::max();
  Data data;
  INFO(data);
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    constexpr index_t k_length = 12;
    for (const int planes : {1, 3, 16, 17, 40, 64}) {
      for (const index_t place : {0, 4, 8, 9, 10}) {
        INFO(planes << " planes, vector " << place);
        const Planes<T> p(data, k_length, planes, false);
        GuardedBuffer<T> vectors(11, k_length, k_length);
        data.fill_normal(vectors.view());
        const auto clean = signatures<T, B>(p, planes, vectors);
        const auto row = static_cast<std::size_t>(place);
        bool finite = true;
        const auto others_are_clean = [&](std::vector<std::uint64_t> result) {
          result[row] = clean[row];
          return result == clean;
        };

        vectors(place, 3) = nan;
        auto result = signatures<T, B>(p, planes, vectors, &finite);
        CHECK_FALSE(finite);
        CHECK(result[row] == 0);
        CHECK(others_are_clean(result));

        for (const T value : {infinity, -infinity}) {
          vectors(place, 3) = value;
          result = signatures<T, B>(p, planes, vectors, &finite);
          CHECK_FALSE(finite);
          std::uint64_t expected = 0;
          for (int h = 0; h < planes; ++h) {
            if (p.planes(3, h) * value > 0) expected |= std::uint64_t{1} << h;
          }
          CHECK(result[row] == expected);
          CHECK(others_are_clean(result));
        }

        // Infinities of both signs along a plane meet in a NaN.
        for (index_t l = 0; l < k_length; ++l) {
          vectors(place, l) = (p.planes(l, 0) > 0) == (l % 2 == 0) ? infinity : -infinity;
        }
        result = signatures<T, B>(p, planes, vectors, &finite);
        CHECK_FALSE(finite);
        CHECK((result[row] & 1) == 0);
        CHECK(others_are_clean(result));

        // Finite elements whose projection overflows.
        for (index_t l = 0; l < k_length; ++l) {
          vectors(place, l) = p.planes(l, 0) > 0 ? largest : -largest;
        }
        result = signatures<T, B>(p, planes, vectors, &finite);
        CHECK_FALSE(finite);
        CHECK((result[row] & 1) == 1);
        CHECK(others_are_clean(result));
      }
    }
  });
}

TEMPLATE_TEST_CASE("gather_add adds the named table rows in the order of the slices", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_clusters = 4;
  constexpr index_t k_first_row = 3;
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    for (const index_t cols : awkward_sizes<T>()) {
      for (const index_t slices : {0, 1, 2, 5}) {
        const index_t rows = (cols + slices) % 4;
        INFO(rows << " x " << cols << ", " << slices << " slices");
        // The columns of a table that only fill up registers are poison.
        const index_t table_stride = simd::padded(cols);
        std::vector<GuardedBuffer<T>> tables;
        std::vector<GuardedBuffer<std::int32_t>> ids;
        std::vector<const T*> table_pointers;
        std::vector<const std::int32_t*> id_pointers;
        for (index_t s = 0; s < slices; ++s) {
          tables.emplace_back(k_clusters, cols, table_stride, Start::misaligned);
          data.fill_normal(tables.back().view());
          ids.emplace_back(k_first_row + rows);
          for (index_t n = 0; n < k_first_row + rows; ++n) {
            ids.back()(0, n) = static_cast<std::int32_t>(data.between(0, k_clusters - 1));
          }
          table_pointers.push_back(tables.back().data());
          id_pointers.push_back(ids.back().data());
        }
        GuardedBuffer<T> results(rows, cols, cols + 3, Start::misaligned);
        data.fill_normal(results.view());
        std::vector<T> expected;
        for (index_t i = 0; i < rows; ++i) {
          for (index_t c = 0; c < cols; ++c) {
            T total = results(i, c);
            for (index_t s = 0; s < slices; ++s) {
              const auto slice = static_cast<std::size_t>(s);
              total += tables[slice](ids[slice](0, k_first_row + i), c);
            }
            expected.push_back(total);
          }
        }
        simd::gather_add<T, B>(table_pointers.data(), id_pointers.data(), slices, table_stride,
                               k_first_row, results.view());
        bool equal = true;
        for (index_t i = 0; i < rows; ++i) {
          for (index_t c = 0; c < cols; ++c) {
            equal =
                equal && same_bits(results(i, c), expected[static_cast<std::size_t>(i * cols + c)]);
          }
        }
        CHECK(equal);
        CHECK(results.damage() == "");
      }
    }
  });
}

TEMPLATE_TEST_CASE("keyed_add adds rows in order and ids may repeat", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_clusters = 3;
  for_both_forms<T>([&](auto form) {
    using B = decltype(form);
    for (const index_t cols : awkward_sizes<T>()) {
      for (const index_t row_count : {0, 1, 7}) {
        INFO(row_count << " x " << cols);
        GuardedBuffer<T> rows(row_count, cols, cols + 2, Start::misaligned);
        GuardedBuffer<T> table(k_clusters, cols, cols + 5);
        GuardedBuffer<std::int32_t> ids(row_count);
        data.fill_normal(rows.view());
        data.fill_normal(table.view());
        std::vector<T> expected;
        for (index_t c = 0; c < k_clusters; ++c) {
          for (index_t j = 0; j < cols; ++j) expected.push_back(table(c, j));
        }
        for (index_t i = 0; i < row_count; ++i) {
          // Cluster 1 stays without members.
          ids(0, i) = data.between(0, 1) == 0 ? 0 : 2;
          for (index_t j = 0; j < cols; ++j) {
            expected[static_cast<std::size_t>(ids(0, i) * cols + j)] += rows(i, j);
          }
        }
        simd::keyed_add<T, B>(rows.view(), ids.data(), table.data(), cols + 5);
        bool equal = true;
        for (index_t c = 0; c < k_clusters; ++c) {
          for (index_t j = 0; j < cols; ++j) {
            equal =
                equal && same_bits(table(c, j), expected[static_cast<std::size_t>(c * cols + j)]);
          }
        }
        CHECK(equal);
        CHECK(table.damage() == "");
        CHECK(rows.damage() == "");
      }
    }
  });
}
