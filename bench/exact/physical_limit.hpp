// The least time that arithmetic allows: what the processor can multiply and add, and how many
// multiplications the form of an exact convolution needs.
#pragma once

#include <adr/simd/batch.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

namespace adr_bench {

/// Floating-point operations per second of one thread that does nothing but multiply and add in
/// registers: the best of several short runs.
inline double measure_fma_peak() {
  using Batch = adr::simd::Batch<float>;
  using Clock = std::chrono::steady_clock;
  constexpr int k_chains = 12;  // more than the latency of an addition times the units that add
  constexpr int k_repetitions = 100000;
  constexpr int k_runs = 40;
  const Batch factor = Batch::broadcast(0.5F);
  const Batch summand = Batch::broadcast(1.0F);
  double best = 0;
  for (int run = 0; run < k_runs; ++run) {
    Batch chains[k_chains];
    // Of different values, or the compiler would compute one for all.
    for (int i = 0; i < k_chains; ++i) chains[i] = Batch::broadcast(0.25F * static_cast<float>(i));
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < k_repetitions; ++i) {
      for (Batch& chain : chains) chain = multiply_add(chain, factor, summand);
    }
    const std::chrono::duration<double> seconds = Clock::now() - start;
    float total = 0;
    for (const Batch& chain : chains) total += sum(chain);
    // The sum is never negative, which the compiler does not know.
    const double operations = total < 0 ? 0 : 2.0 * Batch::size * k_chains * k_repetitions;
    best = std::max(best, operations / seconds.count());
  }
  return best;
}

/// How many multiplications of the definition one multiplication of this form stands for: 4 for
/// "F(4x4,3x3)", with 36 in place of 144. 1 for a form that is not named like this.
inline double multiplications_saved(const std::string& form) {
  int output = 0;
  int other = 0;
  int kernel = 0;
  constexpr double k_saved_by_map = 4;  // nine multiplications in place of 36
  if (form.find("map 2x2") != std::string::npos) return k_saved_by_map;
  const std::size_t start = form.find("F(");
  if (start == std::string::npos) return 1;
  if (std::sscanf(form.c_str() + start, "F(%dx%d,%d", &output, &other, &kernel) != 3) return 1;
  const double inputs = output + kernel - 1;
  const double ratio = output * kernel / inputs;
  return ratio * ratio;
}

}  // namespace adr_bench
