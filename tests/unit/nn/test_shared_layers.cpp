// Layers that learn clusters of shared neuron vectors (Method::codebook, principal, subspace):
// their output against the product of what the clusters stand for, and when they learn.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "adr/nn/reuse_conv2d.hpp"
#include "adr/nn/reuse_linear.hpp"
#include "adr/reuse_gemm.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "property/shared_cases.hpp"
#include "support/catch.hpp"
#include "support/codebook_cases.hpp"
#include "support/data.hpp"
#include "support/layer_instances.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::ConvGeometry;
using adr::index_t;
using adr::InputGradient;
using adr::Method;
using adr::Quantizer;
using adr::ReuseConfig;
using adr::ReuseConv2d;
using adr::ReuseGemm;
using adr::ReuseLinear;
using adr::TableType;
using adr::WeightGradient;
using adr_test::contains;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::decoded_operands;
using adr_test::fault;
using adr_test::LinearCase;
using adr_test::Matrix;
using adr_test::NamedGeometry;
using adr_test::NeuronVectorKind;
using adr_test::Placement;
using adr_test::refusal;
using adr_test::shared_geometries;
using adr_test::Start;
using adr_test::with_method;
using adr_test::passes::backward;
using adr_test::passes::forward;

namespace {

constexpr Method k_learned[] = {Method::codebook, Method::principal, Method::subspace};
constexpr NeuronVectorKind k_kinds[] = {NeuronVectorKind::patch, NeuronVectorKind::pixel,
                                        NeuronVectorKind::strip};

ReuseConfig codebooks(int books, int entries, Quantizer quantizer, TableType tables) {
  ReuseConfig config = with_method(Method::codebook);
  config.codebooks = books;
  config.codebook_size = entries;
  config.quantizer = quantizer;
  config.table_type = tables;
  return config;
}

/// Both quantisers, all sizes and all tables.
std::vector<ReuseConfig> codebook_configs() {
  return {codebooks(4, 64, Quantizer::product, TableType::automatic),
          codebooks(2, 16, Quantizer::residual, TableType::int16),
          codebooks(1, 256, Quantizer::product, TableType::uint8),
          codebooks(3, 128, Quantizer::residual, TableType::uint8)};
}

ReuseConfig grouped(ReuseConfig config, index_t group_length) {
  config.group_length = group_length;
  return config;
}

ReuseConfig with_kind(ReuseConfig config, NeuronVectorKind kind) {
  config.neuron_vectors = kind;
  return config;
}

std::string shown(const ReuseConfig& config) {
  return std::string(to_string(config.method)) + ", kind " +
         std::to_string(static_cast<int>(config.neuron_vectors)) + ", " +
         std::to_string(config.codebooks) + " books of " + std::to_string(config.codebook_size) +
         ", groups of " + std::to_string(config.group_length);
}

/// Checks the output of codebooks against the product of what the codes decode to.
template <class T>
void check_lookup(const ReuseConv2d<T>& layer, ConvCase<T>& c) {
  for (index_t group = 0; group < c.geometry.groups; ++group) {
    CHECK(adr_test::table_fault(
              c.output(group), adr_test::dense_output(decoded_operands(layer, c, group)),
              layer.codebook_product(group)->tables(), c.geometry.kernel_height) == "");
  }
}

/// Pixels in a plane of two dimensions through the origin, another one in every call.
template <class T>
void fill_plane(const adr::TensorView<T>& images, Data& data) {
  const std::vector<double> axes = data.normals<double>(2 * images.channels);
  for (index_t n = 0; n < images.batch; ++n) {
    for (index_t y = 0; y < images.height; ++y) {
      for (index_t x = 0; x < images.width; ++x) {
        const double a = data.normal<double>();
        const double b = data.normal<double>();
        for (index_t c = 0; c < images.channels; ++c) {
          adr::reference::element(images, n, c, y, x) =
              static_cast<T>(a * axes[static_cast<std::size_t>(2 * c)] +
                             b * axes[static_cast<std::size_t>(2 * c + 1)]);
        }
      }
    }
  }
}

/// A layer with as many neuron vectors as pixels and no padding, ten channels.
ConvGeometry pixels(index_t height, index_t width) {
  ConvGeometry g;
  g.in_channels = 10;
  g.in_height = height;
  g.in_width = width;
  g.out_channels = 7;
  g.set_kernel(2);
  return g;
}

/// The true relative error of what codes of the last pass decode to.
template <class T>
double true_error(const ReuseConv2d<T>& layer, ConvCase<T>& c) {
  const adr::NeuronVectors<const T> vectors(c.geometry, c.x_view(), 0, NeuronVectorKind::pixel);
  return adr_test::relative_distance(adr_test::decoded(layer, 0), adr_test::all_vectors(vectors));
}

}  // namespace

TEMPLATE_TEST_CASE("Codebooks give the product of what their codes decode to", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const NeuronVectorKind kind : k_kinds) {
      const index_t length = adr::vector_length(named.geometry, kind);
      std::vector<ReuseConfig> configs = codebook_configs();
      configs.push_back(grouped(configs.front(), (length + 1) / 2));
      for (const ReuseConfig& config : configs) {
        Context context(2);
        ReuseConv2d<T> layer(named.geometry, with_kind(config, kind), context);
        for (const index_t batch : {3, 1, 4}) {
          INFO(named.name << ", " << shown(layer.config()) << ", batch " << batch);
          ConvCase<T> c(named.geometry, batch, data,
                        batch == 4 ? Placement{} : Placement{5, Start::misaligned});
          forward(layer, c);
          check_lookup(layer, c);
          CHECK(c.damage() == "");
          CHECK(layer.clustering().slices.empty());
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("Codebooks of few distinct vectors give the dense product", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const NeuronVectorKind kind : k_kinds) {
      // Whole patches and strips meet the padding in many ways.
      const index_t colours = kind == NeuronVectorKind::pixel ? 8 : 3;
      for (ReuseConfig config : codebook_configs()) {
        if (kind != NeuronVectorKind::pixel && config.codebook_size < 64) continue;
        config.kept_coordinates = adr::vector_length(named.geometry, kind);
        ReuseConv2d<T> layer(named.geometry, with_kind(config, kind));
        INFO(named.name << ", " << shown(layer.config()));
        ConvCase<T> c(named.geometry, 6, data);
        paint(c.input_like(c.x), kind, colours, data);
        for (int pass = 0; pass < 2; ++pass) {
          forward(layer, c);
          for (index_t group = 0; group < named.geometry.groups; ++group) {
            CHECK(adr_test::table_fault(c.output(group), adr_test::dense_output(c.operands(group)),
                                        layer.codebook_product(group)->tables(),
                                        named.geometry.kernel_height, 1e-4) == "");
          }
        }
        CHECK(layer.stats().relative_input_error() < 1e-4);
      }
    }
  }
}

TEST_CASE("Codebooks have the tables that are asked for") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(9, 8);
  ConvCase<float> c(g, 3, data);
  for (const TableType type : {TableType::int16, TableType::uint8}) {
    ReuseConv2d<float> layer(g, codebooks(2, 64, Quantizer::product, type));
    forward(layer, c);
    const adr::ProductTables& tables = layer.codebook_product()->tables();
    CHECK((tables.entry() == adr::TableEntry::int16) == (type == TableType::int16));
    CHECK(layer.stats().table_rounding_error == tables.rounding_error());
    CHECK(layer.stats().table_rounding_error > 0);
  }
  // Where the clusters make no error, that of eight bits would not be small beside it.
  paint(c.input_like(c.x), NeuronVectorKind::pixel, 4, data);
  ReuseConv2d<float> layer(g, codebooks(2, 64, Quantizer::product, TableType::automatic));
  forward(layer, c);
  CHECK(layer.codebook_product()->tables().entry() == adr::TableEntry::int16);
}

TEMPLATE_TEST_CASE("A grid gives the product of its centroids", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const NeuronVectorKind kind : k_kinds) {
      const index_t length = adr::vector_length(named.geometry, kind);
      for (const index_t group_length : {index_t{0}, (length + 1) / 2}) {
        ReuseConfig config = with_kind(with_method(Method::principal), kind);
        config.group_length = group_length;
        Context context(2);
        ReuseConv2d<T> layer(named.geometry, config, context);
        for (const index_t batch : {3, 1, 4}) {
          INFO(named.name << ", " << shown(config) << ", batch " << batch);
          ConvCase<T> c(named.geometry, batch, data,
                        batch == 4 ? Placement{} : Placement{5, Start::misaligned});
          forward(layer, c);
          for (index_t group = 0; group < named.geometry.groups; ++group) {
            REQUIRE(layer.clustering(group).slices.size() ==
                    (group_length == 0 || length == 1 ? std::size_t{1} : std::size_t{2}));
            auto expected = adr_test::dense_output(decoded_operands(layer, c, group));
            expected.terms += 2;
            CHECK(fault<T>(c.output(group), expected) == "");
          }
          CHECK(layer.codebook_product() == nullptr);
          CHECK(c.damage() == "");
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("A fine grid over few distinct vectors gives the dense product", "",
                   ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    // Patches that differ by a little padding alone may share a cell.
    for (const NeuronVectorKind kind : {NeuronVectorKind::pixel, NeuronVectorKind::strip}) {
      ReuseConfig config = with_kind(with_method(Method::principal), kind);
      config.hash_count = 16;
      ReuseConv2d<T> layer(named.geometry, config);
      INFO(named.name << ", " << shown(config));
      ConvCase<T> c(named.geometry, 6, data);
      paint(c.input_like(c.x), kind, 3, data);
      forward(layer, c);
      REQUIRE(layer.stats().relative_input_error() < 1e-2);
      for (index_t group = 0; group < named.geometry.groups; ++group) {
        CHECK(adr_test::share_fault(c.output(group), adr_test::dense_output(c.operands(group)),
                                    1e-3) == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("A subspace of all coordinates gives the dense product", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const NeuronVectorKind kind : k_kinds) {
      ReuseConfig config = with_kind(with_method(Method::subspace), kind);
      config.kept_coordinates = adr::vector_length(named.geometry, kind);
      Context context(2);
      ReuseConv2d<T> layer(named.geometry, config, context);
      for (const index_t batch : {9, 1, 4}) {
        INFO(named.name << ", " << shown(config) << ", batch " << batch);
        ConvCase<T> c(named.geometry, batch, data,
                      batch == 4 ? Placement{} : Placement{5, Start::misaligned});
        forward(layer, c);
        for (index_t group = 0; group < named.geometry.groups; ++group) {
          CHECK(adr_test::share_fault(c.output(group), adr_test::dense_output(c.operands(group)),
                                      1e-4) == "");
        }
        CHECK(layer.clustering().slices.empty());
        CHECK(c.damage() == "");
      }
    }
  }
}

TEST_CASE("A subspace is as large as its error asks for") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(9, 8);
  ConvCase<float> c(g, 3, data);
  fill_plane(c.input_like(c.x), data);
  ReuseConv2d<float> layer(g, with_method(Method::subspace));
  forward(layer, c);
  // Two coordinates and the mean, of ten.
  CHECK(adr_test::share_fault(c.output(0), adr_test::dense_output(c.operands(0)), 1e-4) == "");
  CHECK(layer.stats().forward.multiply_adds_done <=
        0.4 * layer.stats().forward.multiply_adds_dense);
  CHECK(layer.stats().relative_input_error() < 1e-3);
  data.fill_normal(c.x.view());
  layer.clear_cache();
  forward(layer, c);
  CHECK(layer.stats().forward.multiply_adds_done > 0.6 * layer.stats().forward.multiply_adds_dense);
}

TEMPLATE_TEST_CASE("A linear layer learns clusters of its rows", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const Method method : k_learned) {
    INFO(to_string(method));
    ReuseConfig config = with_method(method);
    config.codebook_size = 64;
    config.hash_count = 16;
    config.kept_coordinates = 21;
    Context context(2);
    ReuseLinear<T> layer(21, 13, config, context);
    for (const index_t rows : {70, 1, 33, 200}) {
      LinearCase<T> c(rows, 21, 13, data, Placement{rows % 2, Start::misaligned});
      paint(c.x.view(), 6, data);
      if (rows != 200) layer.clear_cache();
      forward(layer, c);
      CHECK(layer.stats().fits == (rows == 200 ? 0 : 1));
      if (method == Method::codebook) {
        CHECK(adr_test::table_fault(c.output(), adr_test::dense_output(decoded_operands(layer, c)),
                                    layer.codebook_product()->tables(), 1) == "");
      }
      if (method == Method::principal) {
        auto expected = adr_test::dense_output(decoded_operands(layer, c));
        expected.terms += 2;
        CHECK(fault<T>(c.output(), expected) == "");
      }
      // The last batch has other rows than those that were learned.
      if (rows != 200 || method == Method::subspace) {
        CHECK(adr_test::share_fault(c.output(), adr_test::dense_output(c.operands()), 2e-3) == "");
      }
      CHECK(c.damage() == "");
    }
  }
}

TEST_CASE("A frozen layer repeats its last pass and learns no more") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method : k_learned) {
      INFO(named.name << ", " << to_string(method));
      const auto groups = static_cast<int>(named.geometry.groups);
      ReuseConfig config = with_method(method);
      config.refit_interval = 3;
      ReuseConv2d<float> layer(named.geometry, config);
      ConvCase<float> c(named.geometry, 3, data);
      CHECK_FALSE(layer.frozen());
      forward(layer, c);
      forward(layer, c);
      const std::vector<float> bits = adr_test::elements_of(c.y);
      layer.freeze();
      CHECK(layer.frozen());
      for (int pass = 0; pass < 5; ++pass) {
        forward(layer, c);
        CHECK(adr_test::same_bits(adr_test::elements_of(c.y), bits));
        CHECK(layer.stats().fits == 0);
      }
      ConvCase<float> moved(named.geometry, 3, data);
      fill_plane(moved.input_like(moved.x), data);
      for (int pass = 0; pass < 8; ++pass) {
        if (pass == 3) layer.clear_cache();
        forward(layer, moved);
        CHECK(layer.stats().fits == 0);
      }
      forward(layer, c);
      CHECK(adr_test::same_bits(adr_test::elements_of(c.y), bits));
      layer.unfreeze();
      CHECK_FALSE(layer.frozen());
      forward(layer, moved);
      CHECK(layer.stats().fits == groups);
    }
  }
}

TEST_CASE("New weights make new tables, in frozen layers as well") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method : k_learned) {
      for (const bool frozen : {false, true}) {
        INFO(named.name << ", " << to_string(method) << ", frozen " << frozen);
        ReuseConfig config = with_kind(with_method(method), NeuronVectorKind::pixel);
        config.codebook_size = 64;
        config.hash_count = 16;
        config.kept_coordinates = named.geometry.group_in_channels();
        config.table_type = TableType::int16;
        ReuseConv2d<float> layer(named.geometry, config);
        ConvCase<float> c(named.geometry, 3, data);
        paint(c.input_like(c.x), NeuronVectorKind::pixel, 5, data);
        forward(layer, c);
        if (frozen) layer.freeze();
        for (int step = 0; step < 2; ++step) {
          if (step == 0) data.fill_normal(c.w.view());
          if (step == 1) c.w(c.w.view().rows - 1, c.w.view().cols - 1) += 4;
          forward(layer, c);
          CHECK(layer.stats().fits == 0);
          for (index_t group = 0; group < named.geometry.groups; ++group) {
            CHECK(adr_test::share_fault(c.output(group), adr_test::dense_output(c.operands(group)),
                                        3e-3) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("Freezing what has learned nothing is refused") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(5, 5);
  const auto refused = [&](Method method) {
    ReuseConv2d<float> layer(g, with_method(method));
    const std::string text = refusal([&] { layer.freeze(); });
    CHECK_FALSE(layer.frozen());
    return text;
  };
  CHECK_THAT(refused(Method::codebook), contains("freeze: there are no codebooks yet; run a "
                                                 "forward pass or load some first"));
  CHECK_THAT(refused(Method::principal), contains("freeze: no grid has been fitted yet"));
  CHECK_THAT(refused(Method::subspace), contains("freeze: no subspace has been fitted yet"));
  CHECK(refused(Method::dense) == "(no error)");
  CHECK(refused(Method::hyperplane) == "(no error)");
  ReuseLinear<float> linear(4, 3, with_method(Method::codebook));
  CHECK_THAT(refusal([&] { linear.freeze(); }), contains("freeze: there are no codebooks yet"));
  ReuseGemm<float> gemm(with_method(Method::codebook));
  CHECK_THAT(refusal([&] { gemm.freeze(); }), contains("freeze: nothing has been multiplied yet"));
  // Nothing can be learned from nothing.
  ReuseConv2d<float> layer(g, with_method(Method::codebook));
  ConvCase<float> empty(g, 0, data);
  forward(layer, empty);
  CHECK_THAT(refusal([&] { layer.freeze(); }), contains("freeze: there are no codebooks yet"));
}

TEST_CASE("Learned layers refuse groups of elements longer than their vectors") {
  const ConvGeometry g = pixels(5, 5);
  for (const Method method : k_learned) {
    const ReuseConfig config = grouped(with_method(method), 11);
    CHECK_THAT(refusal([&] { ReuseConv2d<float> layer(g, config); }),
               contains("ReuseConfig: group_length must be at most the length of a neuron vector "
                        "(10), got 11"));
    // A whole patch has 40 elements.
    CHECK(refusal([&] {
            ReuseConv2d<float> layer(g, with_kind(config, NeuronVectorKind::patch));
          }) == "(no error)");
    // A setting that is refused changes nothing.
    ReuseConv2d<float> layer(g, with_method(method));
    CHECK_THAT(refusal([&] { layer.set_config(config); }), contains("got 11"));
    CHECK(layer.config().group_length == 0);
  }
}

TEST_CASE("Clusters are learned in the first pass, at intervals, and when asked") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method : k_learned) {
      INFO(named.name << ", " << to_string(method));
      ReuseConfig config = with_method(method);
      config.refit_interval = 4;
      ReuseConv2d<float> layer(named.geometry, config);
      ConvCase<float> c(named.geometry, 3, data);
      std::vector<int> fits;
      for (int pass = 0; pass < 12; ++pass) {
        if (pass == 10) layer.clear_cache();
        forward(layer, c);
        REQUIRE(layer.stats().fits % static_cast<int>(named.geometry.groups) == 0);
        fits.push_back(layer.stats().fits / static_cast<int>(named.geometry.groups));
      }
      CHECK(fits == std::vector<int>{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0});
    }
  }
}

TEST_CASE("Clusters are learned anew when the data move, but not at once") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(9, 8);
  ConvCase<float> before(g, 3, data);
  ConvCase<float> after(g, 3, data);
  fill_plane(before.input_like(before.x), data);
  fill_plane(after.input_like(after.x), data);
  for (const Method method : k_learned) {
    INFO(to_string(method));
    ReuseConfig config = with_method(method);
    config.codebook_size = 256;
    ReuseConv2d<float> layer(g, config);
    std::vector<int> fits;
    const auto pass = [&](ConvCase<float>& c) {
      forward(layer, c);
      fits.push_back(layer.stats().fits);
    };
    pass(before);
    for (int i = 0; i < 6; ++i) pass(after);
    for (int i = 0; i < 6; ++i) pass(before);
    if (method == Method::principal) {
      // A grid without a measured error keeps to its interval.
      CHECK(fits == std::vector<int>{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    } else {
      CHECK(fits == std::vector<int>{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0});
    }
    // Data that stay are no reason.
    ReuseConv2d<float> steady(g, config);
    for (int i = 0; i < 12; ++i) {
      forward(steady, before);
      CHECK(steady.stats().fits == (i == 0 ? 1 : 0));
    }
  }
}

TEST_CASE("The measured error is that of the clusters") {
  Data data;
  INFO(data);
  for (const Method method : {Method::codebook, Method::principal}) {
    INFO(to_string(method));
    // At most 1024 vectors are all looked at, of more a sample.
    for (const index_t height : {9, 60}) {
      const ConvGeometry g = pixels(height, 13);
      ConvCase<double> c(g, 5, data);
      ReuseConv2d<double> layer(g, with_method(method));
      forward(layer, c);
      layer.freeze();
      forward(layer, c);
      const double expected = true_error(layer, c);
      REQUIRE(expected > 0.1);
      const double slack = height == 9 ? 1e-4 : 0.1;
      CHECK(std::abs(layer.stats().relative_input_error() - expected) < slack * expected);
      const auto vectors = static_cast<double>(5 * height * 13);
      CHECK(layer.stats().neuron_vectors == vectors * (method == Method::codebook ? 2.0 : 1.0));
    }
  }
}

TEST_CASE("Refining lowers the error from pass to pass") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(9, 8);
  ConvCase<float> first(g, 3, data);
  ConvCase<float> second(g, 3, data);
  ReuseConv2d<float> layer(g, with_method(Method::codebook));
  forward(layer, first);
  forward(layer, second);
  const double error = layer.stats().relative_input_error();
  for (int pass = 0; pass < 10; ++pass) forward(layer, second);
  CHECK(layer.stats().relative_input_error() < 0.98 * error);
  CHECK(layer.stats().fits == 0);
}

TEMPLATE_TEST_CASE("An input that is not finite is multiplied densely", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    const auto groups = static_cast<int>(named.geometry.groups);
    for (const Method method : k_learned) {
      for (const bool fitted : {false, true}) {
        INFO(named.name << ", " << to_string(method) << ", fitted " << fitted);
        constexpr T k_infinity = std::numeric_limits<T>::infinity();
        std::vector<T> values = {std::numeric_limits<T>::quiet_NaN(), k_infinity, -k_infinity};
        // Codebooks and subspaces are of floats, to which this is infinite; grids are not.
        if (sizeof(T) == sizeof(double) && method != Method::principal) {
          values.push_back(static_cast<T>(1e200));
        }
        ReuseConfig config = with_method(method);
        config.weight_gradient = WeightGradient::clusters;
        config.input_gradient = InputGradient::exact;
        ReuseConv2d<T> layer(named.geometry, config);
        ReuseConv2d<T> dense(named.geometry, with_method(Method::dense));
        ConvCase<T> c(named.geometry, 3, data);
        if (fitted) forward(layer, c);
        int fits = 0;
        for (const T value : values) {
          INFO("value " << value);
          // The last channel of the middle of an image, which some output meets.
          T& element =
              adr::reference::element(c.input_like(c.x), 1, named.geometry.in_channels - 1, 3, 2);
          const T before = element;
          element = value;
          forward(layer, c);
          CHECK(layer.stats().dense_fallbacks == 1);
          fits += layer.stats().fits;
          backward(layer, c);
          CHECK(layer.stats().weight_gradient_form == WeightGradient::exact);
          const Matrix d_w = c.weight_gradient(groups - 1);
          const Matrix y = c.output(groups - 1);
          forward(dense, c);
          backward(dense, c);
          const Matrix expected_d_w = c.weight_gradient(groups - 1);
          const Matrix expected_y = c.output(groups - 1);
          CHECK(adr_test::same_bits(y.elements, expected_y.elements));
          CHECK(adr_test::same_bits(d_w.elements, expected_d_w.elements));
          element = before;
        }
        forward(layer, c);
        backward(layer, c);
        CHECK(layer.stats().dense_fallbacks == 0);
        CHECK(layer.stats().weight_gradient_form == WeightGradient::clusters);
        // The finite vectors of the first pass were enough to learn from.
        CHECK(fits == (fitted ? 0 : groups));
        CHECK(layer.stats().fits == 0);
      }
    }
  }
}

TEST_CASE("An input without a finite vector teaches nothing") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(6, 5);
  for (const Method method : k_learned) {
    INFO(to_string(method));
    ReuseConv2d<float> layer(g, with_method(method));
    ConvCase<float> c(g, 2, data);
    ConvCase<float> good(g, 2, data);
    for (index_t i = 0; i < c.x.view().rows; ++i) {
      std::fill_n(c.x.view().row(i), c.x.view().cols, std::numeric_limits<float>::quiet_NaN());
    }
    forward(layer, c);
    CHECK(layer.stats().dense_fallbacks == 1);
    CHECK(layer.stats().fits == 0);
    CHECK_THAT(refusal([&] { layer.freeze(); }), contains("freeze: "));
    forward(layer, good);
    CHECK(layer.stats().dense_fallbacks == 0);
    CHECK(layer.stats().fits == 1);
  }
}

TEST_CASE("Learned layers take batches of any size, and none") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method : k_learned) {
      INFO(named.name << ", " << to_string(method));
      ReuseConfig config = with_method(method);
      config.weight_gradient = WeightGradient::clusters;
      config.input_gradient = InputGradient::sparse;
      ReuseConv2d<float> layer(named.geometry, config);
      for (const index_t batch : {0, 2, 0, 1, 5, 3}) {
        INFO("batch " << batch);
        ConvCase<float> c(named.geometry, batch, data, Placement{3, Start::misaligned});
        forward(layer, c);
        backward(layer, c);
        CHECK(layer.stats().dense_fallbacks == 0);
        CHECK(c.damage() == "");
        for (index_t group = 0; group < named.geometry.groups; ++group) {
          if (batch == 0) {
            for (const double element : c.weight_gradient(group).elements) CHECK(element == 0);
          } else if (method == Method::principal) {
            CHECK(fault<float>(c.output(group),
                               adr_test::dense_output(decoded_operands(layer, c, group))) == "");
          } else if (method == Method::codebook) {
            CHECK(adr_test::table_fault(
                      c.output(group), adr_test::dense_output(decoded_operands(layer, c, group)),
                      layer.codebook_product(group)->tables(), named.geometry.kernel_height) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("Learned layers take the scratch that they say") {
  Data data;
  INFO(data);
  for (const NamedGeometry& named : shared_geometries()) {
    for (const Method method :
         {Method::hyperplane, Method::codebook, Method::principal, Method::subspace}) {
      for (const WeightGradient weights :
           {WeightGradient::clusters, WeightGradient::sparse, WeightGradient::exact}) {
        for (const InputGradient input :
             {InputGradient::exact, InputGradient::sparsified, InputGradient::own_clusters}) {
          const bool strided = named.geometry.stride_height > 1;
          if (strided && input == InputGradient::own_clusters) continue;
          for (const int threads : {1, 3}) {
            INFO(named.name << ", " << to_string(method) << ", forms " << static_cast<int>(weights)
                            << ", " << static_cast<int>(input) << ", " << threads << " threads");
            ReuseConfig config = with_method(method);
            config.weight_gradient = weights;
            config.input_gradient = input;
            Context context(threads);
            ReuseConv2d<float> layer(named.geometry, config, context);
            ConvCase<float> c(named.geometry, 3, data, Placement{1, Start::aligned});
            forward(layer, c);
            backward(layer, c);
            CHECK(context.workspace().peak_bytes() == layer.workspace_bytes(3));
          }
        }
      }
    }
  }
}

TEST_CASE("Learned layers say what scratch falling back took") {
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(6, 5);
  for (const Method method : k_learned) {
    INFO(to_string(method));
    ReuseConfig config = with_method(method);
    config.input_gradient = InputGradient::own_clusters;
    Context context(2);
    ReuseConv2d<float> layer(g, config, context);
    ConvCase<float> c(g, 2, data);
    c.x(0, 0) = std::numeric_limits<float>::quiet_NaN();
    c.d_y(0, 0) = std::numeric_limits<float>::quiet_NaN();
    forward(layer, c);
    CHECK(context.workspace().peak_bytes() <= layer.workspace_bytes(2));
    backward(layer, c);
    CHECK(context.workspace().peak_bytes() <= layer.workspace_bytes(2));
  }
}

TEST_CASE("Learned layers change their setting and can be moved") {
  Data data;
  INFO(data);
  const ConvGeometry g = shared_geometries()[2].geometry;
  ConvCase<float> c(g, 2, data);
  ReuseConv2d<float> layer(g, with_method(Method::codebook));
  forward(layer, c);
  backward(layer, c);
  const std::vector<float> bits = c.results();
  for (const Method method : {Method::principal, Method::dense, Method::subspace}) {
    layer.set_config(with_method(method));
    CHECK(layer.codebook_product() == nullptr);
    forward(layer, c);
    CHECK(layer.stats().method == method);
  }
  layer.set_config(with_method(Method::codebook));
  CHECK_THAT(refusal([&] { backward(layer, c); }), contains("run forward first"));
  forward(layer, c);
  CHECK(layer.stats().fits == 2);
  backward(layer, c);
  CHECK(adr_test::same_bits(c.results(), bits));
  ReuseConv2d<float> other(g, with_method(Method::codebook));
  forward(other, c);
  ReuseConv2d<float> moved = std::move(other);
  backward(moved, c);
  CHECK(adr_test::same_bits(c.results(), bits));
}

TEST_CASE("Learned layers measure their stages when asked") {
  using adr::Stage;
  Data data;
  INFO(data);
  const ConvGeometry g = pixels(20, 20);
  ConvCase<float> c(g, 2, data);
  for (const bool timed : {false, true}) {
    const auto check = [&](Method method, const std::vector<Stage>& stages) {
      ReuseConfig config = with_method(method);
      config.time_stages = timed;
      ReuseConv2d<float> layer(g, config);
      forward(layer, c);
      for (const Stage stage : stages) {
        CHECK((layer.stats().forward_times.seconds(stage) > 0) == timed);
      }
    };
    check(Method::codebook,
          {Stage::fit, Stage::encode, Stage::refine, Stage::tables, Stage::lookup});
    check(Method::principal, {Stage::fit, Stage::hash, Stage::cluster});
    check(Method::subspace, {Stage::fit, Stage::encode, Stage::subspace_product});
  }
}

TEST_CASE("reuse_gemm looks products up in codebooks") {
  Data data;
  INFO(data);
  ReuseConfig config = with_method(Method::codebook);
  config.weight_gradient = WeightGradient::clusters;
  config.input_gradient = InputGradient::own_clusters;
  config.table_type = TableType::int16;
  config.codebook_size = 64;
  ReuseGemm<float> reuse(config);
  for (const index_t rows : {60, 17, 150}) {
    INFO(rows << " rows");
    LinearCase<float> c(rows, 30, 12, data, Placement{1, Start::misaligned});
    adr_test::GuardedBuffer<float> b(30, 12, 14);
    adr_test::GuardedBuffer<float> d_b(30, 12, 13);
    data.fill_normal(b.view());
    paint(c.d_y.view(), 5, data);
    reuse.clear_cache();  // other colours
    adr::reuse_gemm<float>(c.x.view(), b.view(), c.y.view(), reuse);
    CHECK(reuse.stats().fits == 1);
    adr::reuse_gemm_weight_gradient<float>(c.x.view(), c.d_y.view(), d_b.view(), reuse);
    adr::reuse_gemm_input_gradient<float>(c.d_y.view(), b.view(), c.d_x.view(), reuse);
    CHECK(reuse.stats().weight_gradient_form == WeightGradient::clusters);
    CHECK(reuse.stats().input_gradient_form == InputGradient::own_clusters);
    const auto* product = reuse.product(30, 12).codebook_product();
    REQUIRE(product != nullptr);
    adr_test::Operands o;
    o.w = Matrix(b.view());
    o.d_y = Matrix(c.d_y.view());
    o.x = adr_test::decoded(product->codebook().decoder(), product->codes());
    CHECK(adr_test::table_fault(Matrix(c.y.view()), adr_test::dense_output(o), product->tables(),
                                1) == "");
    CHECK(adr_test::share_fault(Matrix(d_b.view()), adr_test::dense_weight_gradient(o), 1e-5) ==
          "");
    CHECK(adr_test::share_fault(Matrix(c.d_x.view()), adr_test::dense_input_gradient(o), 2e-3) ==
          "");
    CHECK(c.damage() + b.damage() + d_b.damage() == "");
  }
  reuse.freeze();
  reuse.clear_cache();
  LinearCase<float> c(40, 30, 12, data);
  adr_test::GuardedBuffer<float> b(30, 12, 12);
  data.fill_normal(b.view());
  adr::reuse_gemm<float>(c.x.view(), b.view(), c.y.view(), reuse);
  CHECK(reuse.stats().fits == 0);
  reuse.unfreeze();
  adr::reuse_gemm<float>(c.x.view(), b.view(), c.y.view(), reuse);
  CHECK(reuse.stats().fits == 1);
}
