// Which vectors lie within a radius of another one: signatures propose, comparisons decide.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "adr/clustered/coordinate_signs.hpp"
#include "adr/core/context.hpp"
#include "adr/core/parallel.hpp"
#include "adr/core/types.hpp"
#include "adr/exact/first_equal.hpp"
#include "adr/simd/kernels.hpp"
#include "adr/simd/squared_distance.hpp"

ADR_NAMESPACE_BEGIN

/// Vectors of one length: those that were kept, then all rows of a matrix, or those that a list
/// names.
template <class T>
struct ListedVectors {
  MatrixView<const T> rows;
  index_t row_count;
  const index_t* list = nullptr;  ///< null: all, in their order
  MatrixView<const T> kept = {};

  [[nodiscard]] index_t count() const noexcept { return kept.rows + row_count; }
  [[nodiscard]] const T* row(index_t i) const noexcept {
    return rows.row(list != nullptr ? list[i] : i);
  }
  [[nodiscard]] const T* operator[](index_t i) const noexcept {
    return i < kept.rows ? kept.row(i) : row(i - kept.rows);
  }
};

/// Decides whether a vector may stand for another one: ||x - r|| <= radius ||x||.
///
/// What rounding of the sums can hide is added to the distance, so that the rule holds for the
/// numbers themselves; where squares overflow or vanish, only equal vectors pass. A vector that is
/// not finite passes never. Thread-safety: reentrant.
template <class T>
class RadiusRule {
 public:
  RadiusRule(double radius, index_t length) noexcept
      : length_(length),
        // Two sums of length / terms additions in a row each.
        squared_(static_cast<T>(
            radius * radius *
            std::max(0.0, 1.0 - 4.0 *
                                    (static_cast<double>(length / simd::k_distance_terms<T>) + 64) *
                                    static_cast<double>(std::numeric_limits<T>::epsilon())))),
        lost_(static_cast<T>(length) * 4 * std::numeric_limits<T>::min()),
        reach_(static_cast<T>(1.01 * radius * radius / ((1 - radius) * (1 - radius)))) {}

  /// The distance from which on nobody is within the radius of a representative.
  [[nodiscard]] T most(const T* representative) const noexcept {
    const T norm = simd::dot(representative, representative, length_);
    return std::isfinite(norm) ? reach_ * norm + lost_ : T(0);
  }

  /// most: that of the representative. `next`: what is compared next.
  [[nodiscard]] bool passes(const T* x, const T* representative, T most, const T* next,
                            simd::SquaredDistance<T>& found) const noexcept {
    found = simd::squared_distance(x, representative, length_, most, next);
    const bool within =
        std::isfinite(found.norm) && found.distance + lost_ <= squared_ * found.norm;
    return within || (found.distance == T(0) && std::equal(x, x + length_, representative));
  }

 private:
  index_t length_;
  T squared_;
  T lost_;
  T reach_;
};

/// Gives every vector a representative within a radius.
///
/// Math: among the vectors of one signature, the first is a representative; each later one joins
/// the first of at most k_tries representatives of its signature that is within the radius, or
/// becomes the next; what joins none of k_tries stands for itself. Result: representative()[i] <=
/// i; distances()[i], norms()[i] are ||x - r||^2 and ||x||^2 where that is another vector. Cost: a
/// few cache lines of every vector, and one read of those that share their signature. Memory:
/// workspace_bytes, taken from the context when it is made and held while it lives: some 60 bytes a
/// vector. Determinism: results do not depend on the number of threads. Thread-safety: reentrant
/// with contexts of their own. Source: leader clustering (Hartigan 1975) in the buckets of a
/// locality-sensitive hash.
template <class T>
class RadiusClusters {
 public:
  static constexpr int k_tries = 4;

  /// Finds who shares a signature. Requires: workspace_bytes reserved; fewer than 2^31 vectors.
  RadiusClusters(const ListedVectors<T>& vectors, const CoordinateSigns<T>& signs, Context& context)
      : vectors_(vectors),
        threads_(context.threads()),
        frame_(context.workspace()),
        scratch_(context.workspace(), vectors.count()) {
    in_pieces(vectors.count(), [&](const IndexRange& range) {
      for (index_t i = range.first; i < range.last; ++i) {
        if (i + k_ahead < range.last) signs.prefetch(vectors_[i + k_ahead]);
        scratch_.signatures[i] = signs(vectors_[i], i);
      }
    });
    exact::detail::find_first(scratch_.signatures, vectors.count(), scratch_.slots,
                              scratch_.slot_count, scratch_.first, [](index_t) { return false; });
    for (index_t i = 0; i < vectors.count(); ++i) {
      signature_count_ += scratch_.first[i] == i ? 1 : 0;
    }
  }

  [[nodiscard]] static std::size_t workspace_bytes(index_t vectors) {
    return scratch_bytes<Scratch>(vectors);
  }

  /// Clusters that there are at least.
  [[nodiscard]] index_t signature_count() const noexcept { return signature_count_; }

  /// Compares; once. wanted: how many vectors another one must stand for. Returns false, with
  /// nothing of use, where they are fewer, or where a part of the first comparisons, or a round of
  /// them, promises fewer: the first leaders tend to have the most followers.
  bool join(const RadiusRule<T>& rule, double wanted = 0) noexcept {
    constexpr index_t k_fewest_leaders = 16;  // of which anything can be said
    const index_t count = vectors_.count();
    for (index_t i = 0; i < count; ++i) scratch_.representative[i] = static_cast<std::int32_t>(i);
    index_t waiting = sort_by_signature();
    index_t joined = 0;
    for (int round = 0; round < k_tries && waiting > 0; ++round) {
      const index_t compared = appoint(waiting);
      const index_t leaders = waiting - compared;
      const auto promises = [&](double joins, int rounds) {
        return leaders < k_fewest_leaders || static_cast<double>(joined) + rounds * joins >= wanted;
      };
      const bool probes = round == 0 && wanted > 0;
      if (probes) {
        compare(compared, rule, Pieces::probed);
        if (!promises(probed_share(compared) * static_cast<double>(compared), k_tries))
          return false;
      }
      compare(compared, rule, probes ? Pieces::others : Pieces::all);
      waiting = keep_waiting(compared);
      const index_t joins = compared - waiting;
      joined += joins;
      if (!promises(static_cast<double>(joins), k_tries - 1 - round)) return false;
    }
    for (index_t i = 0; i < waiting; ++i) {
      const std::int32_t vector = scratch_.waiting[i];
      scratch_.representative[vector] = vector;
    }
    return static_cast<double>(joined) >= wanted;
  }

  [[nodiscard]] const std::int32_t* representative() const noexcept {
    return scratch_.representative;
  }
  [[nodiscard]] const T* distances() const noexcept { return scratch_.distances; }
  [[nodiscard]] const T* norms() const noexcept { return scratch_.norms; }

 private:
  static constexpr index_t k_at_once = 64;
  static constexpr index_t k_ahead = 4;
  static constexpr index_t k_probed = 8;

  /// Of a list of vectors: one piece in k_probed, which tells how many join, the others, or all.
  enum class Pieces { all, probed, others };

  struct Scratch {
    index_t slot_count;
    std::uint64_t* signatures;
    index_t* first;
    index_t* slots;
    std::int32_t* waiting;   ///< vectors that have nobody yet, by signature
    std::int32_t* proposed;  ///< who may stand for each of them
    std::int32_t* representative;
    T* distances;
    T* norms;

    template <class Memory>
    Scratch(Memory& memory, index_t vectors)
        : slot_count(exact::detail::table_slots(vectors)),
          signatures(memory.template take<std::uint64_t>(vectors)),
          first(memory.template take<index_t>(vectors)),
          slots(memory.template take<index_t>(slot_count)),
          waiting(memory.template take<std::int32_t>(vectors)),
          proposed(memory.template take<std::int32_t>(vectors)),
          representative(memory.template take<std::int32_t>(vectors)),
          distances(memory.template take<T>(vectors)),
          norms(memory.template take<T>(vectors)) {}
  };

  template <class Use>
  void in_pieces(index_t count, const Use& use, Pieces which = Pieces::all) const {
    const index_t pieces = blocks_of(count, k_at_once);
    parallel_for(pieces, threads_, [&](index_t piece, int) {
      const bool probed = piece % k_probed == 0;
      if (which == Pieces::all || probed == (which == Pieces::probed)) {
        use(partition(count, pieces, piece));
      }
    });
  }

  /// Lists the vectors that share a signature, signature by signature, in their order; returns how
  /// many those are.
  index_t sort_by_signature() noexcept {
    const index_t count = vectors_.count();
    std::int32_t* places = scratch_.proposed;  // first how many, then where
    std::fill_n(places, count, 0);
    for (index_t i = 0; i < count; ++i) ++places[scratch_.first[i]];
    std::int32_t next = 0;
    for (index_t i = 0; i < count; ++i) {
      if (scratch_.first[i] != i) continue;
      const std::int32_t members = places[i];
      places[i] = members > 1 ? next : -1;
      if (members > 1) next += members;
    }
    for (index_t i = 0; i < count; ++i) {
      std::int32_t& place = places[scratch_.first[i]];
      if (place >= 0) scratch_.waiting[place++] = static_cast<std::int32_t>(i);
    }
    return next;
  }

  /// The first that waits of every signature becomes a representative; returns how many others are
  /// to be compared with theirs.
  index_t appoint(index_t waiting) noexcept {
    index_t signature = -1;
    std::int32_t leader = -1;
    index_t compared = 0;
    for (index_t i = 0; i < waiting; ++i) {
      const std::int32_t vector = scratch_.waiting[i];
      if (scratch_.first[vector] != signature) {
        signature = scratch_.first[vector];
        leader = vector;
        scratch_.representative[vector] = vector;
        continue;
      }
      scratch_.waiting[compared] = vector;
      scratch_.proposed[compared++] = leader;
    }
    return compared;
  }

  void compare(index_t count, const RadiusRule<T>& rule, Pieces which) noexcept {
    const auto compare_piece = [&](const IndexRange& range) {
      std::int32_t leader = -1;
      T most = T(0);
      for (index_t i = range.first; i < range.last; ++i) {
        const std::int32_t vector = scratch_.waiting[i];
        if (scratch_.proposed[i] != leader) {
          leader = scratch_.proposed[i];
          most = rule.most(vectors_[leader]);
        }
        const T* next = i + 1 < range.last ? vectors_[scratch_.waiting[i + 1]] : nullptr;
        simd::SquaredDistance<T> found;
        const bool joins = rule.passes(vectors_[vector], vectors_[leader], most, next, found);
        scratch_.representative[vector] = joins ? leader : -1;
        scratch_.distances[vector] = found.distance;
        scratch_.norms[vector] = found.norm;
      }
    };
    in_pieces(count, compare_piece, which);
  }

  /// Of the vectors that were compared first, how many have joined.
  [[nodiscard]] double probed_share(index_t count) const noexcept {
    const index_t pieces = blocks_of(count, k_at_once);
    index_t seen = 0;
    index_t joined = 0;
    for (index_t piece = 0; piece < pieces; piece += k_probed) {
      const IndexRange range = partition(count, pieces, piece);
      seen += range.size();
      for (index_t i = range.first; i < range.last; ++i) {
        joined += scratch_.representative[scratch_.waiting[i]] >= 0 ? 1 : 0;
      }
    }
    return seen > 0 ? static_cast<double>(joined) / static_cast<double>(seen) : 0.0;
  }

  index_t keep_waiting(index_t count) noexcept {
    index_t waiting = 0;
    for (index_t i = 0; i < count; ++i) {
      const std::int32_t vector = scratch_.waiting[i];
      if (scratch_.representative[vector] < 0) scratch_.waiting[waiting++] = vector;
    }
    return waiting;
  }

  ListedVectors<T> vectors_;
  int threads_;
  Workspace::Frame frame_;
  Scratch scratch_;
  index_t signature_count_ = 0;
};

ADR_NAMESPACE_END
