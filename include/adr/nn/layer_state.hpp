// What layers have learned and counted, in a file: to go on with training where it was interrupted,
// or to freeze for inference.
//
// A file holds, as settings, what it and the products of a layer have to agree on; then one product
// after the other: the error meter, the method if there is one, and the gradients. See
// ProductState::exchange.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "adr/adapt/plan.hpp"
#include "adr/core/state_archive.hpp"
#include "adr/core/state_file.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/nn/layer_product.hpp"
#include "adr/nn/product_state.hpp"
#include "adr/unfold/conv_geometry.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

/// The name of an enumerator in a file.
template <class Enum, std::size_t Count>
std::string name_of(Enum value, const char* const (&names)[Count]) {
  return names[static_cast<std::size_t>(value)];
}

/// Agrees on all that Plan::clusters_as compares; neuron_vectors is the product's.
inline void agree_on_clusters(StateArchive& archive, const Plan& config, NeuronVectorKind kind) {
  archive.agree("method", to_string(config.method));
  archive.agree("vector_length", config.vector_length);
  archive.agree("hash_count", config.hash_count);
  archive.agree("radius", exact_text(config.radius));
  archive.agree("hash_center", name_of(config.hash_center, {"origin", "mean"}));
  archive.agree("shared_hyperplanes", index_t{config.shared_hyperplanes});
  archive.agree("cluster_reuse", index_t{config.cluster_reuse});
  archive.agree("max_product_age", config.max_product_age);
  archive.agree("cluster_cache_limit", config.cluster_cache_limit);
  archive.agree("refit_interval", config.refit_interval);
  archive.agree("neuron_vectors", name_of(kind, {"automatic", "patch", "pixel", "strip"}));
  archive.agree("kept_coordinates", config.kept_coordinates);
  archive.agree("subspace_error", exact_text(config.subspace_error));
  archive.agree("seed", std::to_string(config.seed));
}

/// Agrees on where every weight of a convolution meets its input.
inline void agree_on_geometry(StateArchive& archive, const ConvGeometry& g) {
  archive.agree("layout", name_of(g.layout, {"nchw", "nhwc"}));
  const struct {
    const char* name;
    index_t value;
  } fields[] = {{"in_channels", g.in_channels},
                {"in_height", g.in_height},
                {"in_width", g.in_width},
                {"out_channels", g.out_channels},
                {"kernel_height", g.kernel_height},
                {"kernel_width", g.kernel_width},
                {"stride_height", g.stride_height},
                {"stride_width", g.stride_width},
                {"pad_top", g.pad_top},
                {"pad_bottom", g.pad_bottom},
                {"pad_left", g.pad_left},
                {"pad_right", g.pad_right},
                {"dilation_height", g.dilation_height},
                {"dilation_width", g.dilation_width}};
  for (const auto& field : fields) archive.agree(field.name, field.value);
}

/// Agrees on all that the products of a layer are.
template <class Domain>
void agree_on_layer(StateArchive& archive, const LayerProduct<Domain>& product, index_t count) {
  archive.agree("element_type",
                std::is_same_v<typename Domain::Element, float> ? "float" : "double");
  archive.agree("groups", count);
  archive.agree("columns", product.columns());
  archive.agree("outputs", product.outputs());
  agree_on_clusters(archive, product.plan(), product.vectors().kind);
  archive.agree("elements of a vector", product.vectors().length);
  archive.agree("offsets", product.vectors().offsets);
}

}  // namespace detail

/// Writes what the products of one layer have learned and counted. Errors: std::runtime_error when
/// something learned is not finite or the file cannot be written, and then what was there before is
/// there still. Cost: memory and a file of the size of what was learned. Thread-safety: none.
/// Source: this library.
template <class Domain>
void save_products(const LayerProduct<Domain>* products, index_t count, const std::string& path,
                   const ConvGeometry* geometry = nullptr) {
  StateWriter writer;
  StateArchive saver(writer);
  detail::agree_on_layer(saver, products[0], count);
  if (geometry != nullptr) detail::agree_on_geometry(saver, *geometry);
  for (index_t g = 0; g < count; ++g) {
    // An archive that writes leaves the state as it is.
    const_cast<ProductState<Domain>&>(products[g].state()).exchange(saver);
  }
  writer.save(path);
}

/// Reads it in place of what the products of one layer have learned and counted; frozen products
/// stay frozen, and become so where the file's were. Errors: std::runtime_error when the file
/// cannot be read, is damaged, is of another layer or setting, or holds nothing learned for a
/// frozen product: nothing has changed then.
template <class Domain>
void load_products(LayerProduct<Domain>* products, index_t count, const std::string& path,
                   const ConvGeometry* geometry = nullptr) {
  StateReader reader(path);
  StateArchive loader(reader);
  detail::agree_on_layer(loader, products[0], count);
  if (geometry != nullptr) detail::agree_on_geometry(loader, *geometry);
  std::vector<ProductState<Domain>> states;
  states.reserve(static_cast<std::size_t>(count));
  for (index_t g = 0; g < count; ++g) {
    states.push_back(products[g].blank_state());
    ProductState<Domain>& state = states.back();
    state.exchange(loader);
    if (!products[g].frozen()) continue;
    loader.require(state.can_freeze(), "nothing was learned, and this layer is frozen");
    state.method->freeze();
  }
  reader.require_end();
  for (index_t g = 0; g < count; ++g) {
    products[g].restore(std::move(states[static_cast<std::size_t>(g)]));
  }
}

ADR_NAMESPACE_END
