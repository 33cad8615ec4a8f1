// The products over non-zeros against plain loops in double precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "adr/gradients/sparse_gradient.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/effort.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::Context;
using adr::GemmFactor;
using adr::GemmResult;
using adr::index_t;
using adr::MatrixView;
using adr::PixelView;
using adr::SparseRows;
using adr::SparseUse;
using adr::Update;
using adr::VectorMap;
using adr_test::Comparison;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::Start;

/// Vectors that lie one after the other; Independent is what the source says of its adds.
template <class T, bool Independent>
class StoredVectors {
  using Element = std::remove_const_t<T>;

 public:
  StoredVectors(const VectorMap& map, const MatrixView<T>& vectors)
      : map_(map), vectors_(vectors) {}
  [[nodiscard]] const VectorMap& map() const noexcept { return map_; }
  [[nodiscard]] index_t length() const noexcept { return vectors_.cols; }
  void load_rows(index_t first_vector, index_t first_element,
                 const MatrixView<Element>& block) const noexcept {
    for (index_t i = 0; i < block.rows; ++i) {
      for (index_t e = 0; e < block.cols; ++e) {
        block(i, e) = vectors_(first_vector + i, first_element + e);
      }
    }
  }
  void add_rows(index_t first_vector, index_t first_element,
                const MatrixView<const Element>& block) const noexcept {
    for (index_t i = 0; i < block.rows; ++i) {
      for (index_t e = 0; e < block.cols; ++e) {
        vectors_(first_vector + i, first_element + e) += block(i, e);
      }
    }
  }
  template <bool Says = Independent, class = std::enable_if_t<Says>>
  [[nodiscard]] bool adds_are_independent() const noexcept {
    return true;
  }
  [[nodiscard]] static bool can_store_rows() noexcept { return true; }
  void store_rows(index_t first_vector, index_t first_element,
                  const MatrixView<const Element>& block) const noexcept {
    for (index_t i = 0; i < block.rows; ++i) {
      for (index_t e = 0; e < block.cols; ++e) {
        vectors_(first_vector + i, first_element + e) = block(i, e);
      }
    }
  }

 private:
  VectorMap map_;
  MatrixView<T> vectors_;
};

struct Shape {
  const char* name;
  VectorMap map;
  index_t length;
  index_t channels;
};

VectorMap map_of(index_t images, index_t height, index_t width, index_t rows, index_t cols,
                 index_t pad) {
  VectorMap map;
  map.images = images;
  map.grid_height = height;
  map.grid_width = width;
  map.offset_rows = rows;
  map.offset_cols = cols;
  map.pad_top = map.pad_left = pad;
  map.out_height = height + 2 * pad - rows + 1;
  map.out_width = width + 2 * pad - cols + 1;
  return map;
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  const auto add = [&](const char* name, const VectorMap& map, index_t length, index_t channels) {
    all.push_back({name, map, length, channels});
  };
  add("5x5", map_of(3, 7, 6, 5, 5, 2), 20, 5);
  add("3x3, several images per tile", map_of(13, 4, 3, 3, 3, 1), 16, 17);
  add("3x3 without padding", map_of(2, 9, 8, 3, 3, 0), 3, 7);
  add("7x7", map_of(2, 8, 9, 7, 7, 3), 15, 3);
  add("4x4 and 33 elements", map_of(2, 6, 6, 4, 4, 1), 33, 4);
  add("2x2", map_of(2, 5, 4, 2, 2, 0), 37, 3);
  add("6x2", map_of(2, 8, 5, 6, 2, 1), 5, 3);
  add("1x3", map_of(2, 4, 9, 1, 3, 0), 40, 6);
  add("1x5", map_of(2, 4, 9, 1, 5, 0), 17, 6);
  add("11x3", map_of(1, 13, 8, 11, 3, 1), 4, 2);
  add("1x1", map_of(3, 5, 4, 1, 1, 0), 70, 9);
  add("blocks of channels", map_of(2, 5, 4, 3, 3, 1), 18, 300);
  add("1x1, blocks of channels", map_of(2, 4, 3, 1, 1, 0), 9, 257);
  add("1x1, one channel", map_of(2, 3, 3, 1, 1, 0), 1, 1);
  add("one channel", map_of(2, 6, 5, 3, 3, 1), 8, 1);
  add("wide: tiles of few rows", map_of(2, 30, 150, 3, 3, 1), 2, 3);
  add("3x3 in bands, many strips", map_of(3, 40, 24, 3, 3, 1), 70, 2);
  add("3x1 in bands", map_of(2, 70, 40, 3, 1, 0), 19, 2);
  add("kernel larger than the image", map_of(2, 2, 1, 7, 7, 5), 6, 4);
  add("no images", map_of(0, 4, 4, 3, 3, 1), 6, 4);

  VectorMap strips = map_of(2, 32, 32, 5, 1, 0);
  strips.pad_top = 2;
  strips.out_height = 32;
  add("strips 5x1 in bands", strips, 15, 6);

  VectorMap strided = map_of(2, 9, 8, 3, 3, 1);
  strided.step_y = 2;
  strided.step_x = 2;
  strided.out_height = 5;
  strided.out_width = 4;
  add("stride 2", strided, 12, 6);
  strided.step_y = 4;
  strided.step_x = 3;
  strided.pad_top = 0;
  strided.pad_left = 2;
  strided.out_height = 2;
  strided.out_width = 3;
  add("stride 4, 3, uneven padding", strided, 12, 6);
  VectorMap sparse_steps = map_of(2, 9, 40, 1, 1, 0);
  sparse_steps.step_y = sparse_steps.step_x = 2;
  sparse_steps.out_height = 5;
  sparse_steps.out_width = 20;
  add("1x1, stride 2", sparse_steps, 21, 3);

  VectorMap dilated = map_of(2, 8, 9, 3, 3, 2);
  dilated.dilation_y = dilated.dilation_x = 2;
  dilated.out_height = 8;
  dilated.out_width = 9;
  add("dilation 2", dilated, 5, 4);
  dilated.dilation_x = 1;
  dilated.out_width = 11;
  add("dilation 2, 1", dilated, 5, 4);
  dilated.dilation_y = 1;
  dilated.dilation_x = 3;
  dilated.out_width = 7;
  add("dilation 1, 3", dilated, 18, 4);

  VectorMap uneven = map_of(2, 5, 6, 3, 3, 0);
  uneven.pad_left = 3;
  uneven.out_height = 7;
  uneven.out_width = 12;
  add("padding left 3, below 4, right 5", uneven, 9, 4);

  for (const index_t rows : {1, 97, 300}) {
    VectorMap plain;
    plain.images = 1;
    plain.grid_height = plain.out_height = rows;
    add("plain product", plain, 33 + rows, 1 + rows % 20);
  }
  VectorMap rows_as_images;
  rows_as_images.images = 61;
  add("plain product, a row per image", rows_as_images, 16, 12);
  return all;
}

/// Operands, results and references of one shape.
template <class T>
struct Case {
  const Shape& shape;
  index_t columns;
  std::vector<index_t> weight_columns;
  GuardedBuffer<T> x, d_x, d_y, d_y_by_channel, w, d_w;
  GuardedBuffer<T> w_transposed, d_w_transposed;

  Case(const Shape& s, Data& data, double density)
      : shape(s),
        columns(s.map.offsets() * s.length),
        x(s.map.vectors(), s.length, s.length + 1, Start::misaligned),
        d_x(s.map.vectors(), s.length, s.length + 3),
        d_y(s.map.rows(), s.channels, s.channels + 2, Start::misaligned),
        d_y_by_channel(s.map.images, s.channels * s.map.out_size(),
                       s.channels * s.map.out_size() + 5),
        w(columns, s.channels, s.channels + 1),
        d_w(columns, s.channels, s.channels + 1, Start::misaligned),
        w_transposed(s.channels, columns, columns + 2),
        d_w_transposed(s.channels, columns, columns + 2) {
    for (index_t c = 0; c < columns; ++c) weight_columns.push_back(c);
    for (index_t c = columns - 1; c > 0; --c) {
      std::swap(weight_columns[static_cast<std::size_t>(c)],
                weight_columns[static_cast<std::size_t>(data.between(0, c))]);
    }
    data.fill_normal(x.view());
    data.fill_normal(w.view());
    for (index_t c = 0; c < columns; ++c) {
      for (index_t m = 0; m < s.channels; ++m) w_transposed(m, c) = w(c, m);
    }
    for (index_t n = 0; n < s.map.rows(); ++n) {
      for (index_t m = 0; m < s.channels; ++m) {
        d_y(n, m) = data.normal_or_zero<T>(density);
        d_y_by_channel(n / s.map.out_size(), m * s.map.out_size() + n % s.map.out_size()) =
            d_y(n, m);
      }
    }
  }

  [[nodiscard]] PixelView<const T> gradient(bool by_channel) const {
    const VectorMap& map = shape.map;
    const index_t stride = d_y.view().row_stride;
    if (by_channel) {
      return {d_y_by_channel.data(),
              map.images,
              map.out_size(),
              shape.channels,
              d_y_by_channel.view().row_stride,
              1,
              map.out_size()};
    }
    return {d_y.data(), map.images, map.out_size(), shape.channels, map.out_size() * stride,
            stride,     1};
  }
  [[nodiscard]] GemmFactor<T> weights(bool transposed) const {
    return {transposed ? w_transposed.view() : w.view(), transposed};
  }
  [[nodiscard]] GemmResult<T> d_weights(bool transposed) {
    return {transposed ? d_w_transposed.view() : d_w.view(), transposed};
  }
  [[nodiscard]] index_t column(index_t offset, index_t element) const {
    return weight_columns[static_cast<std::size_t>(offset * shape.length + element)];
  }

  /// Calls use(n, offset, vector) wherever an output meets a vector.
  template <class Use>
  void for_each_meeting(const Use& use) const {
    const VectorMap& map = shape.map;
    for (index_t n = 0; n < map.rows(); ++n) {
      const index_t image = n / map.out_size();
      const index_t oy = n % map.out_size() / map.out_width;
      const index_t ox = n % map.out_width;
      for (index_t o = 0; o < map.offsets(); ++o) {
        const index_t y = map.grid_y(oy, o / map.offset_cols);
        const index_t x_ = map.grid_x(ox, o % map.offset_cols);
        if (y < 0 || y >= map.grid_height || x_ < 0 || x_ >= map.grid_width) continue;
        use(n, o, image * map.grid_size() + y * map.grid_width + x_);
      }
    }
  }

  /// Empty where d_w is the sum over the non-zeros, else what is wrong.
  [[nodiscard]] std::string weight_fault(bool transposed) const {
    const auto size = static_cast<std::size_t>(columns * shape.channels);
    std::vector<double> sums(size, 0.0);
    std::vector<double> magnitudes(size, 0.0);
    std::vector<index_t> terms(size, 0);
    for_each_meeting([&](index_t n, index_t o, index_t vector) {
      for (index_t m = 0; m < shape.channels; ++m) {
        if (d_y(n, m) == T(0)) continue;
        for (index_t e = 0; e < shape.length; ++e) {
          const double product = static_cast<double>(x(vector, e)) * static_cast<double>(d_y(n, m));
          const auto at = static_cast<std::size_t>(column(o, e) * shape.channels + m);
          sums[at] += product;
          magnitudes[at] += std::abs(product);
          ++terms[at];
        }
      }
    });
    Comparison comparison;
    for (index_t c = 0; c < columns; ++c) {
      for (index_t m = 0; m < shape.channels; ++m) {
        const auto at = static_cast<std::size_t>(c * shape.channels + m);
        comparison.expect(static_cast<double>(transposed ? d_w_transposed(m, c) : d_w(c, m)),
                          sums[at], adr_test::sum_tolerance<T>(terms[at], magnitudes[at]));
      }
    }
    return comparison.fault();
  }

  /// Empty where d_x is what was there, 1, and the products, else what is wrong.
  [[nodiscard]] std::string input_fault() const {
    const auto size = static_cast<std::size_t>(shape.map.vectors() * shape.length);
    std::vector<double> sums(size, 1.0);
    std::vector<double> magnitudes(size, 1.0);
    std::vector<index_t> terms(size, 1);
    for_each_meeting([&](index_t n, index_t o, index_t vector) {
      for (index_t m = 0; m < shape.channels; ++m) {
        if (d_y(n, m) == T(0)) continue;
        for (index_t e = 0; e < shape.length; ++e) {
          const double product =
              static_cast<double>(w(column(o, e), m)) * static_cast<double>(d_y(n, m));
          const auto at = static_cast<std::size_t>(vector * shape.length + e);
          sums[at] += product;
          magnitudes[at] += std::abs(product);
          ++terms[at];
        }
      }
    });
    Comparison comparison;
    for (index_t v = 0; v < shape.map.vectors(); ++v) {
      for (index_t e = 0; e < shape.length; ++e) {
        const auto at = static_cast<std::size_t>(v * shape.length + e);
        comparison.expect(static_cast<double>(d_x(v, e)), sums[at],
                          adr_test::sum_tolerance<T>(terms[at], magnitudes[at]));
      }
    }
    return comparison.fault();
  }

  template <class Matrix>
  static std::vector<T> elements(const Matrix& matrix) {
    std::vector<T> all;
    const auto view = matrix.view();
    for (index_t i = 0; i < view.rows; ++i)
      all.insert(all.end(), view.row(i), view.row(i) + view.cols);
    return all;
  }
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
void fill(GuardedBuffer<T>& buffer, T value) {
  const MatrixView<T> view = buffer.view();
  for (index_t i = 0; i < view.rows; ++i) std::fill_n(view.row(i), view.cols, value);
}

/// Both gradients on some threads, each in a workspace of just the stated size; the input gradient
/// is added to ones, or replaces numbers that are none.
template <bool Independent, class T>
void run(Case<T>& c, bool by_channel, bool transposed, int threads,
         Update update = Update::accumulate) {
  const Shape& s = c.shape;
  SparseRows<T> rows;
  {
    Context context(threads);
    rows.measure(c.gradient(by_channel), s.map, s.length, context);
    rows.list(c.gradient(by_channel), 0.0, 1, SparseUse::both, context);
  }
  const T nan = std::numeric_limits<T>::quiet_NaN();
  fill(transposed ? c.d_w_transposed : c.d_w, nan);
  fill(c.d_x, update == Update::replace ? nan : T(1));
  {
    Context context(threads);
    const std::size_t bytes =
        adr::sparse_weight_gradient_workspace_bytes<T>(s.map, s.length, s.channels, threads);
    context.workspace().reserve(bytes);
    const StoredVectors<const T, Independent> input(s.map, static_cast<const Case<T>&>(c).x.view());
    adr::sparse_weight_gradient(rows, input, c.weight_columns.data(), c.d_weights(transposed),
                                context);
    CHECK(context.workspace().peak_bytes() == bytes);
  }
  {
    Context context(threads);
    const std::size_t bytes =
        adr::sparse_input_gradient_workspace_bytes<T>(s.map, s.length, s.channels, threads);
    context.workspace().reserve(bytes);
    const StoredVectors<T, Independent> d_input(s.map, c.d_x.view());
    adr::sparse_input_gradient(rows, c.weights(transposed), c.weight_columns.data(), d_input,
                               update, context);
    CHECK(context.workspace().peak_bytes() == bytes);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("gradients over the non-zeros equal the plain sums", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes()) {
    for (const double density : {0.15, 1.0}) {
      INFO(s.name << ", length " << s.length << ", " << s.channels << " channels, density "
                  << density);
      Case<T> c(s, data, density);
      run<true>(c, false, false, 1);
      CHECK(c.weight_fault(false) == "");
      CHECK(c.input_fault() == "");
      const auto d_w = Case<T>::elements(c.d_w);
      const auto d_x = Case<T>::elements(c.d_x);
      // The same bits for any memory order, task size and number of threads.
      for (const int threads : {1, 2, 3, 16}) {
        run<true>(c, true, false, threads);
        CHECK(same_bits(Case<T>::elements(c.d_w), d_w));
        CHECK(same_bits(Case<T>::elements(c.d_x), d_x));
        run<false>(c, threads == 2, true, threads);
        CHECK(same_bits(Case<T>::elements(c.d_x), d_x));
        if (threads == 1) CHECK(c.weight_fault(true) == "");
      }
      bool transposes_agree = true;
      for (index_t k = 0; k < c.columns; ++k) {
        for (index_t m = 0; m < s.channels; ++m) {
          transposes_agree = transposes_agree && c.d_w(k, m) == c.d_w_transposed(m, k);
        }
      }
      CHECK(transposes_agree);
      for (const auto* buffer : {&c.x, &c.d_x, &c.d_y, &c.d_y_by_channel, &c.w, &c.d_w,
                                 &c.w_transposed, &c.d_w_transposed}) {
        CHECK(buffer->damage() == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("input gradients replace what is there where every vector has one tile", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  int replaced = 0;
  int added = 0;
  for (const Shape& s : shapes()) {
    INFO(s.name << ", length " << s.length << ", " << s.channels << " channels");
    for (const double density : {0.0, 0.15}) {
      Case<T> c(s, data, density);
      const adr::SparseTiles tiles = adr::SparseTiles::of<T>(s.map, s.length);
      if (!adr::can_replace_input(tiles, StoredVectors<T, true>(s.map, c.d_x.view()))) {
        ++added;
        continue;
      }
      ++replaced;
      for (const int threads :
           adr_test::k_slow_build ? std::vector<int>{3} : std::vector<int>{1, 3}) {
        run<true>(c, true, false, threads, Update::replace);
        const auto d_x = Case<T>::elements(c.d_x);
        run<false>(c, false, false, threads, Update::replace);
        CHECK(same_bits(Case<T>::elements(c.d_x), d_x));
        CHECK(std::none_of(d_x.begin(), d_x.end(), [](T value) { return std::isnan(value); }));
        const MatrixView<T> view = c.d_x.view();
        for (index_t v = 0; v < view.rows; ++v) {
          for (index_t e = 0; e < view.cols; ++e) view(v, e) += T(1);
        }
        CHECK(c.input_fault() == "");  // which expects a gradient that was added to ones
        CHECK(c.d_x.damage() == "");
      }
    }
  }
  CHECK(replaced > 20);
  CHECK(added > 6);
}

TEMPLATE_TEST_CASE("without non-zeros weight gradients are zero and input gradients stay", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Shape& s : shapes()) {
    INFO(s.name);
    Case<T> c(s, data, 0.0);
    run<true>(c, true, false, 2);
    const auto d_w = Case<T>::elements(c.d_w);
    const auto d_x = Case<T>::elements(c.d_x);
    CHECK(std::all_of(d_w.begin(), d_w.end(), [](T value) { return value == T(0); }));
    CHECK(std::all_of(d_x.begin(), d_x.end(), [](T value) { return value == T(1); }));
  }
}

TEST_CASE("a NaN in the output gradient reaches all that it touches and nothing else") {
  Data data;
  INFO(data);
  VectorMap map = map_of(2, 6, 5, 3, 3, 1);
  const Shape s{"3x3", map, 4, 3};
  Case<float> c(s, data, 0.3);
  const index_t n = map.out_size() + 2 * map.out_width + 3;
  c.d_y(n, 1) = std::numeric_limits<float>::quiet_NaN();
  run<true>(c, false, false, 1);
  std::vector<bool> touched(static_cast<std::size_t>(map.vectors()), false);
  c.for_each_meeting([&](index_t output, index_t, index_t vector) {
    if (output == n) touched[static_cast<std::size_t>(vector)] = true;
  });
  bool right = true;
  for (index_t v = 0; v < map.vectors(); ++v) {
    for (index_t e = 0; e < s.length; ++e) {
      right = right && std::isnan(c.d_x(v, e)) == touched[static_cast<std::size_t>(v)];
    }
  }
  for (index_t k = 0; k < c.columns; ++k) {
    for (index_t m = 0; m < s.channels; ++m) right = right && std::isnan(c.d_w(k, m)) == (m == 1);
  }
  CHECK(right);
}

TEST_CASE("kernels exist for every block that offsets are cut into") {
  for (index_t rows = 1; rows <= 12; ++rows) {
    for (index_t cols = 1; cols <= 12; ++cols) {
      for (const index_t length : {1, 7, 20, 40, 100}) {
        for (const index_t dilation : {1, 2}) {
          VectorMap map = map_of(1, 30, 30, rows, cols, 0);
          map.dilation_x = dilation;
          map.out_width = 30 - (cols - 1) * dilation;
          const auto tiles = adr::SparseTiles::of<float>(map, length);
          index_t covered = 0;
          bool exist = true;
          adr::detail::for_each_weight_block(
              tiles, [&](index_t row, index_t row_count, index_t col, index_t col_count) {
                exist = exist && row + row_count <= rows && col + col_count <= cols &&
                        adr::simd::weight_kernel<float>(row_count, col_count, tiles.registers()) !=
                            nullptr;
                covered += row_count * col_count;
              });
          CHECK(covered == rows * cols);
          covered = 0;
          adr::detail::for_each_offset_run(map, [&](index_t first, index_t count) {
            const bool one_row = first / cols == (first + count - 1) / cols;
            exist =
                exist && first == covered &&
                (adr::detail::slides(map)
                     ? one_row && adr::simd::row_kernel<float>(count, tiles.registers()) != nullptr
                     : adr::simd::pixel_kernel<float>(count, tiles.registers()) != nullptr);
            covered += count;
          });
          CHECK(covered == rows * cols);
          CHECK(exist);
        }
      }
    }
  }
}
