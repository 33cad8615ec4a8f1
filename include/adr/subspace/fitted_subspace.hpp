// The subspace that the neuron vectors of a layer nearly lie in: fitted to a sample, kept from
// batch to batch, and the coordinates of a batch in it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/gemm_factor.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/types.hpp"
#include "adr/core/workspace.hpp"
#include "adr/exact/packed_gemm.hpp"
#include "adr/simd/projection.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/subspace/principal_axes.hpp"
#include "adr/subspace/principal_axes_state.hpp"
#include "adr/subspace/subspace_basis.hpp"
#include "adr/subspace/vector_sample.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Whether vectors may lie in memory as the rows of a matrix of floats.
template <class Vectors, class = void>
inline constexpr bool k_may_have_rows = false;
template <class Vectors>
inline constexpr bool
    k_may_have_rows<Vectors, std::void_t<decltype(std::declval<const Vectors&>().has_rows())>> =
        true;

}  // namespace detail

/// What a subspace looks like.
struct SubspaceShape {
  index_t length = 0;    ///< elements of a neuron vector
  KeptCoordinates kept;  ///< besides the mean; more than `length` are as good as `length`
  std::uint64_t seed = 1;
  AxesOrigin origin = AxesOrigin::mean;
};

/// The subspace of one layer.
///
/// Math: a vector x has coordinates z = E^T (x - mean) and is taken for mean + A z; see
/// PrincipalAxes. Sources of vectors: core/vector_map.hpp. Memory: 3 (kept + 1) * length floats.
/// Errors: std::bad_alloc. Determinism: by seed, on one instruction set. Thread-safety: `project`
/// uses the threads of its context; otherwise none. Source: principal component analysis.
class FittedSubspace {
 public:
  /// Vectors that are read for fitting, and for measuring, at most.
  static constexpr index_t k_fit_sample = 8192;
  /// The most of so many vectors that are measured: a quarter, which costs half of what it takes to
  /// rotate all of them, but not so few that the error of a batch would be a guess.
  [[nodiscard]] static index_t most_measured(index_t vectors) noexcept {
    return std::clamp<index_t>(vectors / 4, 256, 1024);
  }

  explicit FittedSubspace(const SubspaceShape& shape) : shape_(shape) {}

  [[nodiscard]] const SubspaceShape& shape() const noexcept { return shape_; }
  [[nodiscard]] bool fitted() const noexcept { return axes_.length > 0; }
  [[nodiscard]] const PrincipalAxes& axes() const noexcept { return axes_; }
  [[nodiscard]] const SubspaceBasis& basis() const noexcept { return basis_; }
  /// Coordinates per vector, besides the one of the mean.
  [[nodiscard]] index_t kept() const noexcept { return axes_.kept; }
  /// The relative error of the vectors that it was fitted to; of the output, axes().left_out.
  [[nodiscard]] double fit_error() const noexcept { return fit_error_; }
  /// Counts fits: whoever keeps rotated weights compares it.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

  /// Writes what was learned, or reads it (core/state_archive.hpp). Requires: to read, a subspace
  /// that has learned nothing, which an error leaves unusable. Errors: those of the archive.
  void exchange(StateArchive& archive) {
    bool was_fitted = fitted();
    archive("fitted", was_fitted);
    if (!was_fitted) return;
    archive("fit_error", fit_error_);
    adr::exchange(archive, axes_, shape_.length);
    if (archive.is_reading()) prepare_basis();
  }

  /// Fits the axes to a sample of vectors. Returns false and changes nothing when none of them is
  /// finite, or the axes are not. gram: the metric of the products, length x length, or empty; see
  /// fit_principal_axes. Cost: k_fit_sample * length * (length + 2 kept) + O(length^3).
  template <class Vectors>
  bool fit(const Vectors& vectors, const MatrixView<const float>& gram) {
    AlignedBuffer<float> sample;
    const index_t rows = load_finite_sample(vectors, k_fit_sample, shape_.seed, sample);
    if (rows == 0) return false;
    const MatrixView<const float> x(sample.data(), rows, shape_.length,
                                    simd::padded(shape_.length));
    KeptCoordinates kept = shape_.kept;
    kept.count = std::min(kept.count, shape_.length);
    PrincipalAxes axes = fit_principal_axes(x, gram, kept, shape_.origin);
    if (!axes.is_finite()) return false;
    axes_ = std::move(axes);
    prepare_basis();

    SampledEnergy energy;
    prepare_tiles();
    for (index_t first = 0; first < rows; first += k_tile) {
      const index_t count = std::min(k_tile, rows - first);
      simd::transpose(x.row(first), x.row_stride, count, shape_.length, x_.data(), k_tile);
      start_coordinates(z_.data());
      add_coordinates(0, shape_.length, x_.data(), z_.data() + k_tile);
      clear_behind(count);
      add_energy(energy);
    }
    fit_error_ = energy.relative_error();
    return true;
  }

  /// Writes the coordinates of every vector. Returns false when some are not finite, as they are of
  /// vectors that are not. Requires: fitted; coordinates of vectors.map().vectors() and
  /// basis().coordinates; scratch reserved. Cost per vector: length * kept multiply-adds.
  template <class Vectors>
  bool project(const Vectors& vectors, SubspaceCoordinates& coordinates, Context& context) const {
    if constexpr (detail::k_may_have_rows<Vectors>) {
      if (vectors.has_rows()) return project_rows(vectors.rows(), coordinates, context.threads());
    }
    const index_t count = vectors.map().vectors();
    const index_t width = basis_.coordinates;
    const Workspace::Frame frame(context.workspace());
    const ProjectScratch scratch(context.workspace(), width, context.threads());
    std::fill_n(scratch.poison, context.threads() * k_tile, 0.0F);
    parallel_for(blocks_of(count, k_task), context.threads(), [&](index_t task, int thread) {
      float* x = scratch.tiles + thread * scratch.thread_floats;
      float* z = x + k_chunk * k_tile;
      float* poison = scratch.poison + thread * k_tile;
      const index_t last = std::min(count, (task + 1) * k_task);
      for (index_t first = task * k_task; first < last; first += k_tile) {
        const index_t valid = std::min(k_tile, last - first);
        start_coordinates(z);
        for (index_t e = 0; e < shape_.length; e += k_chunk) {
          const index_t elements = std::min(k_chunk, shape_.length - e);
          if (valid < k_tile) std::fill_n(x, elements * k_tile, 0.0F);
          vectors.load_columns(first, e, MatrixView<float>(x, elements, valid, k_tile));
          add_coordinates(e, elements, x, z + k_tile);
        }
        for (index_t k = 1; k < width; ++k) {
          for (index_t i = 0; i < k_tile; ++i) poison[i] += z[k * k_tile + i] * 0.0F;
        }
        simd::transpose(z, k_tile, width, valid, coordinates.values.data() + first * width, width);
      }
    });
    return std::all_of(scratch.poison, scratch.poison + context.threads() * k_tile,
                       [](float poison) { return poison == 0.0F; });
  }

  /// Bytes of scratch that `project` takes; none where vectors are rows of a matrix.
  [[nodiscard]] std::size_t project_workspace_bytes(int thread_count) const {
    return scratch_bytes<ProjectScratch>(basis_.coordinates, thread_count);
  }

  /// Measures what the coordinates leave out of a sample of the vectors.
  /// Cost: most_measured(vectors) * length * (2 kept + 1) multiply-adds.
  template <class Vectors>
  SampledEnergy measure(const Vectors& vectors) {
    const index_t count = vectors.map().vectors();
    SampledEnergy energy;
    prepare_tiles();
    index_t sampled = 0;
    index_t filled = 0;
    const auto add_tile = [&] {
      start_coordinates(z_.data());
      add_coordinates(0, shape_.length, x_.data(), z_.data() + k_tile);
      clear_behind(filled);
      add_energy(energy);
      filled = 0;
    };
    sample_.choose(count, most_measured(count), shape_.seed);
    for (const index_t first : sample_.runs()) {
      const index_t run = std::min(k_sample_run, count - first);
      vectors.load_columns(first, 0,
                           MatrixView<float>(x_.data() + filled, shape_.length, run, k_tile));
      filled += run;
      sampled += run;
      if (filled + k_sample_run > k_tile) add_tile();
    }
    if (filled > 0) add_tile();
    if (sampled > 0) {
      const double scale = static_cast<double>(count) / static_cast<double>(sampled);
      energy.total *= scale;
      energy.within_clusters *= scale;
    }
    return energy;
  }

 private:
  static constexpr index_t k_tile = simd::k_projection_tile;
  static constexpr index_t k_chunk = 64;  // elements of a tile that are loaded at a time
  static constexpr index_t k_task = 512;  // vectors of a task

  struct ProjectScratch {
    index_t thread_floats;  ///< of a thread's tile: a chunk of vectors, and their coordinates
    float* tiles;
    float* poison;  ///< of every vector of a thread's tile: 0, or NaN once one was not finite

    template <class Memory>
    ProjectScratch(Memory& memory, index_t coordinates, int threads)
        : thread_floats((k_chunk + coordinates) * k_tile),
          tiles(memory.template take<float>(threads * thread_floats)),
          poison(memory.template take<float>(threads * k_tile)) {}
  };

  /// The same of vectors that are the rows of a matrix: one product.
  bool project_rows(const MatrixView<const float>& x, SubspaceCoordinates& coordinates,
                    int threads) const {
    const index_t width = basis_.coordinates;
    const GemmFactor<float> encode = as_is(MatrixView<const float>(
        axes_.encode.data(), axes_.length, axes_.kept, axes_.encode_stride));
    const index_t blocks = blocks_of(x.rows, k_task);
    std::atomic<bool> finite{true};
    parallel_for(blocks, threads, [&](index_t block, int) {
      const IndexRange rows = partition(x.rows, blocks, block);
      const MatrixView<float> z(coordinates.values.data() + rows.first * width, rows.size(), width);
      packed_gemm(as_is(x.middle_rows(rows.first, rows.size())), encode, Update::replace,
                  z.block(0, 1, rows.size(), axes_.kept));
      float poison = 0;
      for (index_t i = 0; i < z.rows; ++i) {
        z(i, 0) = 1;
        for (index_t d = 0; d < axes_.kept; ++d) {
          z(i, d + 1) += negated_mean_[d];
          poison += z(i, d + 1) * 0.0F;
        }
      }
      if (!(poison == 0.0F)) finite = false;
    });
    return finite;
  }

  /// Makes what follows from the axes.
  void prepare_basis() {
    negated_mean_.resize(axes_.kept);
    axes_.encoded_mean(negated_mean_.data());
    simd::scale(-1.0F, negated_mean_.data(), axes_.kept);
    basis_.length = axes_.length;
    basis_.coordinates = axes_.kept + 1;
    basis_.stride = axes_.decode_stride;
    basis_.rows.assign(basis_.coordinates * basis_.stride, 0.0F);
    std::copy_n(axes_.mean.data(), axes_.length, basis_.rows.data());
    std::copy_n(axes_.decode.data(), axes_.decode.size(), basis_.rows.data() + basis_.stride);
    negated_basis_.resize(basis_.rows.size());
    std::copy_n(basis_.rows.data(), basis_.rows.size(), negated_basis_.data());
    simd::scale(-1.0F, negated_basis_.data(), negated_basis_.size());
    ++version_;
  }

  /// The coordinates of a tile, element by element: 1, and those that the mean is to leave at 0.
  void start_coordinates(float* z) const noexcept {
    std::fill_n(z, k_tile, 1.0F);
    for (index_t d = 0; d < axes_.kept; ++d) {
      std::fill_n(z + (d + 1) * k_tile, k_tile, negated_mean_[d]);
    }
  }
  void add_coordinates(index_t first_element, index_t elements, const float* x,
                       float* z) const noexcept {
    simd::project(x, elements, axes_.encode.data() + first_element * axes_.encode_stride,
                  axes_.encode_stride, axes_.kept, z);
  }

  // What measuring works on: a tile of vectors and of their coordinates, element by element.
  void prepare_tiles() {
    x_.assign(shape_.length * k_tile, 0.0F);
    z_.resize(basis_.coordinates * k_tile);
  }
  /// Zeroes the places of the tiles that no vector has been put in.
  void clear_behind(index_t count) noexcept {
    for (index_t e = 0; e < shape_.length; ++e) {
      std::fill(x_.data() + e * k_tile + count, x_.data() + (e + 1) * k_tile, 0.0F);
    }
    for (index_t k = 0; k < basis_.coordinates; ++k) {
      std::fill(z_.data() + k * k_tile + count, z_.data() + (k + 1) * k_tile, 0.0F);
    }
  }
  /// Adds the energy of the tile of vectors, and of what is left when their stand-ins are taken
  /// off, which overwrites it.
  void add_energy(SampledEnergy& energy) noexcept {
    energy.total += double{simd::dot(x_.data(), x_.data(), x_.size())};
    simd::project(z_.data(), basis_.coordinates, negated_basis_.data(), basis_.stride,
                  shape_.length, x_.data());
    energy.within_clusters += double{simd::dot(x_.data(), x_.data(), x_.size())};
  }

  SubspaceShape shape_;
  PrincipalAxes axes_;
  SubspaceBasis basis_;
  AlignedBuffer<float> negated_mean_;   // [kept] coordinates of the mean
  AlignedBuffer<float> negated_basis_;  // [coordinates x stride]
  double fit_error_ = 0;
  std::uint64_t version_ = 0;
  VectorSample sample_;
  AlignedBuffer<float> x_;
  AlignedBuffer<float> z_;
};

ADR_NAMESPACE_END
