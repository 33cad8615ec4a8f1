// The weight gradient from clusters against the unfolded matrix that the clusters stand for.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "adr/gemm/keyed_gradient.hpp"
#include "adr/reference/products.hpp"
#include "adr/reference/shared_vectors.hpp"
#include "adr/reference/unfold.hpp"
#include "adr/unfold/neuron_vectors.hpp"
#include "support/catch.hpp"
#include "support/conv_cases.hpp"
#include "support/data.hpp"
#include "support/guarded_buffer.hpp"
#include "support/tolerance.hpp"

namespace {

using adr::Clustering;
using adr::Context;
using adr::ConvGeometry;
using adr::Decoder;
using adr::GemmResult;
using adr::index_t;
using adr::Layout;
using adr::NeuronVectorKind;
using adr::PixelView;
using adr::SliceClusters;
using adr::VectorCodes;
using adr::VectorMap;
using adr::reference::Matrix;
using adr_test::Data;
using adr_test::GuardedBuffer;
using adr_test::GuardedImages;

/// Work is cut by what fits: narrower registers take more of it to be cut.
constexpr index_t k_narrowness = 16 / adr::simd::Batch<float>::size;

constexpr NeuronVectorKind k_kinds[] = {NeuronVectorKind::patch, NeuronVectorKind::pixel,
                                        NeuronVectorKind::strip};

/// Who meets which vectors, and which weights they stand for.
struct Meeting {
  VectorMap map;
  index_t length;
  std::vector<index_t> columns;

  Meeting(const ConvGeometry& g, NeuronVectorKind kind, index_t batch)
      : map(adr::vector_map(g, kind, batch)),
        length(adr::vector_length(g, kind)),
        columns(adr::weight_columns(g, kind)) {}
  /// The rows of a matrix.
  Meeting(index_t rows, index_t cols) : length(cols) {
    map.images = rows;
    for (index_t k = 0; k < cols; ++k) columns.push_back(cols - 1 - k);
  }
};

/// What vectors are taken for, and the sizes of what that is added up from.
struct Decoded {
  Matrix value;
  Matrix magnitude;
  index_t terms = 0;  ///< of the longest sum over clusters

  Decoded(index_t vectors, index_t length) : value(vectors, length), magnitude(vectors, length) {}
  void add(index_t v, index_t e, double part) {
    value(v, e) += part;
    magnitude(v, e) += std::abs(part);
  }
};

/// Codebooks with random entries and ids. Every group of elements has two books.
struct RandomCodes {
  Decoder decoder;
  VectorCodes codes;

  RandomCodes(const Meeting& meeting, index_t element_groups, index_t entries, bool reserves,
              Data& data) {
    element_groups = std::min(element_groups, meeting.length);
    decoder.length = meeting.length;
    decoder.entry_count = entries;
    decoder.reserves_padding = reserves;
    decoder.mean.resize(meeting.length);
    for (index_t e = 0; e < meeting.length; ++e) decoder.mean[e] = data.normal<float>();
    decoder.books.resize(static_cast<std::size_t>(2 * element_groups));
    for (index_t b = 0; b < decoder.book_count(); ++b) {
      const adr::IndexRange range = adr::partition(meeting.length, element_groups, b / 2);
      adr::DecodingBook& book = decoder.books[static_cast<std::size_t>(b)];
      book.first_element = range.first;
      book.length = range.size();
      book.stride = adr::simd::padded(book.length);
      book.entries.assign(entries * book.stride, 0.0F);
      for (index_t t = 0; t < entries; ++t) {
        for (index_t e = 0; e < book.length; ++e) {
          // Nothing may be computed from what stands for padding.
          book.entries[t * book.stride + e] = t < decoder.cluster_entries()
                                                  ? data.normal<float>()
                                                  : std::numeric_limits<float>::quiet_NaN();
        }
      }
    }
    codes.resize(meeting.map.vectors(), decoder.book_count(), 0);
    for (index_t v = 0; v < codes.vectors; ++v) {
      const bool padding = reserves && data.between(0, 9) == 0;
      for (index_t b = 0; b < codes.books; ++b) {
        // Low ids are the more frequent ones.
        const index_t id = data.between(0, data.between(0, decoder.cluster_entries() - 1));
        codes.plane(b)[v] = padding ? decoder.padding_id() : static_cast<std::uint8_t>(id);
      }
    }
  }

  [[nodiscard]] Decoded decoded() const {
    Decoded decoded(codes.vectors, decoder.length);
    decoded.terms = decoder.entry_count * decoder.book_count() + 2;
    for (index_t v = 0; v < codes.vectors; ++v) {
      const std::uint8_t first_id = codes.plane(0)[v];
      if (decoder.reserves_padding && first_id == decoder.padding_id()) continue;
      for (index_t e = 0; e < decoder.length; ++e) {
        decoded.add(v, e, static_cast<double>(decoder.mean[e]));
      }
      for (index_t b = 0; b < codes.books; ++b) {
        const adr::DecodingBook& book = decoder.books[static_cast<std::size_t>(b)];
        const float* entry = book.entries.data() + codes.plane(b)[v] * book.stride;
        for (index_t e = 0; e < book.length; ++e) {
          decoded.add(v, book.first_element + e, static_cast<double>(entry[e]));
        }
      }
    }
    return decoded;
  }

  template <class T>
  [[nodiscard]] std::size_t bytes(const VectorMap& map, index_t channels, int threads) const {
    return adr::keyed_weight_gradient_workspace_bytes<T>(decoder, map, channels, threads);
  }
  template <class T>
  void gradient(const Meeting& meeting, const PixelView<const T>& d_output,
                const GemmResult<T>& d_weights, Context& context, adr::StageTimes* times) const {
    adr::keyed_weight_gradient<T>(decoder, codes, meeting.map, meeting.columns.data(), d_output,
                                  d_weights, adr::DenseGemm<T>(), context, times);
  }
};

/// Clusters with random centroids and members. The slices have different numbers of clusters.
template <class E>
struct RandomClusters {
  Clustering<E> clustering;

  RandomClusters(const Meeting& meeting, index_t slices, index_t most_clusters, Data& data) {
    slices = std::min(slices, meeting.length);
    clustering.rows = meeting.map.vectors();
    clustering.columns = meeting.length;
    for (index_t s = 0; s < slices; ++s) {
      const adr::IndexRange range = adr::partition(meeting.length, slices, s);
      SliceClusters<E> slice;
      slice.first_column = range.first;
      slice.length = range.size();
      slice.cluster_count = std::max<index_t>(most_clusters - s, 1);
      slice.centroid_stride = adr::simd::padded(slice.length);
      slice.centroids.assign(slice.cluster_count * slice.centroid_stride, E(0));
      for (index_t c = 0; c < slice.cluster_count; ++c) {
        for (index_t e = 0; e < slice.length; ++e) {
          slice.centroids[c * slice.centroid_stride + e] = data.normal<E>();
        }
      }
      slice.ids.resize(clustering.rows);
      for (index_t v = 0; v < clustering.rows; ++v) {
        slice.ids[v] = static_cast<std::int32_t>(data.between(0, slice.cluster_count - 1));
      }
      clustering.slices.push_back(std::move(slice));
    }
  }

  [[nodiscard]] Decoded decoded() const {
    Decoded decoded(clustering.rows, clustering.columns);
    for (const SliceClusters<E>& slice : clustering.slices) {
      decoded.terms = std::max(decoded.terms, std::min(slice.cluster_count, clustering.rows));
      for (index_t v = 0; v < clustering.rows; ++v) {
        for (index_t e = 0; e < slice.length; ++e) {
          decoded.add(v, slice.first_column + e,
                      static_cast<double>(slice.centroid_matrix()(slice.ids[v], e)));
        }
      }
    }
    return decoded;
  }

  template <class T>
  [[nodiscard]] std::size_t bytes(const VectorMap& map, index_t channels, int threads) const {
    return adr::keyed_weight_gradient_workspace_bytes<T>(clustering, map, channels, threads);
  }
  template <class T>
  void gradient(const Meeting& meeting, const PixelView<const T>& d_output,
                const GemmResult<T>& d_weights, Context& context, adr::StageTimes* times) const {
    adr::keyed_weight_gradient<T>(clustering, meeting.map, meeting.columns.data(), d_output,
                                  d_weights, adr::DenseGemm<T>(), context, times);
  }
};

/// X^T dY, N x K and N x M.
Matrix weight_gradient(const Meeting& meeting, const Matrix& vectors, const Matrix& d_y) {
  return adr::reference::multiply(
      adr::reference::transpose(adr::reference::unfold(meeting.map, vectors, meeting.columns)),
      d_y);
}

Matrix sizes(Matrix matrix) {
  for (double& element : matrix.elements) element = std::abs(element);
  return matrix;
}

/// Computes the gradient with some numbers of threads and compares: all must give the same bits,
/// and they the reference, in either orientation. Returns what is wrong.
template <class T, class Clusters>
std::string fault(const Meeting& meeting, const Clusters& clusters, const Matrix& d_y,
                  const PixelView<const T>& d_output,
                  const std::vector<int>& thread_counts = {1, 2, 3}) {
  const Decoded decoded = clusters.decoded();
  const Matrix expected = weight_gradient(meeting, decoded.value, d_y);
  const Matrix magnitude = weight_gradient(meeting, decoded.magnitude, sizes(d_y));
  for (const bool transposed : {false, true}) {
    std::vector<T> first;
    for (const int threads : thread_counts) {
      GuardedBuffer<T> d_w(
          transposed ? expected.cols : expected.rows, transposed ? expected.rows : expected.cols,
          (transposed ? expected.rows : expected.cols) + 3, adr_test::Start::misaligned);
      Context context(threads);
      const std::size_t bytes = clusters.template bytes<T>(meeting.map, d_output.channels, threads);
      context.workspace().reserve(bytes);
      clusters.template gradient<T>(meeting, d_output, {d_w.view(), transposed}, context, nullptr);
      if (context.workspace().peak_bytes() != bytes) return "the workspace is not what was asked";
      if (!d_w.damage().empty()) return d_w.damage();
      std::vector<T> values;
      adr_test::Comparison comparison;
      for (index_t k = 0; k < expected.rows; ++k) {
        for (index_t m = 0; m < expected.cols; ++m) {
          values.push_back(transposed ? d_w(m, k) : d_w(k, m));
          comparison.expect(
              static_cast<double>(values.back()), expected(k, m),
              adr_test::sum_tolerance<T>(meeting.map.rows() + decoded.terms, magnitude(k, m)));
        }
      }
      if (!comparison.fault().empty()) {
        return comparison.fault() + (transposed ? ", transposed" : "");
      }
      if (first.empty()) first = values;
      if (std::memcmp(values.data(), first.data(), values.size() * sizeof(T)) != 0) {
        return std::to_string(threads) + " threads give other bits";
      }
    }
  }
  return {};
}

/// The output gradient of a convolution: the channels of one group between those of two others.
template <class T>
struct ImageGradient {
  GuardedImages<T> images;
  index_t first_channel;
  Matrix d_y;
  PixelView<const T> view;

  /// zeros: how many of ten pixels have none but zeros.
  ImageGradient(const ConvGeometry& g, index_t batch, index_t channels, index_t zeros, Data& data)
      : images(batch, channels + 3, g.out_height(), g.out_width(), g.layout, 2),
        first_channel(2),
        d_y(batch * g.out_height() * g.out_width(), channels) {
    const index_t size = g.out_height() * g.out_width();
    for (index_t n = 0; n < d_y.rows; ++n) {
      const bool zero = data.between(1, 10) <= zeros;
      for (index_t m = 0; m < channels; ++m) {
        const T value = zero ? T(0) : data.normal<T>();
        const index_t pixel = n % size;
        const index_t c = first_channel + m;
        images.elements()(n / size, g.layout == Layout::nchw ? c * size + pixel
                                                             : pixel * (channels + 3) + c) = value;
        d_y(n, m) = static_cast<double>(value);
      }
    }
    const adr::TensorView<T>& all = images.view();
    view = adr::pixel_view(adr::TensorView<const T>(all.data, batch, channels + 3, g.out_height(),
                                                    g.out_width(), g.layout, all.image_stride),
                           first_channel, channels);
  }
};

ConvGeometry geometry(Layout layout, index_t in, index_t size, index_t kernel) {
  ConvGeometry g;
  g.layout = layout;
  g.in_channels = in;
  g.out_channels = 1;
  g.in_height = size;
  g.in_width = size + 1;
  g.set_kernel(kernel);
  g.set_padding(kernel / 2);
  return g;
}

}  // namespace

TEST_CASE("keyed_weight_gradient of codebooks is right for every shape of convolution") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    for (const NeuronVectorKind kind : k_kinds) {
      INFO(adr_test::Shown{g} << ", kind " << static_cast<int>(kind));
      const Meeting meeting(g, kind, 2);
      const ImageGradient<float> d_y(g, 2, g.group_out_channels() + 2, 2, data);
      const RandomCodes codes(meeting, 2, 16, meeting.map.has_padding(), data);
      CHECK(fault<float>(meeting, codes, d_y.d_y, d_y.view, {1}) == "");
    }
  }
}

TEST_CASE("keyed_weight_gradient of clusters is right for every shape of convolution") {
  Data data;
  INFO(data);
  for (const ConvGeometry& g : adr_test::conv_cases()) {
    for (const NeuronVectorKind kind : k_kinds) {
      INFO(adr_test::Shown{g} << ", kind " << static_cast<int>(kind));
      const Meeting meeting(g, kind, 2);
      const ImageGradient<float> d_y(g, 2, g.group_out_channels(), 0, data);
      const RandomClusters<float> clusters(meeting, 3, 9, data);
      CHECK(fault<float>(meeting, clusters, d_y.d_y, d_y.view, {1}) == "");
    }
  }
}

TEMPLATE_TEST_CASE("keyed_weight_gradient takes any number of channels", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const index_t kernel : {1, 3, 5}) {
      for (const index_t channels : {1, 16, 33, 70}) {
        for (const NeuronVectorKind kind : k_kinds) {
          const ConvGeometry g = geometry(layout, 5, 8, kernel);
          INFO(adr_test::Shown{g} << ", kind " << static_cast<int>(kind) << ", " << channels
                                  << " channels");
          const Meeting meeting(g, kind, 3);
          const ImageGradient<T> d_y(g, 3, channels, 5, data);
          CHECK(fault<T>(meeting, RandomCodes(meeting, 1, 64, true, data), d_y.d_y, d_y.view) ==
                "");
          CHECK(fault<T>(meeting, RandomClusters<T>(meeting, 2, 11, data), d_y.d_y, d_y.view) ==
                "");
          CHECK(d_y.images.damage() == "");
        }
      }
    }
  }
}

TEST_CASE("keyed_weight_gradient adds up tiles, parts, bands and groups of books") {
  using adr::detail::KeyedCodebooks;
  using adr::detail::KeyedPlan;
  using adr::detail::VectorPhase;
  Data data;
  INFO(data);
  const auto plan_of = [](const RandomCodes& codes, const Meeting& meeting, index_t channels) {
    const KeyedCodebooks<float> books(codes.decoder, &codes.codes);
    const KeyedPlan<float, KeyedCodebooks<float>> plan(books, VectorPhase(meeting.map, 0),
                                                       channels);
    struct Cut {
      index_t tiles, bands, parts, groups;
    };
    return Cut{plan.tiles().count(), plan.tiles().bands(), plan.parts(), plan.groups()};
  };
  SECTION("several images a tile, the last tile smaller") {
    const ConvGeometry g = geometry(Layout::nchw, 3, 6, 3);
    constexpr index_t k_images = 36 * k_narrowness + 1;
    const Meeting meeting(g, NeuronVectorKind::pixel, k_images);
    const ImageGradient<float> d_y(g, k_images, 2, 0, data);
    const RandomCodes codes(meeting, 1, 16, true, data);
    const auto cut = plan_of(codes, meeting, 2);
    CHECK(cut.tiles > 1);
    CHECK(cut.bands == 1);
    CHECK(cut.parts > 1);
    CHECK(cut.groups == 1);
    CHECK(fault<float>(meeting, codes, d_y.d_y, d_y.view) == "");
  }
  SECTION("several tiles an image") {
    for (const NeuronVectorKind kind : k_kinds) {
      INFO("kind " << static_cast<int>(kind));
      ConvGeometry g = geometry(Layout::nhwc, 3, 50, 3);
      g.in_height += 6 * k_narrowness;
      const Meeting meeting(g, kind, 2);
      const ImageGradient<float> d_y(g, 2, 70, 0, data);
      const RandomCodes codes(meeting, 1, 16, true, data);
      CHECK(plan_of(codes, meeting, 70).bands > 1);
      CHECK(fault<float>(meeting, codes, d_y.d_y, d_y.view) == "");
    }
  }
  SECTION("more sums than are kept at a time, in groups of books") {
    const ConvGeometry g = geometry(Layout::nchw, 16 * k_narrowness, 6, 5);
    const Meeting meeting(g, NeuronVectorKind::pixel, 2);
    const ImageGradient<float> d_y(g, 2, 20, 0, data);
    const RandomCodes codes(meeting, 8 * k_narrowness, 256, true, data);
    CHECK(plan_of(codes, meeting, 20).groups > 1);
    CHECK(fault<float>(meeting, codes, d_y.d_y, d_y.view) == "");
  }
}

TEST_CASE("keyed_weight_gradient takes more clusters than it keeps sums of") {
  using adr::detail::KeyedPlan;
  using adr::detail::KeyedSlices;
  using adr::detail::VectorPhase;
  constexpr index_t k_clusters = 4200 * k_narrowness;
  Data data;
  INFO(data);
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    for (const NeuronVectorKind kind : k_kinds) {
      INFO("kind " << static_cast<int>(kind));
      const ConvGeometry g = geometry(layout, 4, 27, 5);
      const Meeting meeting(g, kind, 3);
      const ImageGradient<float> d_y(g, 3, 34, 3, data);
      // A slice of few clusters follows one of many.
      RandomClusters<float> clusters(meeting, 2, k_clusters, data);
      SliceClusters<float>& few = clusters.clustering.slices[1];
      few.cluster_count = 3;
      for (index_t v = 0; v < few.ids.size(); ++v) few.ids[v] %= 3;
      const KeyedSlices<float> slices(clusters.clustering);
      const KeyedPlan<float, KeyedSlices<float>> plan(slices, VectorPhase(meeting.map, 0), 34);
      CHECK(plan.most_rows() < k_clusters);
      CHECK(plan.tiles().count() == 1);
      CHECK(fault<float>(meeting, clusters, d_y.d_y, d_y.view) == "");
    }
  }
}

TEMPLATE_TEST_CASE("keyed_weight_gradient takes the rows of a matrix", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const index_t rows : {1, 5, 300}) {
    for (const index_t outputs : {1, 21, 130}) {
      INFO(rows << " rows, " << outputs << " outputs");
      const Meeting meeting(rows, 20);
      GuardedBuffer<T> d_y(rows, outputs, outputs + 3, adr_test::Start::misaligned);
      data.fill_normal(d_y.view());
      const Matrix reference(d_y.view());
      const auto view = adr::pixel_view(static_cast<const GuardedBuffer<T>&>(d_y).view());
      CHECK(fault<T>(meeting, RandomCodes(meeting, 3, 16, false, data), reference, view) == "");
      CHECK(fault<T>(meeting, RandomClusters<T>(meeting, 3, 4, data), reference, view) == "");
      CHECK(d_y.damage() == "");
    }
  }
}

TEST_CASE("keyed_weight_gradient of no images is zero") {
  Data data;
  const ConvGeometry g = geometry(Layout::nchw, 4, 6, 3);
  for (const NeuronVectorKind kind : k_kinds) {
    const Meeting meeting(g, kind, 0);
    const ImageGradient<float> d_y(g, 0, 5, 0, data);
    CHECK(fault<float>(meeting, RandomCodes(meeting, 2, 16, true, data), d_y.d_y, d_y.view) == "");
    RandomClusters<float> clusters(meeting, 2, 3, data);
    for (auto& slice : clusters.clustering.slices) slice.cluster_count = 0;
    CHECK(fault<float>(meeting, clusters, d_y.d_y, d_y.view) == "");
  }
}

TEST_CASE("keyed_weight_gradient says where its time goes") {
  Data data;
  const ConvGeometry g = geometry(Layout::nchw, 8, 20, 3);
  const Meeting meeting(g, NeuronVectorKind::pixel, 2);
  const ImageGradient<float> d_y(g, 2, 40, 0, data);
  const RandomCodes codes(meeting, 2, 64, true, data);
  GuardedBuffer<float> d_w(g.columns(), 40, 40);
  Context context(2);
  context.workspace().reserve(codes.bytes<float>(meeting.map, 40, 2));
  adr::StageTimes times;
  codes.gradient<float>(meeting, d_y.view, {d_w.view(), false}, context, &times);
  CHECK(times.seconds(adr::Stage::gradient_sums) > 0);
  CHECK(times.seconds(adr::Stage::weight_gradient) > 0);
}
