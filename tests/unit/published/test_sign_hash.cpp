#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "adr/published/sign_hash.hpp"
#include "adr/reference/clustering.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::index_t;
using adr::MatrixView;
using adr::SignHash;
using adr::VectorView;
using adr_test::Data;
using adr_test::GuardedBuffer;

/// The signatures of the slice `slice` of all rows of x.
template <class T>
std::vector<std::uint64_t> signatures(const SignHash<T>& hash, index_t slice,
                                      const GuardedBuffer<T>& x, bool* finite = nullptr) {
  const MatrixView<const T> view = x.view();
  std::vector<std::uint64_t> result(static_cast<std::size_t>(view.rows));
  const bool returned = hash.signatures(
      slice, view.block(0, hash.first_column(slice), view.rows, hash.slice_length(slice)),
      result.data());
  if (finite != nullptr) *finite = returned;
  return result;
}

/// How many bits differ from the definition where the projection is clear of its threshold, and
/// how many bits are clear.
template <class T>
std::pair<int, int> wrong_and_clear_bits(const SignHash<T>& hash, const GuardedBuffer<T>& x) {
  const adr::reference::Matrix reference(x.view());
  const auto slices = adr::reference::slices(hash.columns(), hash.slice_length(0));
  int wrong = 0;
  int clear = 0;
  for (index_t s = 0; s < hash.slice_count(); ++s) {
    const auto& slice = slices[static_cast<std::size_t>(s)];
    const auto fast = signatures(hash, s, x);
    for (index_t n = 0; n < reference.rows; ++n) {
      const std::uint64_t expected = adr::reference::signature(hash, reference, n, s, slice);
      const std::uint64_t differing = fast[static_cast<std::size_t>(n)] ^ expected;
      for (int h = 0; h < hash.hash_count(); ++h) {
        double projection = 0;
        double magnitude = 0;
        for (index_t l = 0; l < slice.length; ++l) {
          const double product =
              reference(n, slice.first + l) * static_cast<double>(hash.plane(s, h, l));
          projection += product;
          magnitude += std::abs(product);
        }
        const double threshold = static_cast<double>(hash.threshold(s, h));
        if (std::abs(projection - threshold) <=
            adr_test::sum_tolerance<T>(slice.length, magnitude)) {
          continue;
        }
        ++clear;
        wrong += static_cast<int>((differing >> h) & 1);
      }
      if (hash.hash_count() < 64 && (fast[static_cast<std::size_t>(n)] >> hash.hash_count()) != 0) {
        ++wrong;
      }
    }
  }
  return {wrong, clear};
}

}  // namespace

// The numbers are the first of an independent implementation of the generator, seed 42.
TEMPLATE_TEST_CASE("SignHash draws its planes from the seed alone", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  const double expected[] = {-0x1.2101d956p-1, 0x1.1e3a486ap-1, 0x1.3ae193e88p+1, 0x1.fc27adbp-4,
                             -0x1.abc6bbdp-1,  0x1.a6922378p-3, 0x1.d3bdeaa6p+0,  0x1.c661484p-1,
                             0x1.e78e4d7ap-1,  0x1.97ce889p-4,  0x1.5fdaf676p-1,  -0x1.062cfa6fp+0,
                             -0x1.36dc03b8p-3, 0x1.1d95fb24p+0, -0x1.073df75ap-1, 0x1.075a7dp-3,
                             0x1.d6b2470ep-1,  0x1.22e497e6p+0, -0x1.0208b8p-9,   0x1.ccc72428p-3,
                             -0x1.bbd61f7cp-1, -0x1.ce89f2bp-1, 0x1.ddf83dp-5,    -0x1.1f06c6e4p-1};
  constexpr index_t k_length = 4;
  constexpr int k_planes = 3;
  // Two slices; the second has 3 of its 4 columns.
  const SignHash<T> shared(7, k_length, k_planes, true, 42);
  const SignHash<T> own(7, k_length, k_planes, false, 42);
  for (int h = 0; h < k_planes; ++h) {
    for (index_t l = 0; l < k_length; ++l) {
      const index_t place = h * k_length + l;
      CHECK(shared.plane(0, h, l) == static_cast<T>(expected[place]));
      CHECK(shared.plane(1, h, l) == static_cast<T>(expected[place]));
      CHECK(own.plane(0, h, l) == static_cast<T>(expected[place]));
      CHECK(own.plane(1, h, l) == static_cast<T>(expected[k_planes * k_length + place]));
      CHECK(shared.threshold(0, h) == 0);
      CHECK(own.threshold(1, h) == 0);
    }
  }
  CHECK(SignHash<T>(7, k_length, k_planes, true, 43).plane(0, 0, 0) != shared.plane(0, 0, 0));
}

TEST_CASE("SignHash cuts the columns into slices of L and a rest") {
  for (const index_t columns : {1, 2, 7, 24, 25, 26, 75, 97}) {
    for (const index_t length : {1, 2, 5, 7, 25, 97}) {
      if (length > columns) continue;
      INFO(columns << " columns, L = " << length);
      const SignHash<float> hash(columns, length, 2, true, 1);
      const auto expected = adr::reference::slices(columns, length);
      CHECK(hash.columns() == columns);
      CHECK(hash.hash_count() == 2);
      REQUIRE(hash.slice_count() == static_cast<index_t>(expected.size()));
      for (index_t s = 0; s < hash.slice_count(); ++s) {
        CHECK(hash.first_column(s) == expected[static_cast<std::size_t>(s)].first);
        CHECK(hash.slice_length(s) == expected[static_cast<std::size_t>(s)].length);
      }
    }
  }
}

TEMPLATE_TEST_CASE("SignHash gives the signatures of the definition", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const int planes : {1, 5, 10, 16, 17, 33, 63, 64}) {
    for (const index_t length : {1, 3, 16, 25, 31}) {
      for (const bool shared : {false, true}) {
        for (const bool centred : {false, true}) {
          INFO(planes << " planes, L = " << length << (shared ? ", shared" : "")
                      << (centred ? ", centred" : ""));
          constexpr index_t k_columns = 31;
          SignHash<T> hash(k_columns, length, planes, shared, adr_test::test_seed() + 5);
          if (centred) {
            const auto center = data.normals<T>(k_columns);
            hash.set_center({center.data(), k_columns});
          }
          GuardedBuffer<T> x(11, k_columns, k_columns + 2, adr_test::Start::misaligned);
          data.fill_normal(x.view());
          const auto [wrong, clear] = wrong_and_clear_bits(hash, x);
          CHECK(wrong == 0);
          CHECK(clear * 20 > 19 * 11 * hash.slice_count() * planes);
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("SignHash with a centre gives the signatures of shifted data", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_columns = 13;
  constexpr index_t k_rows = 60;
  SignHash<T> centred(k_columns, 5, 24, true, 9);
  const SignHash<T> plain(k_columns, 5, 24, true, 9);
  // Quarters, so that the difference of data and centre is exact.
  GuardedBuffer<T> x(k_rows, k_columns, k_columns);
  GuardedBuffer<T> shifted(k_rows, k_columns, k_columns);
  GuardedBuffer<T> center(k_columns);
  data.fill_whole(center.view());
  data.fill_whole(x.view());
  for (index_t j = 0; j < k_columns; ++j) {
    center(0, j) = center(0, j) / 4 + T(0.125);
    for (index_t i = 0; i < k_rows; ++i) shifted(i, j) = x(i, j) - center(0, j);
  }
  centred.set_center(center.vector());
  int clear = 0;
  int different = 0;
  int moved = 0;
  for (index_t s = 0; s < plain.slice_count(); ++s) {
    const auto with_center = signatures(centred, s, x);
    const auto of_shifted = signatures(plain, s, shifted);
    const auto without_center = signatures(plain, s, x);
    for (index_t n = 0; n < k_rows; ++n) {
      const auto row = static_cast<std::size_t>(n);
      for (int h = 0; h < 24; ++h) {
        double beyond = 0;
        double magnitude = 0;
        for (index_t l = 0; l < plain.slice_length(s); ++l) {
          const double component = static_cast<double>(plain.plane(s, h, l));
          const index_t column = plain.first_column(s) + l;
          beyond += component * static_cast<double>(shifted(n, column));
          magnitude += std::abs(component) * (std::abs(static_cast<double>(x(n, column))) +
                                              std::abs(static_cast<double>(center(0, column))));
        }
        if (std::abs(beyond) <= adr_test::sum_tolerance<T>(6, magnitude)) continue;
        ++clear;
        different += static_cast<int>(((with_center[row] ^ of_shifted[row]) >> h) & 1);
        moved += static_cast<int>(((with_center[row] ^ without_center[row]) >> h) & 1);
      }
    }
  }
  CHECK(different == 0);
  CHECK(clear > 4000);
  // The centre does make a difference.
  CHECK(moved > 20);
}

TEMPLATE_TEST_CASE("SignHash stores the projection of the centre as the threshold", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  SignHash<T> hash(8, 5, 3, false, 2);
  const auto center = data.normals<T>(8);
  hash.set_center({center.data(), 8});
  for (index_t s = 0; s < 2; ++s) {
    for (int h = 0; h < 3; ++h) {
      double expected = 0;
      for (index_t l = 0; l < hash.slice_length(s); ++l) {
        expected += static_cast<double>(hash.plane(s, h, l)) *
                    static_cast<double>(center[static_cast<std::size_t>(s * 5 + l)]);
      }
      CHECK_THAT(static_cast<double>(hash.threshold(s, h)),
                 Catch::Matchers::WithinRel(
                     expected, static_cast<double>(2 * std::numeric_limits<T>::epsilon())));
    }
  }
  // The centre itself ties everywhere it can be represented; a new centre replaces the old one.
  const std::vector<T> zeros(8, T(0));
  hash.set_center({zeros.data(), 8});
  for (int h = 0; h < 3; ++h) CHECK(hash.threshold(1, h) == 0);
}

TEMPLATE_TEST_CASE("SignHash leaves slices whose centre is not finite through the origin", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                      -std::numeric_limits<T>::infinity()}) {
    SignHash<T> hash(12, 4, 6, true, 3);
    std::vector<T> center(12, T(1));
    hash.set_center({center.data(), 12});
    center[5] = bad;
    hash.set_center({center.data(), 12});
    for (int h = 0; h < 6; ++h) {
      CHECK(hash.threshold(0, h) != 0);
      CHECK(hash.threshold(1, h) == 0);
      CHECK(hash.threshold(2, h) != 0);
    }
  }
}

TEMPLATE_TEST_CASE(
    "SignHash leaves slices whose centre projects beyond the type through the origin", "",
    ADR_TEST_ELEMENTS) {
  using T = TestType;
  SignHash<T> hash(12, 12, 8, true, 3);
  const std::vector<T> center(12, std::numeric_limits<T>::max());
  hash.set_center({center.data(), 12});
  for (int h = 0; h < 8; ++h) {
    INFO("plane " << h);
    CHECK(std::isfinite(hash.threshold(0, h)));
  }
}

TEMPLATE_TEST_CASE("SignHash gives zero vectors the signature 0 and scaled vectors the same one",
                   "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  constexpr index_t k_columns = 10;
  const SignHash<T> hash(k_columns, 4, 64, true, 8);
  GuardedBuffer<T> x(9, k_columns, k_columns);
  data.fill_normal(x.view());
  // Powers of two scale without rounding.
  for (const T factor : {T(0.125), T(2), T(1024)}) {
    GuardedBuffer<T> scaled(9, k_columns, k_columns);
    for (index_t i = 0; i < 9; ++i) {
      for (index_t j = 0; j < k_columns; ++j) scaled(i, j) = factor * x(i, j);
    }
    for (index_t s = 0; s < hash.slice_count(); ++s) {
      CHECK(signatures(hash, s, scaled) == signatures(hash, s, x));
    }
  }
  for (index_t i = 0; i < 9; ++i) {
    for (index_t j = 0; j < k_columns; ++j) x(i, j) = i % 2 == 0 ? T(0) : T(-0.0);
  }
  for (index_t s = 0; s < hash.slice_count(); ++s) {
    bool finite = false;
    CHECK(signatures(hash, s, x, &finite) == std::vector<std::uint64_t>(9, 0));
    CHECK(finite);
  }
}

TEMPLATE_TEST_CASE("SignHash gives vectors with a NaN the signature 0 and says so", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  const SignHash<T> hash(10, 4, 20, true, 8);
  GuardedBuffer<T> x(9, 10, 10);
  data.fill_normal(x.view());
  const auto clean = signatures(hash, 1, x);
  x(3, 5) = std::numeric_limits<T>::quiet_NaN();
  bool finite = true;
  const auto result = signatures(hash, 1, x, &finite);
  CHECK_FALSE(finite);
  CHECK(result[3] == 0);
  for (const std::size_t row : {0u, 1u, 2u, 4u, 5u, 6u, 7u, 8u}) CHECK(result[row] == clean[row]);
  // The other slices do not hold it.
  signatures(hash, 0, x, &finite);
  CHECK(finite);
  signatures(hash, 2, x, &finite);
  CHECK(finite);
}

TEST_CASE("SignHash refuses what makes no hash") {
  const auto refusal = [](index_t columns, index_t length, int planes) {
    return adr_test::refusal([&] { SignHash<float>(columns, length, planes, true, 1); });
  };
  const std::string length_rule =
      "SignHash: vector_length must be between 1 and the number of columns (";
  CHECK(refusal(10, 0, 4) == length_rule + "10), got 0");
  CHECK(refusal(10, -2, 4) == length_rule + "10), got -2");
  CHECK(refusal(10, 11, 4) == length_rule + "10), got 11");
  CHECK(refusal(0, 1, 4) == length_rule + "0), got 1");
  CHECK(refusal(0, 0, 4) == length_rule + "0), got 0");
  CHECK(refusal(10, 5, 0) == "SignHash: hash_count must be between 1 and 64, got 0");
  CHECK(refusal(10, 5, -1) == "SignHash: hash_count must be between 1 and 64, got -1");
  CHECK(refusal(10, 5, 65) == "SignHash: hash_count must be between 1 and 64, got 65");
  CHECK(refusal(10, 1, 1) == "(no error)");
  CHECK(refusal(10, 10, 64) == "(no error)");
  CHECK_THAT(adr_test::message_of<std::overflow_error>(
                 [] { SignHash<float>(index_t{1} << 60, index_t{1} << 60, 64, true, 1); }),
             adr_test::contains("hyperplanes: the product of the sizes exceeds"));
}

TEST_CASE("SignHash refuses a centre of another size") {
  SignHash<float> hash(10, 5, 4, true, 1);
  const std::vector<float> center(11, 1.0f);
  const auto refusal = [&](index_t size) {
    return adr_test::refusal(
        [&] { hash.set_center(VectorView<const float>(center.data(), size)); });
  };
  CHECK(refusal(11) == "SignHash: the centre must have 10 elements, got 11");
  CHECK(refusal(0) == "SignHash: the centre must have 10 elements, got 0");
  for (int h = 0; h < 4; ++h) CHECK(hash.threshold(0, h) == 0);
}
