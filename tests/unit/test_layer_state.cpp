// What a layer has learned, saved and loaded: a new layer goes on with the same bits, and a file
// that is not its own changes nothing.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "adr/nn/reuse_conv2d.hpp"
#include "adr/nn/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/layer_instances.hpp"
#include "support/refusal.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::ConvGeometry;
using adr::index_t;
using adr::Layout;
using adr::Method;
using adr::ReuseConfig;
using adr::ReuseConv2d;
using adr::ReuseLinear;
using adr::VectorView;
using adr_test::contains;
using adr_test::ConvCase;
using adr_test::Data;
using adr_test::elements_of;
using adr_test::LinearCase;
using adr_test::message_of;
using adr_test::read_bytes;
using adr_test::refusal;
using adr_test::same_bits;
using adr_test::TemporaryFolder;
using adr_test::write_bytes;

ReuseConfig codebook() {
  ReuseConfig config;
  config.method = Method::codebook;
  config.codebooks = 2;
  config.codebook_size = 16;
  return config;
}

/// Two groups with padding, so that there are two codebooks with a reserved entry each.
ConvGeometry geometry() {
  ConvGeometry g;
  g.in_channels = 8;
  g.out_channels = 6;
  g.groups = 2;
  g.in_height = g.in_width = 9;
  g.set_kernel(3);
  g.set_padding(1);
  return g;
}

std::vector<float> output_of(ReuseConv2d<float>& layer, ConvCase<float>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
  return elements_of(c.y);
}

}  // namespace

TEST_CASE("A layer with loaded codebooks gives the bits of the one that saved them") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("conv.state");
  ConvCase<float> seen(geometry(), 5, data);
  ConvCase<float> unseen(geometry(), 3, data);
  ReuseConv2d<float> first(geometry(), codebook());
  output_of(first, seen);
  first.save_state(path);

  ReuseConv2d<float> second(geometry(), codebook());
  second.load_state(path);
  REQUIRE(second.codebook_product(1)->codebook().fitted());
  SECTION("frozen") {
    first.freeze();
    second.freeze();
    REQUIRE(same_bits(output_of(first, unseen), output_of(second, unseen)));
    CHECK(second.stats().fits == 0);
    CHECK(second.frozen());
  }
  SECTION("learning on") {
    REQUIRE(same_bits(output_of(first, unseen), output_of(second, unseen)));
    REQUIRE(same_bits(output_of(first, seen), output_of(second, seen)));
    CHECK(second.stats().fits == 0);
  }
  SECTION("a frozen layer that loads stays frozen and takes the new codebooks") {
    ConvCase<float> other(geometry(), 4, data);
    ReuseConv2d<float> third(geometry(), codebook());
    output_of(third, other);
    third.freeze();
    const std::vector<float> before = output_of(third, unseen);
    third.load_state(path);
    CHECK(third.frozen());
    first.freeze();
    const std::vector<float> after = output_of(third, unseen);
    CHECK_FALSE(same_bits(before, after));
    CHECK(same_bits(output_of(first, unseen), after));
  }
}

TEST_CASE("A linear layer loads what it saved") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  LinearCase<double> c(90, 12, 5, data);
  ReuseLinear<double> first(12, 5, codebook());
  first.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
  first.save_state(folder.file("linear.state"));
  first.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
  const std::vector<double> expected = elements_of(c.y);

  ReuseLinear<double> second(12, 5, codebook());
  second.load_state(folder.file("linear.state"));
  second.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
  CHECK(same_bits(elements_of(c.y), expected));
}

TEST_CASE("A state file of another layer is refused and changes nothing") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("conv.state");
  ConvCase<float> c(geometry(), 5, data);
  {
    ReuseConv2d<float> first(geometry(), codebook());
    output_of(first, c);
    first.save_state(path);
  }
  const auto refused = [&](const ConvGeometry& g, const ReuseConfig& config) {
    ReuseConv2d<float> layer(g, config);
    const std::string message = message_of<std::runtime_error>([&] { layer.load_state(path); });
    CHECK_FALSE(layer.codebook_product()->codebook().fitted());
    return message;
  };
  ConvGeometry other = geometry();
  other.out_channels = 8;
  CHECK_THAT(refused(other, codebook()), contains("outputs") && contains("3") && contains("4"));
  other = geometry();
  other.groups = 1;
  CHECK_THAT(refused(other, codebook()), contains("groups") && contains("2") && contains("1"));
  other = geometry();
  other.set_kernel(5);
  CHECK_THAT(refused(other, codebook()), contains("columns") && contains("36") && contains("100"));
  other = geometry();
  other.set_padding(0);
  CHECK_THAT(refused(other, codebook()), contains("reserves_padding"));
  ReuseConfig config = codebook();
  config.neuron_vectors = adr::NeuronVectorKind::patch;
  CHECK_THAT(refused(geometry(), config),
             contains("neuron_vectors") && contains("strip") && contains("patch"));
  config = codebook();
  config.codebooks = 3;
  CHECK_THAT(refused(geometry(), config), contains("codebooks") && contains("2") && contains("3"));
}

TEST_CASE("A damaged or missing state file is refused and changes nothing") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("conv.state");
  ConvCase<float> c(geometry(), 5, data);
  ReuseConv2d<float> layer(geometry(), codebook());
  output_of(layer, c);
  layer.save_state(path);
  layer.freeze();
  const std::vector<float> expected = output_of(layer, c);
  const auto refused = [&] {
    const std::string message = message_of<std::runtime_error>([&] { layer.load_state(path); });
    CHECK(same_bits(output_of(layer, c), expected));
    return message;
  };
  auto bytes = read_bytes(path);
  // In the codebook of the second group, when that of the first has been read already.
  auto flipped = bytes;
  flipped[bytes.size() - 10] = static_cast<char>(flipped[bytes.size() - 10] ^ 4);
  write_bytes(path, flipped);
  CHECK_THAT(refused(), contains("checksum"));
  bytes.resize(bytes.size() / 2);
  write_bytes(path, bytes);
  CHECK_THAT(refused(), contains("bytes"));
  std::remove(path.c_str());
  CHECK_THAT(refused(), contains(path));
}

TEST_CASE("A layer without codebooks has no state to save or load") {
  const TemporaryFolder folder;
  const std::string path = folder.file("nothing.state");
  ReuseConfig config;
  config.sub_vector_length = 9;
  ReuseConv2d<float> published(geometry(), config);
  const std::string rule =
      "a state file holds what method codebook has learned; the method of this layer is hyperplane";
  CHECK(refusal([&] { published.save_state(path); }) == rule);
  CHECK(refusal([&] { published.load_state(path); }) == rule);
  ReuseConv2d<float> unfitted(geometry(), codebook());
  CHECK(refusal([&] { unfitted.save_state(path); }) ==
        "save_state: there are no codebooks yet; run a forward pass first");
}
