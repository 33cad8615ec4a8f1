// Which algorithm computes a pass of a convolution exactly. It follows from the shape alone, so the
// bits of a result do as well.
#pragma once

#include <algorithm>
#include <type_traits>

#include "adr/core/errors.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/tile_algorithms.hpp"
#include "adr/exact/tile_grid.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace exact {

/// How a pass is computed.
enum class Form {
  direct,    ///< every multiplication of the definition
  tile_4x3,  ///< Winograd F(4x4,3x3)
  tile_2x3,  ///< Winograd F(2x2,3x3)
  map_2x3,   ///< nine products for a map of 2 x 2 pixels with padding 1
  tile_4x5,  ///< Winograd F(4x4,5x5)
};

/// Whether tiles are used for numbers of that type; doubles are asked for where rounding matters.
template <class T>
inline constexpr bool k_has_tiles = std::is_same_v<T, float>;

/// Calls use(algorithm) with an object of the algorithm of a form other than direct.
template <class T, class Use>
void with_algorithm(Form form, const Use& use) {
  if constexpr (k_has_tiles<T>) {
    switch (form) {
      case Form::direct:
        return;
      case Form::tile_4x3:
        return use(Tile4x3());
      case Form::tile_2x3:
        return use(Tile2x3());
      case Form::map_2x3:
        return use(Map2x3());
      case Form::tile_4x5:
        return use(Tile4x5());
    }
  }
}

/// The name of a form as it appears in reports.
inline const char* to_string(Form form) noexcept {
  constexpr const char* names[] = {"direct", Tile4x3::name, Tile2x3::name, Map2x3::name,
                                   Tile4x5::name};
  return names[static_cast<int>(form)];
}

/// When a pass transforms its weights, or their gradient.
enum class WeightTransforms {
  of_forward,   ///< in a forward pass
  of_gradient,  ///< in a gradient
  kept,         ///< in advance, for many forward passes
};

namespace detail {

/// Multiplications of one image per pair of channels.
template <class Algorithm>
index_t tile_products(const ConvGeometry& geometry) noexcept {
  return tile_grid<Algorithm>(geometry).per_image() * Algorithm::products * Algorithm::products;
}

/// Tiles whose products, all of them saved, would pay for the transforms of weights. Measured:
/// forward passes over 3 tiles of F(4x4,3x3) are 0.9 times as fast as direct ones, over 4 tiles 1.3
/// times; gradients over 4 tiles 0.8 times, over 6 as fast. Kept weights of maps of 2 x 2 are no
/// larger than they were, and 1.5 to 2 times as fast for a single image; those of other forms are
/// larger, and take as long to read as to transform.
inline index_t tiles_worth_weights(Form form, WeightTransforms weights) noexcept {
  const bool is_map = form == Form::map_2x3;
  switch (weights) {
    case WeightTransforms::of_forward:
      return is_map ? 24 : 10;
    case WeightTransforms::of_gradient:
      return 24;
    case WeightTransforms::kept:
      return is_map ? 0 : 10;
  }
  return 24;
}

inline bool is_padded_map_of_two(const ConvGeometry& g) noexcept {
  return g.in_height == 2 && g.in_width == 2 && g.pad_top == 1 && g.pad_bottom == 1 &&
         g.pad_left == 1 && g.pad_right == 1;
}

}  // namespace detail

/// Where tiles take the place of direct products.
enum class Winograd {
  never,              ///< direct forms only: the least rounding
  where_it_pays,      ///< by the number of multiplications and of tiles
  wherever_possible,  ///< for any batch and any number of channels: to compare, and for tests
};

/// What Plan::winograd says.
inline Winograd winograd_of(bool allowed) noexcept {
  return allowed ? Winograd::where_it_pays : Winograd::never;
}

/// A batch that has tiles enough for any form.
inline constexpr index_t k_large_batch = 1024;

/// The form of a forward pass over so many images, and of the weight gradient of the same geometry:
/// that with the fewest multiplications, direct where tiles do not pay for their transforms. The
/// form of an input gradient is that of the convolution which carries it back
/// (flipped_convolution).
template <class T>
Form choose_form(const ConvGeometry& g, Winograd winograd, index_t batch = k_large_batch,
                 WeightTransforms weights = WeightTransforms::of_gradient) noexcept {
  if (!k_has_tiles<T> || winograd == Winograd::never) return Form::direct;
  if (g.kernel_height != g.kernel_width || g.stride_height != 1 || g.stride_width != 1 ||
      g.dilation_height != 1 || g.dilation_width != 1) {
    return Form::direct;
  }
  const index_t direct = g.kernel_height * g.kernel_width * g.out_pixels();
  const auto if_it_pays = [&](Form form, index_t products, index_t of_a_tile) {
    // Transforms of tiles cost as much as a few channels and as a third of what they save.
    constexpr index_t k_fewest_channels = 8;
    const bool pays =
        std::min(g.group_in_channels(), g.group_out_channels()) >= k_fewest_channels &&
        3 * products <= 2 * direct &&
        (direct - products) * std::max<index_t>(batch, 1) >=
            detail::tiles_worth_weights(form, weights) * of_a_tile;
    return pays || winograd == Winograd::wherever_possible ? form : Form::direct;
  };
  const auto tile_products = [&](auto algorithm) {
    return detail::tile_products<decltype(algorithm)>(g);
  };
  if (g.kernel_height == 5) return if_it_pays(Form::tile_4x5, tile_products(Tile4x5()), 64);
  if (g.kernel_height != 3) return Form::direct;
  if (detail::is_padded_map_of_two(g)) return if_it_pays(Form::map_2x3, 9, 9);
  const index_t large = tile_products(Tile4x3());
  const index_t small = tile_products(Tile2x3());
  // At the same number of products the small tiles round less and their transforms are shorter.
  return small <= large ? if_it_pays(Form::tile_2x3, small, 16)
                        : if_it_pays(Form::tile_4x3, large, 36);
}

/// The density of an output gradient up to which gradients over its non-zeros take less time than
/// those of a form; 0: never. Max pools leave less behind a rectifier, rectifiers alone leave more.
/// Measured for layers of 64 to 512 channels in both layouts, with AVX2 and AVX-512
/// (docs/decisions/0028): at these densities 0.5 to 0.95 of the time.
inline double densest_non_zeros(const ConvGeometry& g, Form form, index_t batch) noexcept {
  constexpr index_t k_fewest_columns = 512;
  constexpr index_t k_fewest_pixels = 512;
  constexpr index_t k_wide = 128;
  if (form == Form::direct || g.columns() < k_fewest_columns ||
      batch * g.out_pixels() < k_fewest_pixels) {
    return 0;
  }
  return g.group_out_channels() >= k_wide ? 0.19 : 0.11;
}

}  // namespace exact
ADR_NAMESPACE_END
