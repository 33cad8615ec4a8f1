// Adaptive Deep Reuse: everything public except the parts with a dependency of their own
// (adr/eigen.hpp, adr/onednn.hpp, adr/gemm/cblas_gemm.hpp) and the slow definitions of correct
// (adr/reference/).
#pragma once

#include "adr/adapt/reuse_config.hpp"
#include "adr/adapt/reuse_stats.hpp"
#include "adr/adapt/scheduler.hpp"
#include "adr/cluster/cluster_cache.hpp"
#include "adr/cluster/cluster_rows.hpp"
#include "adr/cluster/clustering.hpp"
#include "adr/cluster/sign_hash.hpp"
#include "adr/core/context.hpp"
#include "adr/core/matrix_rows.hpp"
#include "adr/core/random.hpp"
#include "adr/core/types.hpp"
#include "adr/gemm/centroid_gemm.hpp"
#include "adr/gemm/dense_convolution.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/gemm/dense_product.hpp"
<<<<<<< HEAD
#include "adr/nn/exact_convolution.hpp"
=======
#include "adr/gemm/fastest_gemm.hpp"
>>>>>>> wt-bench
#include "adr/nn/fastest_convolution.hpp"
#include "adr/nn/reuse_conv2d.hpp"
#include "adr/nn/reuse_linear.hpp"
#include "adr/nn/reuse_product.hpp"
#include "adr/nn/unfolded_convolution.hpp"
#include "adr/reuse_gemm.hpp"
#include "adr/unfold/col2im.hpp"
#include "adr/unfold/conv_geometry.hpp"
#include "adr/unfold/im2col.hpp"
#include "adr/unfold/pixel_rows.hpp"
#include "adr/unfold/unfolded_rows.hpp"
#include "adr/version.hpp"
