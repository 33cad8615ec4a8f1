// What layers have learned, in a file: codebooks to go on with, or to freeze for inference.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "adr/cluster/codebook_state.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/state_file.hpp"
#include "adr/core/types.hpp"
#include "adr/core/vector_map.hpp"
#include "adr/nn/layer_product.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

inline const char* kind_name(NeuronVectorKind kind) noexcept {
  constexpr const char* names[] = {"automatic", "patch", "pixel", "strip"};
  return names[static_cast<int>(kind)];
}

/// Calls use(name, value) for all that a file and the products of a layer have to agree on, beside
/// the shape of each codebook.
template <class T, class Use>
void for_each_layer_setting(const LayerProduct<T>& product, index_t count, const Use& use) {
  use("groups", std::to_string(count));
  use("columns", std::to_string(product.columns()));
  use("outputs", std::to_string(product.outputs()));
  use("neuron_vectors", std::string(kind_name(product.vector_kind())));
}

template <class T>
void require_codebooks(const LayerProduct<T>& product) {
  detail::require(product.codebook_product() != nullptr,
                  "a state file holds what method codebook has learned; the method of this layer "
                  "is ",
                  to_string(product.config().method));
}

}  // namespace detail

/// Writes the codebooks of the products of one layer. Errors: std::invalid_argument when the method
/// has no codebooks or they have not been fitted yet; std::runtime_error when the file cannot be
/// written, and then what was there before is there still. Cost: books * entries * (length +
/// coordinates) floats. Thread-safety: none. Source: this library.
template <class T>
void save_codebooks(const LayerProduct<T>* products, index_t count, const std::string& path) {
  detail::require_codebooks(products[0]);
  StateWriter writer;
  detail::for_each_layer_setting(
      products[0], count,
      [&](const char* name, const std::string& value) { writer.put_setting(name, value); });
  for (index_t g = 0; g < count; ++g) {
    const Codebook& codebook = products[g].codebook_product()->codebook();
    detail::require(codebook.fitted(),
                    "save_state: there are no codebooks yet; run a forward pass first");
    write_codebook(writer, codebook);
  }
  writer.save(path);
}

/// Reads codebooks in place of what the products of one layer have learned; a frozen layer stays
/// frozen. Errors: std::invalid_argument when the method has no codebooks; std::runtime_error when
/// the file cannot be read, is damaged, or is of another layer or setting: nothing has changed
/// then.
template <class T>
void load_codebooks(LayerProduct<T>* products, index_t count, const std::string& path) {
  detail::require_codebooks(products[0]);
  StateReader reader(path);
  detail::for_each_layer_setting(
      products[0], count,
      [&](const char* name, const std::string& value) { reader.require_setting(name, value); });
  std::vector<CodebookState> states;
  for (index_t g = 0; g < count; ++g) {
    states.push_back(
        read_codebook_state(reader, products[g].codebook_product()->codebook().shape()));
    if (states.back().groups.empty()) {
      ADR_THROW(
          std::runtime_error(detail::message(path, " holds codebooks that were never fitted")));
    }
  }
  reader.require_end();
  for (index_t g = 0; g < count; ++g) {
    products[g].restore_codebooks(std::move(states[static_cast<std::size_t>(g)]));
  }
}

ADR_NAMESPACE_END
