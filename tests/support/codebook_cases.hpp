// Codebooks in all their forms, and the error of what they make of vectors.
#pragma once

#include <cmath>
#include <ostream>
#include <vector>

#include "adr/cluster/codebook.hpp"
#include "adr/reference/matrix.hpp"
#include "support/catch.hpp"
#include "support/decoders.hpp"

namespace adr_test {

/// The shape of codebooks, for messages.
struct ShownBooks {
  const adr::CodebookShape& shape;
  friend std::ostream& operator<<(std::ostream& out, const ShownBooks& shown) {
    const adr::CodebookShape& s = shown.shape;
    return out << (s.residual ? "residual, " : "product, ") << s.length << " elements in groups of "
               << s.group_length << ", " << s.books << " books of " << s.entries << ", "
               << s.kept_coordinates << " coordinates"
               << (s.reserves_padding ? ", padding reserved" : "");
  }
};

inline adr::CodebookShape book_shape(index_t length, index_t books, index_t entries) {
  adr::CodebookShape shape;
  shape.length = length;
  shape.books = books;
  shape.entries = entries;
  return shape;
}

/// Product and residual quantisers, whole vectors and groups of elements of which the last is
/// shorter and has fewer elements than books.
inline std::vector<adr::CodebookShape> book_shapes(index_t length) {
  std::vector<adr::CodebookShape> shapes;
  for (const bool residual : {false, true}) {
    for (const index_t group_length : {0, 4}) {
      adr::CodebookShape shape = book_shape(length, 3, 32);
      shape.residual = residual;
      shape.group_length = group_length;
      shapes.push_back(shape);
      shape.books = 1;
      shape.entries = 256;
      shape.reserves_padding = true;
      shapes.push_back(shape);
      shape.books = 2;
      shape.entries = 16;
      shape.kept_coordinates = 5;
      shapes.push_back(shape);
    }
  }
  return shapes;
}

/// All vectors of a source, widened.
template <class Vectors>
adr::reference::Matrix all_vectors(const Vectors& vectors) {
  const index_t count = vectors.map().vectors();
  std::vector<float> columns(static_cast<std::size_t>(count * vectors.length()));
  vectors.load_columns(0, 0, adr::MatrixView<float>(columns.data(), vectors.length(), count));
  adr::reference::Matrix result(count, vectors.length());
  for (index_t v = 0; v < count; ++v) {
    for (index_t e = 0; e < result.cols; ++e) {
      result(v, e) = static_cast<double>(columns[static_cast<std::size_t>(e * count + v)]);
    }
  }
  return result;
}

/// Encodes with a workspace of just the stated size; the margins of the codes stay.
template <class Vectors>
adr::VectorCodes encoded(const adr::Codebook& book, const Vectors& vectors, int threads = 1,
                         bool expect_finite = true) {
  adr::VectorCodes codes;
  codes.resize(vectors.map().vectors(), book.decoder().book_count(), 5);
  adr::Context context(threads);
  const std::size_t bytes = book.encode_workspace_bytes(threads);
  context.workspace().reserve(bytes);
  CHECK(book.encode(vectors, codes, context) == expect_finite);
  CHECK(context.workspace().peak_bytes() == bytes);
  index_t written = 0;
  for (index_t b = 0; b < codes.books; ++b) {
    for (index_t i = 1; i <= codes.margin; ++i) written += codes.plane(b)[-i] != 0 ? 1 : 0;
    for (index_t i = codes.vectors; i < codes.stride - codes.margin; ++i) {
      written += codes.plane(b)[i] != 0 ? 1 : 0;
    }
  }
  CHECK(written == 0);
  return codes;
}

/// ||x - decoded x|| / ||x|| over all vectors.
template <class Vectors>
double true_error(const adr::Codebook& book, const Vectors& vectors,
                  const adr::VectorCodes& codes) {
  const adr::reference::Matrix x = all_vectors(vectors);
  const adr::reference::Matrix y = decoded(book.decoder(), codes);
  double total = 0;
  double within = 0;
  for (std::size_t i = 0; i < x.elements.size(); ++i) {
    total += x.elements[i] * x.elements[i];
    within += (x.elements[i] - y.elements[i]) * (x.elements[i] - y.elements[i]);
  }
  return std::sqrt(within / total);
}

}  // namespace adr_test
