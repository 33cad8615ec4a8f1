// The neuron vectors of a convolution input, each once, however many kernel offsets and outputs
// read it. The interface is described in core/vector_map.hpp.
//
// Neuron vectors of every kind are the im2col rows of some geometry: whole patches of the
// convolution itself, strips of one with kernels one pixel high, pixels of one with 1 x 1 kernels.
// So unfolding exists once, and this file says which geometry and who reads its rows.
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/simd/row_copies.hpp"
#include "adr/simd/transpose.hpp"
#include "adr/unfold/col2im.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/im2col.hpp"
#include "adr/unfold/im2col_transposed.hpp"

ADR_NAMESPACE_BEGIN

/// The kind that `automatic` stands for: strips where the pixels of a group have too few channels
/// to be worth a rotation, pixels otherwise. Other kinds stand for themselves.
inline NeuronVectorKind resolve(NeuronVectorKind kind, const ConvGeometry& geometry) noexcept {
  constexpr index_t k_few_channels = 8;
  if (kind != NeuronVectorKind::automatic) return kind;
  return geometry.group_in_channels() < k_few_channels && geometry.kernel_width > 1
             ? NeuronVectorKind::strip
             : NeuronVectorKind::pixel;
}

/// Elements of one neuron vector. Requires, here and below: a valid geometry, a resolved kind.
inline index_t vector_length(const ConvGeometry& geometry, NeuronVectorKind kind) noexcept {
  const index_t channels = geometry.group_in_channels();
  if (kind == NeuronVectorKind::pixel) return channels;
  return kind == NeuronVectorKind::strip ? geometry.kernel_width * channels : geometry.columns();
}

/// Where the neuron vectors of a batch lie and which outputs read them: pixel, in_height x in_width
/// vectors per image, read at all kernel offsets; strip, in_height x out_width, read at all kernel
/// rows; patch, out_height x out_width, read by one output each.
inline VectorMap vector_map(const ConvGeometry& geometry, NeuronVectorKind kind,
                            index_t images) noexcept {
  VectorMap map;
  map.images = images;
  map.out_height = map.grid_height = geometry.out_height();
  map.out_width = map.grid_width = geometry.out_width();
  if (kind == NeuronVectorKind::patch) return map;
  map.grid_height = geometry.in_height;
  map.offset_rows = geometry.kernel_height;
  map.step_y = geometry.stride_height;
  map.dilation_y = geometry.dilation_height;
  map.pad_top = geometry.pad_top;
  if (kind == NeuronVectorKind::strip) return map;
  map.grid_width = geometry.in_width;
  map.offset_cols = geometry.kernel_width;
  map.step_x = geometry.stride_width;
  map.dilation_x = geometry.dilation_width;
  map.pad_left = geometry.pad_left;
  return map;
}

/// Which weights meet which elements: entry o * length + e is the column of the unfolded matrix
/// (the row of the K x M weights) that element e of a neuron vector stands for at kernel offset
/// o = i * offset_cols + j.
///
/// Every column occurs once. Elements run over the channels of the group (pixel), over (channel,
/// kx) in layout nchw and (kx, channel) in nhwc (strip), over all columns (patch). Memory: K
/// indices. Errors: std::bad_alloc.
inline std::vector<index_t> weight_columns(const ConvGeometry& geometry, NeuronVectorKind kind) {
  const VectorMap map = vector_map(geometry, kind, 0);
  const index_t length = vector_length(geometry, kind);
  // In layout nhwc, (ky, kx, channel), the offset goes before the element; in nchw, (channel, ky,
  // kx), it comes between the channel and what else the element names.
  const index_t inner = kind == NeuronVectorKind::strip ? geometry.kernel_width : 1;
  const bool in_order = geometry.layout == Layout::nhwc || kind == NeuronVectorKind::patch;
  std::vector<index_t> columns;
  columns.reserve(static_cast<std::size_t>(geometry.columns()));
  for (index_t offset = 0; offset < map.offsets(); ++offset) {
    for (index_t e = 0; e < length; ++e) {
      columns.push_back(in_order ? offset * length + e
                                 : (e / inner * map.offsets() + offset) * inner + e % inner);
    }
  }
  return columns;
}

/// The neuron vectors of one group over a batch of images.
///
/// Requires: a valid geometry, images of its shape and layout, a group below groups, a resolved
/// kind. Thread-safety: loads are reentrant; adds are as long as they touch different images (or,
/// for pixels, different vectors or different elements).
template <class T>
class NeuronVectors {
  using Element = std::remove_const_t<T>;

 public:
  NeuronVectors(const ConvGeometry& geometry, const TensorView<T>& images, index_t group,
                NeuronVectorKind kind) noexcept
      : geometry_(unfolding(geometry, kind)),
        images_(images),
        group_(group),
        map_(vector_map(geometry, kind, images.batch)),
        are_pixels_(is_one_line(geometry_)),
        transposed_(are_pixels_ && geometry.layout == Layout::nchw) {
    ADR_ASSERT(kind != NeuronVectorKind::automatic, "the kind of neuron vectors is not resolved");
  }

  [[nodiscard]] const VectorMap& map() const noexcept { return map_; }
  [[nodiscard]] index_t length() const noexcept { return geometry_.columns(); }
  /// All groups of the images that they are cut out of.
  [[nodiscard]] const TensorView<T>& images() const noexcept { return images_; }

  /// block(e, i) = element first_element + e of vector first_vector + i, as float.
  void load_columns(index_t first_vector, index_t first_element,
                    const MatrixView<float>& block) const noexcept {
    im2col_transposed<Element>(geometry_, images_, group_, first_vector, first_element, block);
  }

  /// block(i, e) = element first_element + e of vector first_vector + i.
  void load_rows(index_t first_vector, index_t first_element,
                 const MatrixView<Element>& block) const noexcept {
    if (!are_pixels_) {
      im2col<Element>(geometry_, images_, group_, first_vector, first_element, block);
      return;
    }
    for_each_stretch(first_vector, first_element, block.rows,
                     [&](T* pixels, index_t count, index_t row) {
                       if (transposed_) {
                         simd::transpose(pixels, geometry_.in_width, block.cols, count,
                                         block.row(row), block.row_stride);
                       } else {
                         simd::copy_rows<Element>(pixels, geometry_.in_channels, count, block.cols,
                                                  block.row(row), block.row_stride);
                       }
                     });
  }

  /// Adds block(i, e) to the images where load_rows reads it; what lies in the padding is lost.
  void add_rows(index_t first_vector, index_t first_element,
                const MatrixView<const Element>& block) const noexcept {
    if (!transposed_) {
      col2im_add<Element>(geometry_, block, group_, first_vector, first_element, images_);
      return;
    }
    for_each_stretch(first_vector, first_element, block.rows,
                     [&](T* channels, index_t count, index_t row) {
                       simd::transpose_add(block.row(row), block.row_stride, count, block.cols,
                                           channels, geometry_.in_width);
                     });
  }

  /// Whether every element belongs to one vector, so that store_rows may take the place of add_rows
  /// to images that are zero.
  [[nodiscard]] bool can_store_rows() const noexcept { return are_pixels_; }
  /// Sets what load_rows reads to block(i, e). Requires: can_store_rows().
  void store_rows(index_t first_vector, index_t first_element,
                  const MatrixView<const Element>& block) const noexcept {
    for_each_stretch(first_vector, first_element, block.rows,
                     [&](T* pixels, index_t count, index_t row) {
                       if (transposed_) {
                         simd::transpose(block.row(row), block.row_stride, count, block.cols,
                                         pixels, geometry_.in_width);
                       } else {
                         simd::copy_rows<Element>(block.row(row), block.row_stride, count,
                                                  block.cols, pixels, geometry_.in_channels);
                       }
                     });
  }

  /// Whether adds to different vectors, or to different elements, touch different memory.
  [[nodiscard]] bool adds_are_independent() const noexcept {
    return geometry_.columns() == geometry_.group_in_channels();
  }

 private:
  /// The geometry whose im2col rows are the neuron vectors, in their order.
  static ConvGeometry unfolding(const ConvGeometry& original, NeuronVectorKind kind) noexcept {
    ConvGeometry g = original;
    if (kind != NeuronVectorKind::patch) {
      g.kernel_height = g.stride_height = g.dilation_height = 1;
      g.pad_top = g.pad_bottom = 0;
    }
    if (kind == NeuronVectorKind::pixel) {
      g.kernel_width = g.stride_width = g.dilation_width = 1;
      g.pad_left = g.pad_right = 0;
    }
    const bool unpadded =
        g.pad_top == 0 && g.pad_bottom == 0 && g.pad_left == 0 && g.pad_right == 0;
    if (g.columns() == g.group_in_channels() && g.stride_height == 1 && g.stride_width == 1 &&
        unpadded) {
      // The rows of an image then follow each other as the pixels of a row do.
      g.in_width *= g.in_height;
      g.in_height = 1;
    }
    return g;
  }
  /// Whether every image is one line and its neuron vectors are the pixels.
  static bool is_one_line(const ConvGeometry& g) noexcept {
    return g.columns() == g.group_in_channels() && g.in_height == 1 && g.out_height() == 1 &&
           g.stride_width == 1 && g.pad_top == 0 && g.pad_left == 0 && g.pad_right == 0;
  }

  /// Pixels: calls use(pixels, count, row) for the vectors that lie in one image; element
  /// first_element + e of vector first_vector + row + i is pixels[e * in_width + i] in layout nchw,
  /// pixels[i * in_channels + e] in nhwc.
  template <class Use>
  void for_each_stretch(index_t first_vector, index_t first_element, index_t count,
                        const Use& use) const noexcept {
    const index_t channel = group_ * geometry_.group_in_channels() + first_element;
    detail::for_each_output_stretch(
        geometry_, first_vector, count,
        [&](index_t image, index_t /*oy*/, index_t pixel, index_t pixels, index_t row) {
          const index_t at = transposed_ ? channel * geometry_.in_width + pixel
                                         : pixel * geometry_.in_channels + channel;
          use(images_.image(image) + at, pixels, row);
        });
  }

  ConvGeometry geometry_;
  TensorView<T> images_;
  index_t group_;
  VectorMap map_;
  bool are_pixels_;
  bool transposed_;
};

ADR_NAMESPACE_END
