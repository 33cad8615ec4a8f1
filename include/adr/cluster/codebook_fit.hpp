// Fitting the codebooks of one group of elements: axes, books, and the entries they decode to.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "adr/cluster/clustering.hpp"
#include "adr/cluster/joint_decoder.hpp"
#include "adr/cluster/kmeans.hpp"
#include "adr/cluster/principal_axes.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/simd/encode_kernels.hpp"

ADR_NAMESPACE_BEGIN

/// What a set of codebooks looks like.
struct CodebookShape {
  index_t length = 0;            ///< elements of a neuron vector
  index_t group_length = 0;      ///< elements that are encoded together; 0: all
  index_t books = 4;             ///< per group; a group of fewer elements has as many as elements
  index_t entries = 64;          ///< per book, 2 to 256, the one that stands for padding included
  bool residual = false;         ///< each book encodes what the previous ones left
  index_t kept_coordinates = 0;  ///< per group; 0: three per book (four of up to two books)
  bool reserves_padding = false;
  std::uint64_t seed = 1;
};

/// The encoding side of one group of elements.
struct EncodingGroup {
  index_t first_element = 0;
  PrincipalAxes axes;
  AlignedBuffer<float> negated_mean;  ///< [kept] coordinates of the mean, negated
  std::vector<EncodingBook> books;

  [[nodiscard]] index_t book_count() const noexcept { return static_cast<index_t>(books.size()); }
};

namespace detail {

/// How many coordinates a group of that many elements keeps.
inline index_t kept_coordinates(const CodebookShape& shape, index_t length, index_t books) {
  const index_t automatic = (shape.books <= 2 ? 4 : 3) * books;
  const index_t wanted = shape.kept_coordinates > 0 ? shape.kept_coordinates : automatic;
  return std::clamp(wanted, books, length);
}

/// Deals coordinates out to books, the strongest first, each to the book that has least to encode
/// so far and room left. Returns the order in which the coordinates stand, book by book.
inline std::vector<index_t> deal_coordinates(const PrincipalAxes& axes, index_t book_count,
                                             std::vector<index_t>& book_sizes) {
  const index_t room = (axes.kept + book_count - 1) / book_count;
  const double least = std::max(1e-30, double{axes.variances[axes.kept - 1]});
  std::vector<std::vector<index_t>> members(static_cast<std::size_t>(book_count));
  std::vector<double> load(static_cast<std::size_t>(book_count), 0.0);
  for (index_t d = 0; d < axes.kept; ++d) {
    std::size_t best = members.size();
    for (std::size_t b = 0; b < members.size(); ++b) {
      const bool full = static_cast<index_t>(members[b].size()) >= room;
      if (!full && (best == members.size() || load[b] < load[best])) best = b;
    }
    members[best].push_back(d);
    load[best] += std::log(double{axes.variances[d]} / least + 1);
  }
  std::vector<index_t> order;
  book_sizes.clear();
  for (const auto& book : members) {
    order.insert(order.end(), book.begin(), book.end());
    book_sizes.push_back(static_cast<index_t>(book.size()));
  }
  return order;
}

inline void reorder_coordinates(PrincipalAxes& axes, const std::vector<index_t>& order) {
  AlignedBuffer<float> encode;
  AlignedBuffer<float> decode;
  AlignedBuffer<float> variances;
  encode.assign(axes.encode.size(), 0.0F);
  decode.assign(axes.decode.size(), 0.0F);
  variances.resize(axes.kept);
  for (index_t d = 0; d < axes.kept; ++d) {
    const index_t from = order[static_cast<std::size_t>(d)];
    variances[d] = axes.variances[from];
    for (index_t e = 0; e < axes.length; ++e) {
      encode[e * axes.encode_stride + d] = axes.encode[e * axes.encode_stride + from];
    }
    std::copy_n(axes.decode.data() + from * axes.decode_stride, axes.decode_stride,
                decode.data() + d * axes.decode_stride);
  }
  axes.encode = std::move(encode);
  axes.decode = std::move(decode);
  axes.variances = std::move(variances);
}

/// The coordinates of a sample, in tiles.
inline CoordinateTiles sample_coordinates(const MatrixView<const float>& sample,
                                          const EncodingGroup& group) {
  constexpr index_t k_tile = simd::k_encode_tile;
  const PrincipalAxes& axes = group.axes;
  CoordinateTiles tiles(sample.rows, axes.kept);
  AlignedBuffer<float> x(axes.length * k_tile);
  for (index_t t = 0; t < tiles.tiles(); ++t) {
    for (index_t i = 0; i < k_tile; ++i) {
      const float* row = sample.row((t * k_tile + i) % sample.rows);
      for (index_t e = 0; e < axes.length; ++e) x[e * k_tile + i] = row[e];
    }
    float* z = tiles.tile(t);
    for (index_t d = 0; d < axes.kept; ++d)
      std::fill_n(z + d * k_tile, k_tile, group.negated_mean[d]);
    simd::project(x.data(), axes.length, axes.encode.data(), axes.encode_stride, axes.kept, z);
  }
  return tiles;
}

/// Takes the entries of one book off the coordinates that it encoded.
inline void subtract_entries(const EncodingBook& book, const std::uint8_t* ids, float* z) noexcept {
  for (index_t l = 0; l < book.coordinates; ++l) {
    float* coordinate = z + (book.first_coordinate + l) * simd::k_encode_tile;
    for (index_t i = 0; i < simd::k_encode_tile; ++i) {
      coordinate[i] += book.negated_entries[ids[i] * book.coordinates + l];
    }
  }
}

/// The decoding entries that an encoding book implies by itself: its entries carried back along the
/// axes.
inline DecodingBook carried_back(const EncodingGroup& group, const EncodingBook& book,
                                 index_t entry_count) {
  const PrincipalAxes& axes = group.axes;
  DecodingBook decoding;
  decoding.first_element = group.first_element;
  decoding.length = axes.length;
  decoding.stride = axes.decode_stride;
  decoding.entries.assign(entry_count * decoding.stride, 0.0F);
  for (index_t t = 0; t < book.entries(); ++t) {
    float* entry = decoding.entries.data() + t * decoding.stride;
    for (index_t l = 0; l < book.coordinates; ++l) {
      const float value = -book.negated_entries[t * book.coordinates + l];
      const float* axis = axes.decode.data() + (book.first_coordinate + l) * axes.decode_stride;
      for (index_t e = 0; e < axes.length; ++e) entry[e] += value * axis[e];
    }
  }
  return decoding;
}

}  // namespace detail

/// The outcome of fitting a group.
struct FittedGroup {
  EncodingGroup encoding;
  std::vector<DecodingBook> decoding;
  double total_energy = 0;  ///< sums over the sample of ||x||^2 and ||x - decoded x||^2
  double within_energy = 0;
};

/// Fits the codebooks of the elements [first_element, first_element + sample.cols) of a layer's
/// neuron vectors.
///
/// Shapes: sample n x length of finite values, row_stride padded; it is overwritten. gram: the
/// metric of those elements, or empty. Cost: n length^2 + length^3 for the axes, then per book
/// 8 n entries coordinates and 12 n length. Errors: std::bad_alloc. Determinism: by the state of
/// random. Source: see Codebook. A template for the sake of fit_principal_axes; T is float.
template <class T>
FittedGroup fit_group(const CodebookShape& shape, index_t first_element,
                      const MatrixView<T>& sample, const MatrixView<const float>& gram,
                      Random& random) {
  constexpr int k_sweeps = 6;
  constexpr float k_inertia = 8;  // members that a rare entry is held back by
  const index_t length = sample.cols;
  const index_t book_count = std::min(shape.books, length);
  const index_t clusters = shape.entries - (shape.reserves_padding ? 1 : 0);

  FittedGroup fitted;
  EncodingGroup& group = fitted.encoding;
  group.first_element = first_element;
  group.axes =
      fit_principal_axes(sample, gram, {detail::kept_coordinates(shape, length, book_count), 0.0});
  std::vector<index_t> sizes;
  if (!shape.residual) {
    detail::reorder_coordinates(group.axes,
                                detail::deal_coordinates(group.axes, book_count, sizes));
  }
  group.negated_mean.resize(group.axes.kept);
  group.axes.encoded_mean(group.negated_mean.data());
  for (index_t d = 0; d < group.axes.kept; ++d) group.negated_mean[d] = -group.negated_mean[d];

  CoordinateTiles tiles = detail::sample_coordinates(sample, group);
  AlignedBuffer<std::uint8_t> ids(checked_product("ids", book_count, tiles.count));
  index_t first_coordinate = 0;
  for (index_t b = 0; b < book_count; ++b) {
    const index_t coordinates =
        shape.residual ? group.axes.kept : sizes[static_cast<std::size_t>(b)];
    std::uint8_t* book_ids = ids.data() + b * tiles.count;
    group.books.push_back(
        fit_codebook(tiles, first_coordinate, coordinates, clusters, random, book_ids));
    const EncodingBook& book = group.books.back();
    fitted.decoding.push_back(detail::carried_back(group, book, shape.entries));
    if (shape.residual) {
      for (index_t t = 0; t < tiles.tiles(); ++t) {
        detail::subtract_entries(book, book_ids + t * simd::k_encode_tile, tiles.tile(t));
      }
    } else {
      first_coordinate += coordinates;
    }
  }

  for (index_t i = 0; i < sample.rows; ++i) {
    float* x = sample.row(i);
    fitted.total_energy += double{simd::dot(x, x, length)};
    for (index_t e = 0; e < length; ++e) x[e] -= group.axes.mean[e];
  }
  AlignedBuffer<float> scratch(shape.entries * group.axes.decode_stride);
  for (index_t b = 0; b < book_count; ++b) {
    subtract_decoded(fitted.decoding[static_cast<std::size_t>(b)], ids.data() + b * tiles.count,
                     sample);
  }
  for (int sweep = 0; sweep < k_sweeps; ++sweep) {
    for (index_t b = 0; b < book_count; ++b) {
      sweep_book(fitted.decoding[static_cast<std::size_t>(b)], shape.entries,
                 ids.data() + b * tiles.count, k_inertia, sample, scratch.data());
    }
  }
  for (index_t i = 0; i < sample.rows; ++i) {
    fitted.within_energy += double{simd::dot(sample.row(i), sample.row(i), length)};
  }
  return fitted;
}

ADR_NAMESPACE_END
