// The inner loops of the library alone, with their rates: where a stage is slow, they say why.
#pragma once

#include <benchmark/benchmark.h>

#include <adr/core/random.hpp>
#include <adr/published/sign_hash.hpp>
#include <adr/simd/kernels.hpp>
#include <adr/unfold/col2im.hpp>
#include <adr/unfold/im2col.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/benchmark_session.hpp"
#include "bench/support/conv_layers.hpp"
#include "bench/support/matrix.hpp"
#include "bench/support/report.hpp"
#include "bench/support/statistics.hpp"
#include "bench/support/text_table.hpp"

namespace adr_bench {

/// One inner loop on fixed data. The work is in bytes or multiply-adds per run.
struct Primitive {
  std::string name;
  std::string unit;  ///< "GB/s" or "GMAC/s"
  double work = 0;
  std::function<void()> run;
};

namespace detail {

/// Images of a layer, and a block of their unfolded matrix.
struct UnfoldBench {
  adr::ConvGeometry geometry;
  Matrix images;
  Matrix block;
  index_t block_cols;

  static constexpr index_t k_batch = 16;

  UnfoldBench(const ConvLayer& layer, adr::Layout layout, index_t block_rows, index_t cols)
      : geometry(layer.geometry(layout)),
        images(normal_matrix(k_batch, layer.in_channels * layer.height * layer.width, 1.0, 21)),
        block(block_rows, std::min(cols, geometry.columns())),
        block_cols(block.cols()) {}

  template <class T>
  [[nodiscard]] adr::TensorView<T> tensor(T* data) const {
    return {data,           k_batch, geometry.in_channels, geometry.in_height, geometry.in_width,
            geometry.layout};
  }
  /// Calls use(first_row, first_col, block) for all blocks, slice by slice, as the clusterer does.
  template <class Use>
  void for_each_block(const Use& use) {
    const index_t rows = geometry.rows(k_batch);
    for (index_t col = 0; col + block_cols <= geometry.columns(); col += block_cols) {
      for (index_t row = 0; row + block.rows() <= rows; row += block.rows()) {
        use(row, col, block.view());
      }
    }
  }
  [[nodiscard]] double bytes() const {
    return 4.0 * static_cast<double>(geometry.rows(k_batch)) *
           static_cast<double>(geometry.columns() / block_cols * block_cols);
  }
};

inline void add_unfolding(std::vector<Primitive>& primitives, const Network& network) {
  struct Block {
    const char* name;
    index_t rows;
    index_t cols;
  };
  // What the clusterer reads, and what the dense product does.
  constexpr Block blocks[] = {{"slice of 25", 128, 25}, {"whole rows", 256, 1 << 20}};
  for (const ConvLayer& layer : network.layers) {
    for (const adr::Layout layout : {adr::Layout::nchw, adr::Layout::nhwc}) {
      for (const Block& size : blocks) {
        auto bench = std::make_shared<UnfoldBench>(layer, layout, size.rows, size.cols);
        const std::string suffix = message("/", layer.name, "/", to_string(layout), "/", size.name);
        primitives.push_back(
            {"im2col" + suffix, "GB/s", bench->bytes(), [bench] {
               const auto images = bench->tensor(std::as_const(bench->images).data());
               bench->for_each_block([&](index_t row, index_t col, const auto& block) {
                 adr::im2col<float>(bench->geometry, images, 0, row, col, block);
               });
             }});
        primitives.push_back(
            {"col2im_add" + suffix, "GB/s", bench->bytes(), [bench] {
               const auto images = bench->tensor(bench->images.data());
               bench->for_each_block([&](index_t row, index_t col, const auto& block) {
                 adr::col2im_add<float>(bench->geometry, block, 0, row, col, images);
               });
             }});
      }
    }
  }
}

inline void add_hashing(std::vector<Primitive>& primitives) {
  constexpr index_t k_rows = 128;  // a block of the clusterer
  constexpr index_t k_length = 25;
  for (const int hash_count : {10, 16, 32}) {
    auto hash = std::make_shared<adr::SignHash<float>>(k_length, k_length, hash_count, true, 1);
    auto vectors = std::make_shared<Matrix>(normal_matrix(k_rows, k_length, 1.0, 22));
    auto signatures = std::make_shared<std::vector<std::uint64_t>>(k_rows);
    primitives.push_back({message("sign_signatures/L 25/H ", hash_count), "GMAC/s",
                          static_cast<double>(k_rows * k_length * hash_count),
                          [=] { hash->signatures(0, vectors->view(), signatures->data()); }});
  }
}

/// Tables of product rows with random ids, M = 64.
struct TableBench {
  static constexpr index_t k_rows = 4096;
  static constexpr index_t k_outputs = 64;
  Matrix table;
  Matrix rows;
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<const float*> tables;
  std::vector<const std::int32_t*> id_rows;

  TableBench(index_t slices, index_t clusters)
      : table(normal_matrix(slices * clusters, k_outputs, 1.0, 23)), rows(k_rows, k_outputs) {
    adr::Random random(24);
    ids.resize(static_cast<std::size_t>(slices));
    for (index_t s = 0; s < slices; ++s) {
      auto& slice = ids[static_cast<std::size_t>(s)];
      for (index_t i = 0; i < k_rows; ++i) {
        slice.push_back(static_cast<std::int32_t>(random.below(clusters)));
      }
      tables.push_back(table.row(s * clusters));
      id_rows.push_back(slice.data());
    }
  }
};

inline void add_tables(std::vector<Primitive>& primitives) {
  constexpr index_t k_slices = 64;
  for (const index_t clusters : {16, 256, 4096}) {
    auto bench = std::make_shared<TableBench>(k_slices, clusters);
    primitives.push_back({message("gather_add/M 64/64 tables of ", clusters), "GB/s",
                          4.0 * TableBench::k_rows * TableBench::k_outputs * k_slices, [bench] {
                            adr::simd::gather_add<float>(
                                bench->tables.data(), bench->id_rows.data(), k_slices,
                                TableBench::k_outputs, 0, bench->rows.view());
                          }});
    auto sums = std::make_shared<TableBench>(1, clusters);
    primitives.push_back({message("keyed_add/M 64/table of ", clusters), "GB/s",
                          4.0 * TableBench::k_rows * TableBench::k_outputs, [sums] {
                            adr::simd::keyed_add<float>(sums->rows.view(), sums->id_rows[0],
                                                        sums->table.data(), TableBench::k_outputs);
                          }});
  }
}

}  // namespace detail

/// The unfolding on the layers of the network, the others on sizes of their own.
inline std::vector<Primitive> all_primitives(const Network& network) {
  std::vector<Primitive> primitives;
  detail::add_unfolding(primitives, network);
  detail::add_hashing(primitives);
  detail::add_tables(primitives);
  return primitives;
}

inline std::string benchmark_name(const Primitive& primitive) {
  return "primitive/" + primitive.name;
}

/// Registers the primitives with Google Benchmark, which decides how often to run each.
/// min_seconds: for how long; 0 leaves it to --benchmark_min_time.
inline void register_primitives(const std::vector<Primitive>& primitives, double min_seconds) {
  for (const Primitive& primitive : primitives) {
    auto* bench = benchmark::RegisterBenchmark(
        benchmark_name(primitive).c_str(), [primitive](benchmark::State& state) {
          for (auto _ : state) {
            primitive.run();
            benchmark::ClobberMemory();
          }
          state.counters[primitive.unit] = benchmark::Counter(
              1e-9 * primitive.work, benchmark::Counter::kIsIterationInvariantRate);
        });
    bench->UseRealTime()->Unit(benchmark::kMicrosecond);
    if (min_seconds > 0) bench->MinTime(min_seconds);
  }
}

/// Prints the rates of what was measured and returns it as rows.
inline std::vector<Row> report_primitives(const std::vector<Primitive>& primitives,
                                          const MeasuredSeconds& measured) {
  std::vector<Row> rows;
  TextTable table;
  table.add({"primitive, 1 thread", "microseconds", "rate", ""});
  for (const Primitive& primitive : primitives) {
    const auto found = measured.find(benchmark_name(primitive));
    if (found == measured.end()) continue;
    const double seconds = median(found->second);
    const double rate = 1e-9 * primitive.work / seconds;
    table.add({primitive.name, text("%.2f", 1e6 * seconds), text("%.1f", rate), primitive.unit});
    Row row;
    row.bench = "primitive";
    row.engine = primitive.name;
    row.seconds = found->second;
    row.extra["rate"] = rate;
    row.extra["rate_unit"] = primitive.unit;
    rows.push_back(row);
  }
  if (!rows.empty()) {
    std::printf(
        "\nRates count what im2col writes, what col2im_add, gather_add and keyed_add read from\n"
        "blocks, tables and rows, and the multiply-adds of H planes (registers hold 16 floats at\n"
        "most, so H = 10 costs what H = 16 does)\n");
    table.print();
  }
  return rows;
}

}  // namespace adr_bench
