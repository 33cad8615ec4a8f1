// A 64-bit fingerprint of a matrix, by which the library notices that weights have changed.
//
// Caches keyed on a pointer or on a promise of the caller go stale silently when an optimiser
// updates the weights in place. Reading the weights once per forward pass costs 1/N of the product
// itself and cannot be forgotten.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>

#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN

/// Hashes the bytes of every row, and the shape, into 64 bits; the gaps between rows do not count.
/// Equal contents give equal fingerprints; different contents collide with probability about 2^-64.
/// Note that 0.0 and -0.0 differ in bytes. Cost: one read. Thread-safety: reentrant. Source: this
/// library.
template <class T>
std::uint64_t fingerprint(const MatrixView<const T>& matrix) noexcept {
  constexpr std::uint64_t k_multiplier = 0x9fb21c651e98df25u;
  const auto mix = [](std::uint64_t value) {
    value = (value ^ (value >> 32)) * k_multiplier;
    return value ^ (value >> 29);
  };
  // Four independent lanes, because one chain of multiplications is bound by their latency.
  std::uint64_t lane[4] = {static_cast<std::uint64_t>(matrix.rows),
                           static_cast<std::uint64_t>(matrix.cols), 0x243f6a8885a308d3u,
                           0x13198a2e03707344u};
  const std::size_t row_bytes = static_cast<std::size_t>(matrix.cols) * sizeof(T);
  for (index_t i = 0; i < matrix.rows; ++i) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(matrix.row(i));
    std::size_t offset = 0;
    std::uint64_t word[4];
    for (; offset + sizeof(word) <= row_bytes; offset += sizeof(word)) {
      std::memcpy(word, bytes + offset, sizeof(word));
      for (int l = 0; l < 4; ++l) {
        lane[l] = (lane[l] ^ word[l]) * k_multiplier;
        lane[l] ^= lane[l] >> 31;
      }
    }
    if (offset < row_bytes) {
      std::memset(word, 0, sizeof(word));
      std::memcpy(word, bytes + offset, row_bytes - offset);
      for (int l = 0; l < 4; ++l) lane[l] = mix(lane[l] ^ word[l]);
    }
  }
  std::uint64_t result = 0;
  for (const std::uint64_t l : lane) result = mix(result ^ l) + (result << 1);
  return result;
}

/// Hashes a sample of elements and the shape: tells apart what training, another batch or another
/// file leave in a buffer, not what differs in a few elements. Cost: at most 64 elements read.
template <class T>
std::uint64_t sampled_fingerprint(const MatrixView<const T>& matrix) noexcept {
  constexpr index_t k_sampled = 64;
  T sample[k_sampled] = {};
  const index_t count =
      matrix.rows == 0 || matrix.cols == 0 || matrix.data == nullptr ? 0 : k_sampled;
  // A golden part of the columns spreads them. Without a divisor in common with their number it
  // meets every channel and every place of a kernel, whose periods divide that number.
  auto step = static_cast<index_t>(static_cast<double>(matrix.cols) * 0.618);
  while (count > 0 && std::gcd(step, matrix.cols) != 1) ++step;
  for (index_t i = 0; i < count; ++i) {
    const auto row =
        static_cast<index_t>(static_cast<double>(i) / k_sampled * static_cast<double>(matrix.rows));
    sample[i] = matrix(row, i * step % matrix.cols);
  }
  const std::uint64_t sizes[2] = {static_cast<std::uint64_t>(matrix.rows),
                                  static_cast<std::uint64_t>(matrix.cols)};
  return fingerprint(MatrixView<const T>(sample, 1, k_sampled)) ^
         fingerprint(MatrixView<const std::uint64_t>(sizes, 1, 2));
}

ADR_NAMESPACE_END
