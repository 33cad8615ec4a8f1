// The product of shared neuron vectors with one weight matrix in a subspace, whichever algorithm
// multiplies.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <variant>

#include "adr/adapt/plan.hpp"
#include "adr/adapt/report.hpp"
#include "adr/core/context.hpp"
#include "adr/core/pixel_view.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/gemm/dense_gemm.hpp"
#include "adr/nn/product_shape.hpp"
#include "adr/nn/subspace_convolution.hpp"
#include "adr/nn/subspace_product.hpp"

ADR_NAMESPACE_BEGIN

/// Method::subspace: pixels of a convolution of one group by the exact engine, other neuron vectors
/// by dense products of unfolded coordinates.
///
/// It remembers the coordinates of the last forward pass, or can compute them anew, for the weight
/// gradient. Thread-safety: none.
template <class Domain>
class SharedProduct {
  using T = typename Domain::Element;
  static constexpr bool k_may_convolve = Domain::k_images && std::is_same_v<T, float>;
  using Form =
      std::conditional_t<k_may_convolve, std::variant<SubspaceProduct<T>, SubspaceConvolution>,
                         std::variant<SubspaceProduct<T>>>;

 public:
  SharedProduct(const ProductShape& shape, const Plan& config)
      : vectors_(shape.input), form_(make(shape, config)) {}

  /// Whether the exact engine computes the product: a convolution of coordinates, in floats.
  [[nodiscard]] static bool convolves(const ProductShape& shape) noexcept {
    return k_may_convolve && shape.convolution && shape.input.kind == NeuronVectorKind::pixel;
  }

  [[nodiscard]] const VectorShape& vectors() const noexcept { return vectors_; }
  /// Null where the other product is used.
  [[nodiscard]] const SubspaceConvolution* subspace_convolution() const noexcept {
    if constexpr (k_may_convolve) return std::get_if<SubspaceConvolution>(&form_);
    return nullptr;
  }

  [[nodiscard]] bool fitted() const noexcept {
    return std::visit([](const auto& form) { return form.fitted(); }, form_);
  }
  /// No more fitting: the subspace stays as it is until unfreeze. Errors: std::invalid_argument
  /// when nothing was fitted yet.
  void freeze() {
    std::visit([](auto& form) { form.freeze(); }, form_);
  }
  void unfreeze() noexcept {
    std::visit([](auto& form) { form.unfreeze(); }, form_);
  }
  [[nodiscard]] bool frozen() const noexcept {
    return std::visit([](const auto& form) { return form.frozen(); }, form_);
  }
  /// The next forward pass fits anew, unless frozen.
  void clear() noexcept {
    std::visit([](auto& form) { form.clear(); }, form_);
  }
  /// Takes images of another size from now on, of which what was learned serves as well.
  void resize(const ProductShape& shape) {
    vectors_ = shape.input;
    if constexpr (k_may_convolve) {
      if (auto* convolution = std::get_if<SubspaceConvolution>(&form_)) {
        convolution->resize(*shape.convolution);
      }
    }
  }
  /// How often the last forward pass fitted, whatever it returned.
  [[nodiscard]] int fits_of_pass() const noexcept {
    return std::visit([](const auto& form) { return form.fits_of_pass(); }, form_);
  }

  /// See ProductState.
  template <class Archive, class Self>
  static void exchange(Archive& archive, Self& self) {
    std::visit([&](auto& form) { std::decay_t<decltype(form)>::exchange(archive, form); },
               self.form_);
    bool frozen = self.frozen();
    archive.flag("frozen", frozen);
    if constexpr (Archive::k_reads) {
      archive.require(!frozen || self.fitted(),
                      "frozen must be 0 where nothing was learned, got 1");
      if (frozen) self.freeze();
    }
  }

  /// Computes the output. Returns false where the input is not finite, and where nothing has been
  /// learned and a batch has fewer vectors than one has elements; then the output is to be computed
  /// in another way.
  template <class Vectors>
  bool forward(const Vectors& vectors, const GemmFactor<T>& weights,
               const VectorView<const T>& bias, const PixelView<T>& output,
               const DenseGemm<T>& gemm, Context& context, Report& stats, StageTimes* times) {
    map_ = vectors.map();
    if (!fitted() && map_.vectors() < vectors_.length) return false;  // too few to learn from
    return std::visit(
        [&](auto& form) {
          if constexpr (!k_convolves<decltype(form)>) {
            return form.forward(vectors, weights, vectors_.columns.data(), bias, output, gemm,
                                context, stats, times);
          } else {
            return form.forward(vectors, weights, vectors_.columns.data(), bias, output, context,
                                stats, times);
          }
        },
        form_);
  }

  /// Computes the gradient with respect to the weights from the coordinates of the last forward
  /// pass, which must have had these vectors and returned true. Errors: std::bad_alloc before
  /// anything is written.
  template <class Vectors>
  void weight_gradient(const Vectors& vectors, const PixelView<const T>& d_output,
                       const GemmResult<T>& d_weights, const DenseGemm<T>& gemm, Context& context,
                       StageTimes* times) const {
    std::visit(
        [&](const auto& form) {
          context.workspace().reserve(
              form.weight_gradient_workspace_bytes(map_, context.threads()));
          if constexpr (!k_convolves<decltype(form)>) {
            form.weight_gradient(map_, vectors_.columns.data(), d_output, d_weights, gemm, context,
                                 times);
          } else {
            form.weight_gradient(vectors, vectors_.columns.data(), d_output, d_weights, context,
                                 times);
          }
        },
        form_);
  }
  [[nodiscard]] double weight_gradient_multiply_adds() const noexcept {
    return std::visit(
        [&](const auto& form) { return form.weight_gradient_multiply_adds(map_.rows()); }, form_);
  }

  [[nodiscard]] std::size_t forward_workspace_bytes(const VectorMap& map, int thread_count) const {
    return std::visit(
        [&](const auto& form) { return form.forward_workspace_bytes(map, thread_count); }, form_);
  }
  [[nodiscard]] std::size_t weight_gradient_workspace_bytes(int thread_count) const {
    return std::visit(
        [&](const auto& form) { return form.weight_gradient_workspace_bytes(map_, thread_count); },
        form_);
  }

 private:
  template <class F>
  static constexpr bool k_convolves = std::is_same_v<std::decay_t<F>, SubspaceConvolution>;

  static Form make(const ProductShape& shape, const Plan& config) {
    if constexpr (k_may_convolve) {
      if (convolves(shape)) {
        return Form(std::in_place_type<SubspaceConvolution>, *shape.convolution, config);
      }
    }
    return Form(std::in_place_type<SubspaceProduct<T>>, shape.input, shape.outputs, config);
  }

  VectorShape vectors_;
  VectorMap map_;
  Form form_;
};

ADR_NAMESPACE_END
