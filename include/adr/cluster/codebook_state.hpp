// What learned codebooks are in a state file (core/state_file.hpp), field by field:
//   settings                     vector_length, group_length, codebooks, codebook_size, quantizer
//                                (product or residual), kept_coordinates, reserves_padding (0 or 1)
//   count                        1 when fitted, else 0, and then nothing follows
//   f64                          relative error of the fit
//   per group                    the axes of its L elements (cluster/principal_axes_state.hpp)
//              count             books
//   per book   count             coordinates, C
//              rows T x C        entries that encode, T being codebook_size less reserves_padding
//              rows T x L        entries that decode
// Negated entries, norms, the coordinates of the mean, the decoder's mean and the entry of padding
// follow from these, to the last bit. The seed, which only decides on samples to come, is the
// layer's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "adr/cluster/codebook.hpp"
#include "adr/cluster/principal_axes_state.hpp"
#include "adr/core/aligned_buffer.hpp"
#include "adr/core/state_fields.hpp"
#include "adr/core/state_file.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// What a codebook learns, apart from it: read all codebooks of a layer and the end of the file,
/// then restore them, and a bad file changes nothing.
struct CodebookState {
  std::vector<EncodingGroup> groups;  ///< none: not fitted
  Decoder decoder;
  double fit_error = 0;
};

namespace detail {

/// Calls use(name, value) for all that a saved codebook and a layer have to agree on.
template <class Use>
void for_each_setting(const CodebookShape& shape, const Use& use) {
  use("vector_length", std::to_string(shape.length));
  use("group_length", std::to_string(shape.group_length));
  use("codebooks", std::to_string(shape.books));
  use("codebook_size", std::to_string(shape.entries));
  use("quantizer", std::string(shape.residual ? "residual" : "product"));
  use("kept_coordinates", std::to_string(shape.kept_coordinates));
  use("reserves_padding", std::to_string(shape.reserves_padding ? 1 : 0));
}

inline void write_entries(StateWriter& writer, const EncodingBook& book) {
  AlignedBuffer<float> entries(book.negated_entries.size());
  std::transform(book.negated_entries.data(), book.negated_entries.data() + entries.size(),
                 entries.data(), [](float value) { return -value; });
  writer.put_count(book.coordinates);
  writer.put_rows("encoding entries", {entries.data(), book.entries(), book.coordinates});
}

/// Books of the product quantizer divide the coordinates among them, residual ones share all.
inline EncodingBook read_entries(StateReader& reader, const CodebookShape& shape,
                                 const EncodingGroup& group, index_t book_count) {
  const index_t clusters = shape.entries - (shape.reserves_padding ? 1 : 0);
  const index_t kept = group.axes.kept;
  EncodingBook book;
  if (!shape.residual && group.book_count() > 0) {
    book.first_coordinate = group.books.back().first_coordinate + group.books.back().coordinates;
  }
  const bool takes_rest = shape.residual || group.book_count() + 1 == book_count;
  const index_t rest = kept - book.first_coordinate;
  book.coordinates = reader.get_count("coordinates of a codebook", takes_rest ? rest : 0, rest);
  const AlignedBuffer<float> entries =
      reader.get_rows("encoding entries", clusters, book.coordinates, book.coordinates);
  book.negated_entries.resize(entries.size());
  book.half_norms.resize(clusters);
  for (index_t t = 0; t < clusters; ++t) {
    book.set_entry(t, entries.data() + t * book.coordinates);
  }
  return book;
}

inline DecodingBook read_decoding(StateReader& reader, const Decoder& decoder,
                                  const EncodingGroup& group) {
  DecodingBook book;
  book.first_element = group.first_element;
  book.length = group.axes.length;
  book.stride = group.axes.decode_stride;
  book.entries =
      reader.get_rows("decoding entries", decoder.cluster_entries(), book.length, book.stride);
  const index_t size = decoder.entry_count * book.stride;
  book.entries.reserve(size);
  book.entries.resize(size);
  std::fill(book.entries.data() + decoder.cluster_entries() * book.stride,
            book.entries.data() + size, 0.0F);
  return book;
}

}  // namespace detail

/// Appends a codebook to a state file. Errors: std::runtime_error when a number is not finite.
inline void write_codebook(StateWriter& writer, const Codebook& codebook) {
  detail::for_each_setting(codebook.shape(), [&](const char* name, const std::string& value) {
    writer.put_setting(name, value);
  });
  const Decoder& decoder = codebook.decoder();
  writer.put_count(codebook.fitted() ? 1 : 0);
  if (!codebook.fitted()) return;
  writer.put_f64("fit_error", codebook.fit_error());
  StateSaver saver(writer);
  std::size_t b = 0;
  for (const EncodingGroup& group : codebook.groups()) {
    exchange_axes(saver, group.axes, group.axes.length);
    writer.put_count(group.book_count());
    for (const EncodingBook& book : group.books) {
      detail::write_entries(writer, book);
      writer.put_rows("decoding entries", decoder.books[b++].matrix(decoder.cluster_entries()));
    }
  }
}

/// Reads a codebook of the given shape. Requires: a shape that can be fitted. Errors:
/// std::runtime_error when the file holds something else, std::bad_alloc.
inline CodebookState read_codebook_state(StateReader& reader, const CodebookShape& shape) {
  detail::for_each_setting(shape, [&](const char* name, const std::string& value) {
    reader.require_setting(name, value);
  });
  CodebookState state;
  StateLoader loader(reader);
  if (reader.get_count("fitted", 0, 1) == 0) return state;
  state.fit_error = reader.get_f64("fit_error");
  Decoder& decoder = state.decoder;
  decoder.length = shape.length;
  decoder.entry_count = shape.entries;
  decoder.reserves_padding = shape.reserves_padding;
  decoder.mean.resize(shape.length);
  const index_t group_length =
      shape.group_length > 0 ? std::min(shape.group_length, shape.length) : shape.length;
  for (index_t first = 0; first < shape.length; first += group_length) {
    const index_t length = std::min(group_length, shape.length - first);
    const index_t book_count = std::min(shape.books, length);
    EncodingGroup group;
    group.first_element = first;
    exchange_axes(loader, group.axes, length);
    std::copy_n(group.axes.mean.data(), length, decoder.mean.data() + first);
    group.negated_mean.resize(group.axes.kept);
    group.axes.encoded_mean(group.negated_mean.data());
    for (index_t d = 0; d < group.axes.kept; ++d) group.negated_mean[d] = -group.negated_mean[d];
    reader.get_count("codebooks of a group", book_count, book_count);
    for (index_t b = 0; b < book_count; ++b) {
      group.books.push_back(detail::read_entries(reader, shape, group, book_count));
      decoder.books.push_back(detail::read_decoding(reader, decoder, group));
    }
    state.groups.push_back(std::move(group));
  }
  return state;
}

/// Puts what was read in place of what the codebook has learned. Requires: a state that was read
/// for the codebook's shape.
inline void restore_codebook(Codebook& codebook, CodebookState state) {
  if (state.groups.empty()) return codebook.clear();
  codebook.restore(std::move(state.groups), std::move(state.decoder), state.fit_error);
}

/// Reads a codebook in place of what this one has learned. Errors: those of read_codebook_state;
/// the codebook is then as before.
inline void read_codebook(StateReader& reader, Codebook& codebook) {
  restore_codebook(codebook, read_codebook_state(reader, codebook.shape()));
}

ADR_NAMESPACE_END
