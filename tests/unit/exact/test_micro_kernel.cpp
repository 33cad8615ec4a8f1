// The micro-kernel against sums in double precision: every number of rows it has a kernel for and
// more, common dimensions around its chunks, every way the left factor can lie, every mode of sums,
// in registers and with one lane.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "adr/simd/micro_kernel.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/fenced_array.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

using adr::index_t;
using adr::simd::Batch;
using adr::simd::k_chunk;
using adr::simd::KernelShape;
using adr::simd::ScalarBatch;
using adr::simd::Sums;
using adr_test::Data;
using adr_test::Fence;
using adr_test::FencedArray;
using adr_test::GuardedBuffer;
using adr_test::Start;

namespace {

/// How the left factor lies in memory.
enum class Left { chunk_rows, chunk_columns, matrix };

const char* name_of(Left left) {
  return left == Left::chunk_rows ? "chunk rows"
         : left == Left::matrix   ? "matrix"
                                  : "chunk columns";
}
const char* name_of(Sums sums) {
  return sums == Sums::start ? "start" : sums == Sums::add ? "add" : "continue";
}

template <class T>
T signalling_nan() {
  // Spoils what meets it, as the poison of GuardedBuffer does.
  T value;
  const std::uint64_t wide = 0x7ff0000000000055ULL;
  const std::uint32_t narrow = 0x7f800055U;
  if constexpr (sizeof(T) == 8) {
    std::memcpy(&value, &wide, sizeof(value));
  } else {
    std::memcpy(&value, &narrow, sizeof(value));
  }
  return value;
}

/// A left factor of rows x depth as the kernel wants it, not an element longer than it must be, and
/// poison wherever the kernel has no business.
template <class T>
struct LeftFactor {
  Left kind;
  index_t rows;
  index_t depth;
  index_t stride;  ///< of rows or chunks
  std::vector<T> elements;

  LeftFactor(Left kind_, index_t rows_, index_t depth_, index_t gap, Data& data)
      : kind(kind_),
        rows(rows_),
        depth(depth_),
        stride(kind == Left::matrix ? depth + gap : (rows + gap) * k_chunk) {
    const index_t size = rows == 0 || depth == 0 ? 0 : place(rows - 1, depth - 1) + 1;
    elements.assign(static_cast<std::size_t>(size), signalling_nan<T>());
    for (index_t r = 0; r < rows; ++r) {
      for (index_t k = 0; k < depth; ++k) {
        elements[static_cast<std::size_t>(place(r, k))] = data.normal<T>();
      }
    }
  }
  [[nodiscard]] index_t place(index_t r, index_t k) const {
    switch (kind) {
      case Left::chunk_rows:
        return k / k_chunk * stride + r * k_chunk + k % k_chunk;
      case Left::chunk_columns:
        return k * k_chunk + r;
      case Left::matrix:
        break;
    }
    return r * stride + k;
  }
  [[nodiscard]] double operator()(index_t r, index_t k) const {
    return static_cast<double>(elements[static_cast<std::size_t>(place(r, k))]);
  }
};

template <class T, class B>
void multiply(const LeftFactor<T>& factor, const T* left, const T* panel, T* result,
              index_t result_stride, Sums sums) {
  using namespace adr::simd;
  switch (factor.kind) {
    case Left::chunk_rows:
      return multiply_chunk_rows<T, B>(left, factor.stride, factor.rows, panel, factor.depth,
                                       result, result_stride, sums);
    case Left::chunk_columns:
      return multiply_chunk_columns<T, B>(left, factor.rows, panel, factor.depth, result,
                                          result_stride, sums);
    case Left::matrix:
      return multiply_matrix_rows<T, B>(left, factor.stride, factor.rows, panel, factor.depth,
                                        result, result_stride, sums);
  }
}

template <class T, class B>
void check(Left kind, index_t rows, index_t depth, Sums sums, index_t gap, Data& data) {
  constexpr index_t k_width = KernelShape<B>::width;
  INFO(name_of(kind) << ", " << rows << " rows, depth " << depth << ", " << name_of(sums)
                     << ", lanes " << B::size << ", gap " << gap);
  const LeftFactor<T> factor(kind, rows, depth, gap, data);
  const std::vector<T> panel = data.normals<T>(depth * k_width);
  const Start start = gap > 0 ? Start::misaligned : Start::aligned;
  GuardedBuffer<T> result(rows, k_width, k_width + gap, start);
  std::vector<T> before;
  if (sums != Sums::start) {
    data.fill_normal(result.view());
    before = adr_test::elements_of(result);
  }
  for (const Fence fence : {Fence::behind, Fence::before}) {
    for (index_t r = 0; r < rows && sums != Sums::start; ++r) {
      std::copy_n(before.begin() + r * k_width, k_width, &result(r, 0));
    }
    const FencedArray<T> left(factor.elements, fence);
    const FencedArray<T> right(panel, fence);
    multiply<T, B>(factor, left.data(), right.data(), result.data(), k_width + gap, sums);
    adr_test::Comparison comparison;
    for (index_t r = 0; r < rows; ++r) {
      for (index_t j = 0; j < k_width; ++j) {
        double sum = 0;
        double magnitude = 0;
        if (sums != Sums::start) {
          sum = static_cast<double>(before[static_cast<std::size_t>(r * k_width + j)]);
          magnitude = std::abs(sum);
        }
        for (index_t k = 0; k < depth; ++k) {
          const double product =
              factor(r, k) * static_cast<double>(panel[static_cast<std::size_t>(k * k_width + j)]);
          sum += product;
          magnitude += std::abs(product);
        }
        comparison.expect(static_cast<double>(result(r, j)), sum,
                          adr_test::sum_tolerance<T>(depth + 1, magnitude));
      }
    }
    REQUIRE(comparison.fault() == "");
    REQUIRE(result.damage() == "");
  }
}

template <class T, class B>
void check_all(Data& data) {
  constexpr index_t k_most = KernelShape<B>::most_rows;
  for (const Left kind : {Left::chunk_rows, Left::chunk_columns, Left::matrix}) {
    for (index_t rows = 0; rows <= 2 * k_most + 1; ++rows) {
      if (kind == Left::chunk_columns && rows > k_chunk) continue;
      for (const index_t depth : {0, 1, 2, 15, 16, 17, 31, 33}) {
        for (const Sums sums : {Sums::start, Sums::continue_, Sums::add}) {
          check<T, B>(kind, rows, depth, sums, (rows + depth) % 2 == 0 ? 0 : 3, data);
        }
      }
    }
    for (const index_t depth : {255, 256, 257}) {
      for (const index_t rows : {index_t{1}, k_most, k_most + 1}) {
        if (kind == Left::chunk_columns && rows > k_chunk) continue;
        for (const Sums sums : {Sums::start, Sums::continue_, Sums::add}) {
          check<T, B>(kind, rows, depth, sums, 1, data);
        }
      }
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("The micro-kernel multiplies rows of every layout by a panel", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  check_all<T, Batch<T>>(data);
  check_all<T, ScalarBatch<T>>(data);
}

TEMPLATE_TEST_CASE("A row of the micro-kernel does not depend on its neighbours", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  using B = Batch<T>;
  Data data;
  INFO(data);
  constexpr index_t k_width = KernelShape<B>::width;
  constexpr index_t k_depth = 37;
  constexpr index_t k_most_rows = 3 * KernelShape<B>::most_rows;
  for (const Left kind : {Left::chunk_rows, Left::matrix}) {
    LeftFactor<T> factor(kind, k_most_rows, k_depth, 0, data);
    const std::vector<T> panel = data.normals<T>(k_depth * k_width);
    std::vector<T> all(static_cast<std::size_t>(k_most_rows * k_width));
    multiply<T, B>(factor, factor.elements.data(), panel.data(), all.data(), k_width, Sums::start);
    // Fewer rows are cut into other blocks.
    for (factor.rows = 1; factor.rows < k_most_rows; ++factor.rows) {
      std::vector<T> some(static_cast<std::size_t>(factor.rows * k_width));
      multiply<T, B>(factor, factor.elements.data(), panel.data(), some.data(), k_width,
                     Sums::start);
      INFO(name_of(kind) << ", " << factor.rows << " rows");
      REQUIRE(std::memcmp(some.data(), all.data(), some.size() * sizeof(T)) == 0);
    }
  }
}

TEMPLATE_TEST_CASE("Sums that begin with a column go on from it", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  using B = Batch<T>;
  Data data;
  INFO(data);
  constexpr index_t k_width = KernelShape<B>::width;
  constexpr index_t k_depth = 19;
  for (index_t rows = 1; rows <= 3 * KernelShape<B>::most_rows; ++rows) {
    const LeftFactor<T> factor(Left::matrix, rows, k_depth, 0, data);
    const std::vector<T> panel = data.normals<T>(k_depth * k_width);
    const std::vector<T> column = data.normals<T>(rows);
    std::vector<T> begun(static_cast<std::size_t>(rows * k_width));
    std::vector<T> gone_on(begun.size());
    for (index_t r = 0; r < rows; ++r) {
      std::fill_n(gone_on.begin() + r * k_width, k_width, column[static_cast<std::size_t>(r)]);
    }
    multiply<T, B>(factor, factor.elements.data(), panel.data(), gone_on.data(), k_width,
                   Sums::continue_);
    adr::simd::multiply_matrix_rows<T, B>(factor.elements.data(), factor.stride, rows, panel.data(),
                                          k_depth, begun.data(), k_width, Sums::start, nullptr,
                                          column.data());
    INFO(rows << " rows");
    REQUIRE(std::memcmp(begun.data(), gone_on.data(), begun.size() * sizeof(T)) == 0);
  }
}

TEMPLATE_TEST_CASE("A sum that goes on has the bits of one that was never interrupted", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  using B = Batch<T>;
  Data data;
  INFO(data);
  constexpr index_t k_width = KernelShape<B>::width;
  constexpr index_t k_depth = 70;
  for (index_t rows = 1; rows <= KernelShape<B>::most_rows + 2; ++rows) {
    const LeftFactor<T> factor(Left::matrix, rows, k_depth, 0, data);
    const std::vector<T> panel = data.normals<T>(k_depth * k_width);
    std::vector<T> whole(static_cast<std::size_t>(rows * k_width));
    multiply<T, B>(factor, factor.elements.data(), panel.data(), whole.data(), k_width,
                   Sums::start);
    for (const index_t cut : {1, 16, 33, 69}) {
      std::vector<T> parts(whole.size());
      LeftFactor<T> part = factor;
      part.depth = cut;
      multiply<T, B>(part, factor.elements.data(), panel.data(), parts.data(), k_width,
                     Sums::start);
      part.depth = k_depth - cut;
      multiply<T, B>(part, factor.elements.data() + cut, panel.data() + cut * k_width, parts.data(),
                     k_width, Sums::continue_);
      INFO(rows << " rows, cut after " << cut);
      REQUIRE(adr_test::same_bits(parts, whole));
    }
  }
}
