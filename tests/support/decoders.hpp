// Decoders and ids made up for tests, and what vectors they stand for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "adr/cluster/clustering.hpp"
#include "adr/core/types.hpp"
#include "adr/reference/matrix.hpp"
#include "adr/simd/batch.hpp"
#include "support/data.hpp"

namespace adr_test {

/// A decoder of random entries: groups of at most group_length elements, books_per_group books
/// each. The reserved entry is NaN, because nothing may depend on it.
inline adr::Decoder random_decoder(index_t length, index_t group_length, index_t books_per_group,
                                   index_t entries, bool reserves_padding, Data& data) {
  adr::Decoder decoder;
  decoder.length = length;
  decoder.entry_count = entries;
  decoder.reserves_padding = reserves_padding;
  decoder.mean.resize(length);
  for (index_t e = 0; e < length; ++e) decoder.mean[e] = data.normal<float>();
  for (index_t first = 0; first < length; first += group_length) {
    for (index_t b = 0; b < books_per_group; ++b) {
      adr::DecodingBook book;
      book.first_element = first;
      book.length = std::min(group_length, length - first);
      book.stride = adr::simd::padded(book.length);
      book.entries.assign(entries * book.stride, 0.0F);
      for (index_t t = 0; t < entries; ++t) {
        for (index_t e = 0; e < book.length; ++e) {
          book.entries[t * book.stride + e] = t < decoder.cluster_entries()
                                                  ? data.normal<float>()
                                                  : std::numeric_limits<float>::quiet_NaN();
        }
      }
      decoder.books.push_back(std::move(book));
    }
  }
  return decoder;
}

/// Random clusters for a number of vectors. The room around the ids holds what is no id of tables
/// of less than 256 entries.
inline adr::VectorCodes random_codes(const adr::Decoder& decoder, index_t vectors, index_t margin,
                                     Data& data) {
  adr::VectorCodes codes;
  codes.resize(vectors, decoder.book_count(), margin);
  std::fill_n(codes.ids.data(), codes.ids.size(), std::uint8_t{0xee});
  for (index_t b = 0; b < codes.books; ++b) {
    for (index_t v = 0; v < vectors; ++v) {
      codes.plane(b)[v] = static_cast<std::uint8_t>(data.between(0, decoder.cluster_entries() - 1));
    }
  }
  return codes;
}

/// What ids stand for, by the definition of Decoder, each part of a vector as `part` makes it.
template <class Part>
adr::reference::Matrix decoded(const adr::Decoder& decoder, const adr::VectorCodes& codes,
                               const Part& part) {
  adr::reference::Matrix result(codes.vectors, decoder.length);
  for (index_t v = 0; v < codes.vectors; ++v) {
    for (index_t e = 0; e < decoder.length; ++e) {
      result(v, e) = part(static_cast<double>(decoder.mean[e]));
    }
    for (index_t b = 0; b < codes.books; ++b) {
      const adr::DecodingBook& book = decoder.books[static_cast<std::size_t>(b)];
      const float* entry = book.entries.data() + codes.plane(b)[v] * book.stride;
      for (index_t e = 0; e < book.length; ++e) {
        result(v, book.first_element + e) += part(static_cast<double>(entry[e]));
      }
    }
  }
  return result;
}

/// The vectors that ids stand for.
inline adr::reference::Matrix decoded(const adr::Decoder& decoder, const adr::VectorCodes& codes) {
  return decoded(decoder, codes, [](double part) { return part; });
}

/// The sums of the absolute values of what the vectors are made of.
inline adr::reference::Matrix decoded_sizes(const adr::Decoder& decoder,
                                            const adr::VectorCodes& codes) {
  return decoded(decoder, codes, [](double part) { return std::abs(part); });
}

}  // namespace adr_test
