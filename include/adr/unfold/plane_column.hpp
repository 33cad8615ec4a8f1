// Where the columns of the unfolded matrix of layout nchw lie, walked through without divisions.
#pragma once

#include "adr/core/types.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// Where a column of the unfolded matrix of layout nchw looks; next() goes to the following column.
struct PlaneColumn {
  index_t channel;
  index_t ky;
  index_t kx;

  PlaneColumn(const ConvGeometry& g, index_t column) noexcept
      : channel(column / (g.kernel_height * g.kernel_width)),
        ky(column / g.kernel_width % g.kernel_height),
        kx(column % g.kernel_width) {}
  void next(const ConvGeometry& g) noexcept {
    if (++kx < g.kernel_width) return;
    kx = 0;
    if (++ky < g.kernel_height) return;
    ky = 0;
    ++channel;
  }
};

}  // namespace detail
ADR_NAMESPACE_END
