// The fitted hash: in which cell of a grid along the principal axes a neuron vector lies.
//
// Random planes spend as many bits on directions in which the data hardly differ as on those in
// which they do. Here every bit goes where it lowers the error of the output most, and a direction
// of several bits is cut where the data lie.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "adr/cluster/cut_coordinate.hpp"
#include "adr/cluster/principal_axes.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/kernels.hpp"

ADR_NAMESPACE_BEGIN

/// A grid along the principal axes of each slice, of at most 2^bits cells.
///
/// Math: the signature of v is the number of its cell in the grid: the numbers of thresholds below
/// the projections of v on the directions that hold bits, one after the other. Shapes: slice s
/// covers slice_length(s) columns from s * group_length; the last may be shorter. A NaN projection
/// gives cell 0. Before `fit` all signatures are 0. Determinism: by the sample. Thread-safety:
/// `signatures` is reentrant. Source: transform coding; the metric is this library's.
template <class T>
class PrincipalHash {
 public:
  static constexpr int k_most_bits = 16;

  /// Requires: columns at least 1, 0 <= group_length <= columns (0: all columns in one slice),
  /// 1 <= bits <= 16, else std::invalid_argument.
  PrincipalHash(index_t columns, index_t group_length, int bits)
      : columns_(columns), group_length_(group_length == 0 ? columns : group_length), bits_(bits) {
    detail::require(columns >= 1, "PrincipalHash: columns must be at least 1, got ", columns);
    detail::require(group_length >= 0 && group_length <= columns,
                    "PrincipalHash: group_length must be between 0 and the number of columns (",
                    columns, "), got ", group_length);
    detail::require(bits >= 1 && bits <= k_most_bits, "PrincipalHash: bits must be between 1 and ",
                    k_most_bits, ", got ", bits);
    grids_.resize(static_cast<std::size_t>(slice_count()));
    for (index_t s = 0; s < slice_count(); ++s) {
      grid(s).directions.assign(slice_length(s) * k_stride, T(0));
    }
  }

  /// The bits of a signature; `fit` may find use for fewer.
  [[nodiscard]] int hash_count() const noexcept { return bits_; }
  [[nodiscard]] index_t columns() const noexcept { return columns_; }
  [[nodiscard]] index_t slice_count() const noexcept {
    return columns_ / group_length_ + (columns_ % group_length_ != 0 ? 1 : 0);
  }
  [[nodiscard]] index_t first_column(index_t slice) const noexcept { return slice * group_length_; }
  [[nodiscard]] index_t slice_length(index_t slice) const noexcept {
    return slice + 1 < slice_count() ? group_length_ : columns_ - first_column(slice);
  }

  /// How many directions of a slice hold bits, and how many bits direction d holds.
  [[nodiscard]] int direction_count(index_t slice) const noexcept {
    return grid(slice).direction_count;
  }
  [[nodiscard]] int direction_bits(index_t slice, int d) const noexcept {
    return grid(slice).bits[static_cast<std::size_t>(d)];
  }
  /// Component l of direction d.
  [[nodiscard]] T direction(index_t slice, int d, index_t l) const noexcept {
    return grid(slice).directions[l * k_stride + d];
  }
  /// The thresholds of direction d, 2^bits - 1 that never fall.
  [[nodiscard]] VectorView<const T> thresholds(index_t slice, int d) const noexcept {
    const Grid& g = grid(slice);
    const auto at = static_cast<std::size_t>(d);
    return {g.thresholds.data() + g.first_threshold[at], (index_t{1} << g.bits[at]) - 1};
  }

  /// Fits the grids to a sample of vectors. gram: the metric of the products that the vectors enter
  /// (fit_principal_axes), columns x columns, or empty. Returns false and changes nothing where the
  /// axes are not finite.
  ///
  /// Requires: finite values. Shapes: sample n x columns, n at least 1. Errors:
  /// std::invalid_argument for other shapes, std::bad_alloc; they leave the hash as it was. Cost
  /// per slice: n length^2 + length^3 for the axes, n (16 length + 16 log n) for the grid.
  bool fit(const MatrixView<const float>& sample, const MatrixView<const float>& gram) {
    detail::require(sample.rows >= 1 && sample.cols == columns_,
                    "PrincipalHash: the sample must have at least 1 row and ", columns_,
                    " columns, got ", sample.rows, " x ", sample.cols);
    const bool fits = gram.data == nullptr || (gram.rows == columns_ && gram.cols == columns_);
    detail::require(fits, "PrincipalHash: the gram matrix must be ", columns_, " x ", columns_,
                    ", got ", gram.rows, " x ", gram.cols);
    std::vector<Grid> grids;
    for (index_t s = 0; s < slice_count(); ++s) {
      const index_t first = first_column(s);
      const index_t length = slice_length(s);
      std::optional<Grid> fitted =
          fit_grid(sample.block(0, first, sample.rows, length),
                   gram.data != nullptr ? gram.block(first, first, length, length)
                                        : MatrixView<const float>());
      if (!fitted) return false;
      grids.push_back(std::move(*fitted));
    }
    grids_ = std::move(grids);
    return true;
  }

  /// Writes what was fitted, or reads it (core/state_fields.hpp); an error in reading leaves the
  /// hash unusable. Errors: those of the archive.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    for (index_t s = 0; s < self.slice_count(); ++s) {
      self.exchange_grid(archive, self.grid(s), self.slice_length(s));
    }
  }

  /// Computes the signatures of a block of neuron vectors of one slice. Returns false when some
  /// projection is NaN or infinite. Shapes: vectors any rows x slice_length(slice); one result a
  /// row. Cost per row: length multiply-adds per register of directions, `bits` comparisons.
  bool signatures(index_t slice, const MatrixView<const T>& vectors,
                  std::uint64_t* result) const noexcept {
    constexpr int k_rows = 8;
    const Grid& g = grid(slice);
    Batch poison = Batch::broadcast(T(0));
    const index_t whole = vectors.rows - vectors.rows % k_rows;
    for (index_t i = 0; i < whole; i += k_rows) {
      number_cells<k_rows>(g, vectors.middle_rows(i, k_rows), result + i, poison);
    }
    for (index_t i = whole; i < vectors.rows; ++i) {
      number_cells<1>(g, vectors.middle_rows(i, 1), result + i, poison);
    }
    return sum(poison) == T(0);
  }

 private:
  using Batch = simd::Batch<T>;
  static constexpr index_t k_stride = 16;  // as many directions as bits, in whole registers
  static_assert(k_stride % Batch::size == 0);

  struct Grid {
    int direction_count = 0;
    std::array<int, k_most_bits> bits{};
    std::array<index_t, k_most_bits> first_threshold{};
    AlignedBuffer<T> directions;  // length x k_stride, those without bits are 0
    AlignedBuffer<T> thresholds;
  };

  [[nodiscard]] const Grid& grid(index_t s) const noexcept {
    return grids_[static_cast<std::size_t>(s)];
  }
  [[nodiscard]] Grid& grid(index_t s) noexcept { return grids_[static_cast<std::size_t>(s)]; }

  template <class Archive, class AnyGrid>
  void exchange_grid(Archive& archive, AnyGrid& g, index_t length) const {
    archive.count("directions of a grid", g.direction_count, 0,
                  std::min(index_t{k_most_bits}, length));
    index_t left = bits_;
    index_t threshold_count = 0;
    for (int d = 0; d < g.direction_count; ++d) {
      const auto at = static_cast<std::size_t>(d);
      archive.count("bits of a direction", g.bits[at], 1, left);
      if constexpr (Archive::k_reads) g.first_threshold[at] = threshold_count;
      left -= g.bits[at];
      threshold_count += (index_t{1} << g.bits[at]) - 1;
    }
    archive.rows("directions", g.directions, length, index_t{g.direction_count}, k_stride);
    archive.rows("thresholds", g.thresholds, 1, threshold_count, threshold_count);
    if constexpr (Archive::k_reads) {
      for (int d = 0; d < g.direction_count; ++d) {
        const auto at = static_cast<std::size_t>(d);
        const T* first = g.thresholds.data() + g.first_threshold[at];
        archive.require(std::is_sorted(first, first + (index_t{1} << g.bits[at]) - 1),
                        "the thresholds of a direction must not fall");
      }
    }
  }

  /// Nothing where the axes are not finite.
  [[nodiscard]] std::optional<Grid> fit_grid(const MatrixView<const float>& sample,
                                             const MatrixView<const float>& gram) const {
    const index_t length = sample.cols;
    const PrincipalAxes axes =
        fit_principal_axes(sample, gram, {std::min(index_t{k_most_bits}, length), 0});
    if (!axes.is_finite()) return std::nullopt;
    std::vector<detail::CutCoordinate> coordinates;
    for (index_t d = 0; d < axes.kept; ++d) {
      std::vector<double> values(static_cast<std::size_t>(sample.rows));
      for (index_t i = 0; i < sample.rows; ++i) {
        double value = 0;
        for (index_t e = 0; e < length; ++e) {
          value += double{sample(i, e)} * double{axes.encode[e * axes.encode_stride + d]};
        }
        values[static_cast<std::size_t>(i)] = value;
      }
      coordinates.emplace_back(std::move(values));
    }
    detail::deal_bits(coordinates, bits_);

    Grid fitted;
    fitted.directions.assign(length * k_stride, T(0));
    for (index_t d = 0; d < axes.kept; ++d) {
      const detail::CutCoordinate& coordinate = coordinates[static_cast<std::size_t>(d)];
      if (coordinate.bits() == 0) continue;
      const int place = fitted.direction_count++;
      const index_t first = fitted.thresholds.size();
      fitted.bits[static_cast<std::size_t>(place)] = coordinate.bits();
      fitted.first_threshold[static_cast<std::size_t>(place)] = first;
      fitted.thresholds.resize(first + static_cast<index_t>(coordinate.thresholds().size()));
      std::transform(coordinate.thresholds().begin(), coordinate.thresholds().end(),
                     fitted.thresholds.data() + first, [](double t) { return static_cast<T>(t); });
      for (index_t e = 0; e < length; ++e) {
        fitted.directions[e * k_stride + place] =
            static_cast<T>(axes.encode[e * axes.encode_stride + d]);
      }
    }
    return fitted;
  }

  /// The cells of `Rows` rows at once: their accumulators hide the latency of the multiply-adds,
  /// and their searches each other's.
  template <int Rows>
  static void number_cells(const Grid& g, const MatrixView<const T>& vectors, std::uint64_t* result,
                           Batch& poison) noexcept {
    alignas(k_alignment_bytes) T projections[Rows * k_stride];
    // One register even without directions, so that NaN and infinity are seen.
    for (index_t first = 0; first == 0 || first < g.direction_count; first += Batch::size) {
      Batch projection[Rows];
      for (auto& p : projection) p = Batch::broadcast(T(0));
      for (index_t l = 0; l < vectors.cols; ++l) {
        const Batch direction = Batch::load(g.directions.data() + l * k_stride + first);
        for (int r = 0; r < Rows; ++r) {
          projection[r] = multiply_add(Batch::broadcast(vectors(r, l)), direction, projection[r]);
        }
      }
      for (int r = 0; r < Rows; ++r) {
        projection[r].store(projections + r * k_stride + first);
        poison = multiply_add(projection[r], Batch::broadcast(T(0)), poison);
      }
    }
    std::uint64_t numbers[Rows] = {};
    for (int d = 0; d < g.direction_count; ++d) {
      const int bits = g.bits[static_cast<std::size_t>(d)];
      const T* thresholds = g.thresholds.data() + g.first_threshold[static_cast<std::size_t>(d)];
      std::uint32_t cells[Rows] = {};
      for (std::uint32_t half = 1U << static_cast<unsigned>(bits) >> 1; half > 0; half >>= 1) {
        for (int r = 0; r < Rows; ++r) {
          const bool above = projections[r * k_stride + d] > thresholds[cells[r] + half - 1];
          cells[r] += above ? half : 0;
        }
      }
      for (int r = 0; r < Rows; ++r) numbers[r] = numbers[r] << bits | cells[r];
    }
    std::copy_n(numbers, Rows, result);
  }

  index_t columns_;
  index_t group_length_;
  int bits_;
  std::vector<Grid> grids_;
};

ADR_NAMESPACE_END
