// Learned codebooks over shared neuron vectors: rotation to principal coordinates, a few codebooks
// of up to 256 entries, and what their entries decode to.
//
// Codebooks persist from batch to batch, which is cluster reuse: a batch is only encoded, and a
// small sample of it refines the entries and measures the error.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "adr/cluster/clustering.hpp"
#include "adr/cluster/codebook_fit.hpp"
#include "adr/cluster/joint_decoder.hpp"
#include "adr/cluster/kmeans.hpp"
#include "adr/cluster/vector_sample.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/context.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/encode_kernels.hpp"

ADR_NAMESPACE_BEGIN

/// Codebooks of one layer.
///
/// Math: a group of elements x has coordinates z = E^T (x - mean); product: book b encodes
/// coordinates of its own by the nearest of its entries; residual: all coordinates, of what the
/// books before left. A vector is taken for mean + the sum of the decoding entries. Sources of
/// vectors: core/vector_map.hpp. Memory: books * entries * (length + coordinates) floats. Errors:
/// std::bad_alloc. Determinism: by seed, on one instruction set. Thread-safety: `encode` uses the
/// threads of its context; otherwise none. Source: product quantisation (Jegou et al. 2011) and
/// residual quantisation; the joint decoder and the metric are this library's.
class Codebook {
 public:
  /// Vectors that are read for fitting, and for refining and measuring, at most.
  static constexpr index_t k_fit_sample = 8192;
  static constexpr index_t k_refine_sample = 1024;

  explicit Codebook(const CodebookShape& shape) : shape_(shape) {}

  [[nodiscard]] const CodebookShape& shape() const noexcept { return shape_; }
  [[nodiscard]] bool fitted() const noexcept { return !groups_.empty(); }
  [[nodiscard]] const std::vector<EncodingGroup>& groups() const noexcept { return groups_; }
  [[nodiscard]] const Decoder& decoder() const noexcept { return decoder_; }
  /// The relative error of the sample that the codebooks were fitted to.
  [[nodiscard]] double fit_error() const noexcept { return fit_error_; }
  /// Counts fits and refinements: whoever keeps products of entries compares it.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

  /// Puts saved codebooks in place. Requires: parts that belong together (the reader checks).
  void restore(std::vector<EncodingGroup> groups, Decoder decoder, double fit_error) {
    groups_ = std::move(groups);
    decoder_ = std::move(decoder);
    fit_error_ = fit_error;
    ++version_;
  }
  void clear() {
    groups_.clear();
    ++version_;
  }

  /// Fits axes, books and decoder to a sample of vectors. Returns false and changes nothing when
  /// none of them is finite, or weights are so large that errors are not. gram: the metric of the
  /// products, length x length, or empty; see fit_principal_axes. Cost: see fit_group, with n =
  /// k_fit_sample.
  template <class Vectors>
  bool fit(const Vectors& vectors, const MatrixView<const float>& gram) {
    const index_t stride = simd::padded(shape_.length);
    AlignedBuffer<float> sample;
    const index_t rows = load_finite_sample(vectors, k_fit_sample, shape_.seed, sample);
    if (rows == 0) return false;

    const index_t group_length =
        shape_.group_length > 0 ? std::min(shape_.group_length, shape_.length) : shape_.length;
    // In place of what there is only when all of it is there.
    std::vector<EncodingGroup> groups;
    Decoder decoder;
    decoder.length = shape_.length;
    decoder.entry_count = shape_.entries;
    decoder.reserves_padding = shape_.reserves_padding;
    decoder.mean.resize(shape_.length);
    Random random(shape_.seed);
    SampledEnergy energy;
    AlignedBuffer<float> part;
    for (index_t first = 0; first < shape_.length; first += group_length) {
      const index_t length = std::min(group_length, shape_.length - first);
      const index_t part_stride = simd::padded(length);
      part.assign(rows * part_stride, 0.0F);
      for (index_t i = 0; i < rows; ++i) {
        std::copy_n(sample.data() + i * stride + first, length, part.data() + i * part_stride);
      }
      FittedGroup fitted =
          fit_group(shape_, first, MatrixView<float>(part.data(), rows, length, part_stride),
                    gram.data != nullptr ? gram.block(first, first, length, length) : gram, random);
      std::copy_n(fitted.encoding.axes.mean.data(), length, decoder.mean.data() + first);
      groups.push_back(std::move(fitted.encoding));
      for (DecodingBook& book : fitted.decoding) decoder.books.push_back(std::move(book));
      energy.total += fitted.total_energy;
      energy.within_clusters += fitted.within_energy;
    }
    if (!energy.is_finite()) return false;
    groups_ = std::move(groups);
    decoder_ = std::move(decoder);
    fit_error_ = energy.relative_error();
    ++version_;
    return true;
  }

  /// Writes the entry of every vector. Returns false when some vector is not finite; ids are valid
  /// all the same. Requires: fitted; codes of vectors.map().vectors() and decoder().book_count();
  /// scratch reserved. Cost per vector: length * kept + books * entries * (coordinates + 2).
  template <class Vectors>
  bool encode(const Vectors& vectors, VectorCodes& codes, Context& context) const {
    const index_t count = vectors.map().vectors();
    const Workspace::Frame frame(context.workspace());
    float* scratch = context.workspace().take<float>(context.threads() * scratch_floats());
    bool* finite = context.workspace().take<bool>(context.threads());
    std::fill_n(finite, context.threads(), true);
    parallel_for((count + k_task - 1) / k_task, context.threads(), [&](index_t task, int thread) {
      float* x = scratch + thread * scratch_floats();
      float* z = x + k_chunk * k_tile;
      const index_t last = std::min(count, (task + 1) * k_task);
      for (index_t first = task * k_task; first < last; first += k_tile) {
        const index_t valid = std::min(k_tile, last - first);
        index_t book = 0;
        for (const EncodingGroup& group : groups_) {
          project_tile(vectors, group, first, valid, x, z);
          finite[thread] = encode_tile(group, book, first, valid, z, codes) && finite[thread];
          book += group.book_count();
        }
      }
    });
    return std::all_of(finite, finite + context.threads(), [](bool f) { return f; });
  }

  /// Bytes of scratch that `encode` takes.
  [[nodiscard]] std::size_t encode_workspace_bytes(int thread_count) const {
    return WorkspaceSize()
        .add<float>(thread_count * scratch_floats())
        .add<bool>(thread_count)
        .bytes();
  }

  /// Measures the error of a sample of encoded vectors; with `update` entries move towards them, by
  /// count / (count + 64) of what their members lack. Cost: k_refine_sample * books * 3 length.
  template <class Vectors>
  SampledEnergy refine(const Vectors& vectors, const VectorCodes& codes, bool update) {
    const index_t stride = simd::padded(shape_.length);
    sample_.choose(vectors.map().vectors(), k_refine_sample, shape_.seed);
    const index_t most = sample_.most_rows();
    residuals_.resize(most * stride);
    sample_ids_.resize(most * codes.books);
    SampledEnergy energy;
    index_t rows = 0;
    for (const index_t first : sample_.runs()) {
      const MatrixView<float> x = sample_.load(vectors, first, residuals_.data() + rows * stride);
      for (index_t i = 0; i < x.rows; ++i) {
        energy.total += double{simd::dot(x.row(i), x.row(i), shape_.length)};
        for (index_t e = 0; e < shape_.length; ++e) x(i, e) -= decoder_.mean[e];
      }
      for (index_t b = 0; b < codes.books; ++b) {
        std::copy_n(codes.plane(b) + first, x.rows, sample_ids_.data() + b * most + rows);
      }
      rows += x.rows;
    }
    for (index_t b = 0; b < codes.books; ++b) {
      subtract_decoded(decoder_.books[static_cast<std::size_t>(b)], sample_ids_.data() + b * most,
                       residual_columns(b, rows));
    }
    energy.within_clusters = double{simd::dot(residuals_.data(), residuals_.data(), rows * stride)};
    if (update && std::isfinite(energy.within_clusters)) move_towards_sample(rows, most);
    if (rows > 0) {
      const double scale = static_cast<double>(vectors.map().vectors()) / static_cast<double>(rows);
      energy.total *= scale;
      energy.within_clusters *= scale;
    }
    return energy;
  }

 private:
  static constexpr index_t k_tile = simd::k_encode_tile;
  static constexpr index_t k_chunk = 64;  // elements of a tile that are loaded at a time
  static constexpr index_t k_task = 512;  // vectors of a task

  [[nodiscard]] index_t scratch_floats() const noexcept {
    index_t most = 0;
    for (const EncodingGroup& group : groups_) most = std::max(most, group.axes.kept);
    return (k_chunk + most) * k_tile;
  }

  template <class Vectors>
  static void project_tile(const Vectors& vectors, const EncodingGroup& group, index_t first,
                           index_t valid, float* x, float* z) {
    const PrincipalAxes& axes = group.axes;
    for (index_t d = 0; d < axes.kept; ++d) {
      std::fill_n(z + d * k_tile, k_tile, group.negated_mean[d]);
    }
    for (index_t e = 0; e < axes.length; e += k_chunk) {
      const index_t elements = std::min(k_chunk, axes.length - e);
      if (valid < k_tile) std::fill_n(x, elements * k_tile, 0.0F);
      vectors.load_columns(first, group.first_element + e,
                           MatrixView<float>(x, elements, valid, k_tile));
      simd::project(x, elements, axes.encode.data() + e * axes.encode_stride, axes.encode_stride,
                    axes.kept, z);
    }
  }

  /// Returns whether all distances are finite.
  bool encode_tile(const EncodingGroup& group, index_t first_book, index_t first, index_t valid,
                   float* z, VectorCodes& codes) const noexcept {
    std::uint8_t ids[k_tile];
    float distances[k_tile];
    bool finite = true;
    for (index_t b = 0; b < group.book_count(); ++b) {
      const EncodingBook& book = group.books[static_cast<std::size_t>(b)];
      finite = simd::nearest_entries(z + book.first_coordinate * k_tile, book.coordinates,
                                     book.negated_entries.data(), book.half_norms.data(),
                                     book.entries(), ids, distances) &&
               finite;
      if (shape_.residual) detail::subtract_entries(book, ids, z);
      std::copy_n(ids, valid, codes.plane(first_book + b) + first);
    }
    return finite;
  }

  [[nodiscard]] MatrixView<float> residual_columns(index_t book, index_t rows) noexcept {
    const DecodingBook& decoding = decoder_.books[static_cast<std::size_t>(book)];
    return {residuals_.data() + decoding.first_element, rows, decoding.length,
            simd::padded(shape_.length)};
  }

  void move_towards_sample(index_t rows, index_t most) {
    constexpr float k_inertia = 64;
    for (index_t b = 0; b < decoder_.book_count(); ++b) {
      DecodingBook& book = decoder_.books[static_cast<std::size_t>(b)];
      scratch_.resize(std::max(scratch_.size(), decoder_.entry_count * book.stride));
      sweep_book(book, decoder_.entry_count, sample_ids_.data() + b * most, k_inertia,
                 residual_columns(b, rows), scratch_.data());
    }
    ++version_;
  }

  CodebookShape shape_;
  std::vector<EncodingGroup> groups_;
  Decoder decoder_;
  double fit_error_ = 0;
  std::uint64_t version_ = 0;
  VectorSample sample_;
  AlignedBuffer<float> residuals_;
  AlignedBuffer<std::uint8_t> sample_ids_;
  AlignedBuffer<float> scratch_;
};

ADR_NAMESPACE_END
