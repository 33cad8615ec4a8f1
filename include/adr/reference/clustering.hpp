// Clusters by definition: signatures, centroids and energies of given ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "adr/core/types.hpp"
#include "adr/reference/matrix.hpp"

ADR_NAMESPACE_BEGIN
namespace reference {

/// The cluster of every row in every slice: ids[slice][row], numbered from 0 within a slice.
using Ids = std::vector<std::vector<index_t>>;

/// Columns [first, first + length).
struct Slice {
  index_t first;
  index_t length;
};

/// The slices of K columns: length each, the last one what is left.
inline std::vector<Slice> slices(index_t columns, index_t length) {
  std::vector<Slice> result;
  for (index_t first = 0; first < columns; first += length) {
    result.push_back({first, first + length <= columns ? length : columns - first});
  }
  return result;
}

/// Bit h is 1 when the row's slice projects on hyperplane h above its threshold. Hash is any type
/// with hash_count(), plane(slice, h, l) and threshold(slice, h).
template <class Hash>
std::uint64_t signature(const Hash& hash, const Matrix& x, index_t row, index_t slice_index,
                        const Slice& slice) {
  std::uint64_t bits = 0;
  for (int h = 0; h < hash.hash_count(); ++h) {
    double projection = 0;
    for (index_t l = 0; l < slice.length; ++l) {
      projection += x(row, slice.first + l) * static_cast<double>(hash.plane(slice_index, h, l));
    }
    if (projection > static_cast<double>(hash.threshold(slice_index, h)))
      bits |= std::uint64_t{1} << h;
  }
  return bits;
}

/// Numbers of the signatures in order of first appearance.
inline std::vector<index_t> number_by_first_appearance(
    const std::vector<std::uint64_t>& signatures) {
  std::map<std::uint64_t, index_t> numbers;
  std::vector<index_t> result;
  for (const std::uint64_t s : signatures) {
    result.push_back(numbers.emplace(s, static_cast<index_t>(numbers.size())).first->second);
  }
  return result;
}

inline index_t cluster_count(const std::vector<index_t>& ids) {
  index_t count = 0;
  for (const index_t id : ids) count = id + 1 > count ? id + 1 : count;
  return count;
}

inline std::vector<index_t> counts(const std::vector<index_t>& ids) {
  std::vector<index_t> result(static_cast<std::size_t>(cluster_count(ids)));
  for (const index_t id : ids) ++result[static_cast<std::size_t>(id)];
  return result;
}

/// The mean of the members of every cluster: clusters x slice.length.
inline Matrix centroids(const Matrix& x, const Slice& slice, const std::vector<index_t>& ids) {
  Matrix result(cluster_count(ids), slice.length);
  const std::vector<index_t> members = counts(ids);
  for (index_t n = 0; n < x.rows; ++n) {
    const index_t id = ids[static_cast<std::size_t>(n)];
    for (index_t l = 0; l < slice.length; ++l) {
      result(id, l) +=
          x(n, slice.first + l) / static_cast<double>(members[static_cast<std::size_t>(id)]);
    }
  }
  return result;
}

/// Sum of ||v||^2 over the rows of a slice.
inline double total_energy(const Matrix& x, const Slice& slice) {
  double total = 0;
  for (index_t n = 0; n < x.rows; ++n) {
    for (index_t l = 0; l < slice.length; ++l)
      total += x(n, slice.first + l) * x(n, slice.first + l);
  }
  return total;
}

/// Sum of ||v - c||^2, c the given centroid of the row's cluster.
inline double within_cluster_energy(const Matrix& x, const Slice& slice,
                                    const std::vector<index_t>& ids, const Matrix& centroid) {
  double total = 0;
  for (index_t n = 0; n < x.rows; ++n) {
    for (index_t l = 0; l < slice.length; ++l) {
      const double d = x(n, slice.first + l) - centroid(ids[static_cast<std::size_t>(n)], l);
      total += d * d;
    }
  }
  return total;
}

/// The input with every neuron vector replaced by its centroid: what the forward pass multiplies.
inline Matrix clustered(const Matrix& x, const std::vector<Slice>& slices,
                        const std::vector<Matrix>& centroids, const Ids& ids) {
  Matrix result(x.rows, x.cols);
  for (std::size_t s = 0; s < slices.size(); ++s) {
    for (index_t n = 0; n < x.rows; ++n) {
      for (index_t l = 0; l < slices[s].length; ++l) {
        result(n, slices[s].first + l) = centroids[s](ids[s][static_cast<std::size_t>(n)], l);
      }
    }
  }
  return result;
}

}  // namespace reference
ADR_NAMESPACE_END
