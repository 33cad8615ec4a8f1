// What a layer has learned and counted, saved and loaded: a new layer goes on with the same bits,
// whatever the method, and a file that is not its own changes nothing.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_conv2d.hpp"
#include "adr/reuse_linear.hpp"
#include "property/layer_cases.hpp"
#include "property/shared_cases.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/refusal.hpp"
#include "support/state_bytes.hpp"
#include "training/temporary_folder.hpp"

namespace {

using adr::ConvGeometry;
using adr::GradientCosts;
using adr::HashCenter;
using adr::index_t;
using adr::InputGradient;
using adr::Method;
using adr::NeuronVectorKind;
using adr::Plan;
using adr::Report;
using adr::ReuseConv2d;
using adr::ReuseLinear;
using adr::WeightGradient;
using adr_test::Bytes;
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
using adr_test::with_method;
using adr_test::write_bytes;

constexpr Method k_methods[] = {Method::exact, Method::published, Method::subspace,
                                Method::clustered};
/// Passes before a layer is saved; as many follow.
constexpr int k_half = 7;

/// Two groups with padding, so that there are two subspaces.
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

struct NamedConfig {
  std::string name;
  Plan config;
};

NamedConfig named(
    const std::string& name, Method method,
    const std::function<void(Plan&)>& change = [](Plan&) {}) {
  Plan config = with_method(method);
  config.meter_interval = 3;
  change(config);
  return {name, config};
}

void round_gradients(Plan& config) {
  config.weight_gradient = WeightGradient::rounded;
  config.input_gradient = InputGradient::rounded;
}

/// Every method with everything that it may learn or count.
std::vector<NamedConfig> all_configs() {
  const auto reuse = [](Plan& c) {
    c.cluster_reuse = true;
    c.max_product_age = 2;
  };
  return {
      named("exact", Method::exact),
      named("exact, rounded", Method::exact, round_gradients),
      named("planes", Method::published),
      named("planes through the mean", Method::published,
            [](Plan& c) {
              c.hash_center = HashCenter::mean;
              c.refit_interval = 10;
            }),
      named("cluster reuse", Method::published, reuse),
      named("cluster reuse, exact", Method::published,
            [&](Plan& c) {
              c.cluster_reuse = true;
              c.input_gradient = InputGradient::dense;
            }),
      named("cluster reuse, long signatures, few slots, own planes", Method::published,
            [&](Plan& c) {
              reuse(c);
              c.hash_count = 20;
              c.vector_length = 5;
              c.cluster_cache_limit = 40;
              c.shared_hyperplanes = false;
            }),
      named("cluster reuse, centred", Method::published,
            [&](Plan& c) {
              reuse(c);
              c.hash_center = HashCenter::mean;
              c.refit_interval = 9;
            }),
      named("clustered", Method::clustered),
      named("subspace", Method::subspace),
      named("subspace, refitted", Method::subspace,
            [](Plan& c) {
              c.kept_coordinates = 3;
              c.refit_interval = 10;
            }),
      named("subspace of pixels, refitted, rounded", Method::subspace,
            [](Plan& c) {
              round_gradients(c);
              c.neuron_vectors = NeuronVectorKind::pixel;
              c.refit_interval = 10;
            }),
      named("subspace, exact, from clusters", Method::subspace,
            [](Plan& c) {
              c.input_gradient = InputGradient::dense;
              c.weight_gradient = WeightGradient::clusters;
            }),
  };
}

/// The operands of a training step after the other: weights change in every second one, output
/// gradients have zeros.
template <class Case>
std::vector<Case> steps(const std::function<Case(int)>& make, Data& data) {
  std::vector<Case> cases;
  for (int p = 0; p < 2 * k_half; ++p) {
    cases.push_back(make(p));
    Case& step = cases.back();
    for (index_t i = 0; i < step.w.view().rows; ++i) {
      for (index_t j = 0; p > 0 && j < step.w.view().cols; ++j) {
        const auto before = cases[static_cast<std::size_t>(p) - 1].w(i, j);
        step.w(i, j) = p % 2 == 0 ? before + step.w(i, j) / 8 : before;
      }
    }
    for (index_t i = 0; i < step.d_y.view().rows; ++i) {
      for (index_t j = 0; j < step.d_y.view().cols; ++j) {
        if (data.between(0, 2) > 0) step.d_y(i, j) = 0;
      }
    }
  }
  return cases;
}

template <class T>
std::vector<ConvCase<T>> conv_steps(Data& data) {
  return steps<ConvCase<T>>([&](int p) { return ConvCase<T>(geometry(), 2 + p % 3, data); }, data);
}

template <class T>
void run(ReuseConv2d<T>& layer, ConvCase<T>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.input_like(c.d_x), c.d_w.view(), c.d_bias.vector()});
}
template <class T>
void run(ReuseLinear<T>& layer, LinearCase<T>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y.view());
  layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                 {c.d_x.view(), c.d_w.view(), c.d_bias.vector()});
}

/// What decisions rest on.
std::vector<double> numbers_of(const Report& s) {
  return {static_cast<double>(s.fits),
          static_cast<double>(s.dense_fallbacks),
          static_cast<double>(s.weight_gradient_form),
          static_cast<double>(s.input_gradient_form),
          s.neuron_vectors,
          s.clusters,
          s.known_vectors,
          s.reused_products,
          s.total_energy,
          s.within_cluster_energy,
          s.gradient_density,
          s.output_error_energy,
          s.sampled_output_energy,
          s.forward.multiply_adds_done,
          s.weight_gradient.multiply_adds_done,
          s.input_gradient.multiply_adds_done};
}

/// Runs `first` through all steps and saves it half way; a layer that loads the file must give the
/// bits of the second half. Returns the fits of the second half.
template <class Layer, class Case>
int check_goes_on(Layer& first, Layer& second, std::vector<Case>& cases) {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  for (std::size_t p = 0; p < k_half; ++p) run(first, cases[p]);
  first.save_state(path);
  std::vector<decltype(cases[0].results())> expected;
  std::vector<std::vector<double>> expected_numbers;
  int fits = 0;
  for (std::size_t p = k_half; p < cases.size(); ++p) {
    run(first, cases[p]);
    expected.push_back(cases[p].results());
    expected_numbers.push_back(numbers_of(first.report()));
    fits += first.report().fits;
  }
  second.load_state(path);
  second.save_state(folder.file("again"));
  CHECK(read_bytes(folder.file("again")) == read_bytes(path));
  for (std::size_t p = k_half; p < cases.size(); ++p) {
    INFO("pass " << p);
    run(second, cases[p]);
    CHECK(same_bits(cases[p].results(), expected[p - k_half]));
    CHECK(numbers_of(second.report()) == expected_numbers[p - k_half]);
  }
  return fits;
}

std::vector<float> output_of(ReuseConv2d<float>& layer, ConvCase<float>& c) {
  layer.forward(c.x_view(), c.w_view(), c.bias.vector(), c.y_view());
  return elements_of(c.y);
}

}  // namespace

TEMPLATE_TEST_CASE("A loaded convolution goes on to the bits of the one that was saved", "",
                   ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  auto cases = conv_steps<TestType>(data);
  for (const NamedConfig& c : all_configs()) {
    INFO(c.name);
    ReuseConv2d<TestType> first(geometry(), c.config);
    ReuseConv2d<TestType> second(geometry(), c.config);
    const int fits = check_goes_on(first, second, cases);
    const bool learns = c.config.method == Method::subspace;
    CHECK(fits == (learns && c.config.refit_interval == 10 ? 2 : 0));
  }
}

TEMPLATE_TEST_CASE("A loaded linear layer goes on to the bits of the one that was saved", "",
                   ADR_TEST_ELEMENTS) {
  Data data;
  INFO(data);
  auto cases = steps<LinearCase<TestType>>(
      [&](int p) { return LinearCase<TestType>(90 + 10 * p, 12, 5, data); }, data);
  for (const NamedConfig& c : all_configs()) {
    if (c.config.neuron_vectors != NeuronVectorKind::automatic) continue;
    INFO(c.name);
    ReuseLinear<TestType> first(12, 5, c.config);
    ReuseLinear<TestType> second(12, 5, c.config);
    check_goes_on(first, second, cases);
  }
}

TEST_CASE("A loaded layer notices drift where the one that was saved does") {
  Data data;
  INFO(data);
  auto cases = conv_steps<float>(data);
  // From here on vectors lie elsewhere, and no longer near a subspace.
  for (std::size_t p = 0; p < cases.size(); ++p) {
    ConvCase<float>& c = cases[p];
    const adr::TensorView<float> x = c.input_like(c.x);
    const bool moved = p >= k_half + 2;
    for (index_t n = 0; n < x.batch; ++n) {
      for (index_t i = 0; i < x.image_size(); ++i) {
        const index_t channel = i / (x.height * x.width);
        float& element = x.image(n)[i];
        if (!moved && channel % 4 > 0) element = 0.01F * element + 0.3F;
        if (moved) element += 2.0F;
      }
    }
  }
  const Plan config = named("", Method::subspace, [](Plan& c) { c.kept_coordinates = 4; }).config;
  ReuseConv2d<float> first(geometry(), config);
  ReuseConv2d<float> second(geometry(), config);
  CHECK(check_goes_on(first, second, cases) == 2);
}

TEST_CASE("What is usual for a layer is loaded, so that diverse data are no drift") {
  Data data;
  INFO(data);
  std::vector<ConvCase<float>> cases;
  // Few vectors to fit to, which later ones do not resemble.
  ConvGeometry g = geometry();
  g.in_height = g.in_width = 3;
  cases.reserve(2 * k_half);
  for (int p = 0; p < 2 * k_half; ++p) cases.emplace_back(g, p == 0 ? 1 : 20, data);
  Plan config = with_method(Method::subspace);
  config.neuron_vectors = NeuronVectorKind::patch;
  config.kept_coordinates = 9;
  ReuseConv2d<float> first(g, config);
  ReuseConv2d<float> second(g, config);
  CHECK(check_goes_on(first, second, cases) == 0);
}

TEST_CASE("A demanded fit is still demanded of a loaded layer") {
  Data data;
  INFO(data);
  auto cases = conv_steps<float>(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  for (const Method method : {Method::subspace}) {
    INFO(to_string(method));
    ReuseConv2d<float> first(geometry(), with_method(method));
    run(first, cases[0]);
    first.clear_cache();
    first.save_state(path);
    ReuseConv2d<float> second(geometry(), with_method(method));
    second.load_state(path);
    run(second, cases[1]);
    CHECK(second.report().fits == 2);
    run(second, cases[2]);
    CHECK(second.report().fits == 0);
  }
}

TEST_CASE("The costs of gradients are loaded, and with them the forms that they choose") {
  Data data;
  INFO(data);
  auto cases = conv_steps<float>(data);
  struct Costly {
    std::string name;
    Method method;
    void (*change)(GradientCosts&);
    WeightGradient weights;
    InputGradient input;
  };
  using Costs = GradientCosts;
  GradientCosts timed;
  timed.sparse_weights = timed.sparse_input = GradientCosts::k_sparse;
  const Costly changes[] = {
      {"sparse weights", Method::exact, [](Costs& c) { c.sparse_weights = 100; },
       WeightGradient::dense, InputGradient::over_non_zeros},
      {"sparse input", Method::exact, [](Costs& c) { c.sparse_input = 100; },
       WeightGradient::over_non_zeros, InputGradient::dense},
      {"weights not timed", Method::exact, [](Costs& c) { c.sparse_weights.reset(); },
       WeightGradient::dense, InputGradient::over_non_zeros},
      {"input not timed", Method::exact, [](Costs& c) { c.sparse_input.reset(); },
       WeightGradient::over_non_zeros, InputGradient::dense},
      {"listing", Method::exact, [](Costs& c) { c.listing = 100; }, WeightGradient::dense,
       InputGradient::dense},
      {"clusters", Method::subspace, [](Costs& c) { c.cluster_weights = 1e-6; },
       WeightGradient::clusters, InputGradient::over_non_zeros},
  };
  for (const Costly& change : changes) {
    INFO(change.name);
    Plan config = with_method(change.method);
    const bool dense = change.method == Method::exact;
    config.input_gradient = InputGradient::exact;
    config.weight_gradient = dense ? WeightGradient::exact : WeightGradient::automatic;
    ReuseConv2d<float> unaware(geometry(), config);
    unaware.set_gradient_costs(timed);
    run(unaware, cases.back());
    CHECK(unaware.report().weight_gradient_form == WeightGradient::over_non_zeros);
    CHECK(unaware.report().input_gradient_form == InputGradient::over_non_zeros);
    ReuseConv2d<float> first(geometry(), config);
    GradientCosts costs = timed;
    change.change(costs);
    first.set_gradient_costs(costs);
    ReuseConv2d<float> second(geometry(), config);
    check_goes_on(first, second, cases);
    CHECK(second.report().weight_gradient_form == change.weights);
    CHECK(second.report().input_gradient_form == change.input);
  }
}

TEST_CASE("A layer that was saved before its first pass is as new") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  ConvCase<float> c(geometry(), 3, data);
  for (const Method method : k_methods) {
    INFO(to_string(method));
    ReuseConv2d<float> first(geometry(), with_method(method));
    first.save_state(path);
    ReuseConv2d<float> second(geometry(), with_method(method));
    run(second, c);
    second.load_state(path);
    CHECK(same_bits(output_of(second, c), output_of(first, c)));
    CHECK(numbers_of(second.report()) == numbers_of(first.report()));
  }
}

TEST_CASE("A gradient after loading needs a forward pass first") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  ConvCase<float> c(geometry(), 3, data);
  for (const Method method : k_methods) {
    INFO(to_string(method));
    ReuseConv2d<float> layer(geometry(), with_method(method));
    run(layer, c);
    layer.save_state(path);
    layer.load_state(path);
    CHECK(layer.workspace_bytes(3) > 0);
    const std::string message = refusal([&] {
      layer.backward(c.x_view(), c.w_view(), c.d_y_view(),
                     {c.input_like(c.d_x), c.d_w.view(), c.d_bias.vector()});
    });
    CHECK_THAT(message, contains(method == Method::exact ? "(no error)" : "run forward first"));
  }
}

TEST_CASE("Frozen layers load, and stay frozen") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("conv.state");
  ConvCase<float> seen(geometry(), 5, data);
  ConvCase<float> unseen(geometry(), 3, data);
  for (const Method method : {Method::subspace}) {
    INFO(to_string(method));
    const Plan config = with_method(method);
    ReuseConv2d<float> first(geometry(), config);
    output_of(first, seen);
    first.save_state(path);

    ReuseConv2d<float> second(geometry(), config);
    second.load_state(path);
    CHECK_FALSE(second.frozen());
    // One that has learned something else, and is frozen.
    ConvCase<float> other(geometry(), 4, data);
    ReuseConv2d<float> third(geometry(), config);
    output_of(third, other);
    third.freeze();
    const std::vector<float> before = output_of(third, unseen);
    third.load_state(path);
    CHECK(third.frozen());
    first.freeze();
    second.freeze();
    const std::vector<float> expected = output_of(first, unseen);
    CHECK_FALSE(same_bits(before, expected));
    CHECK(same_bits(output_of(second, unseen), expected));
    CHECK(same_bits(output_of(third, unseen), expected));
    CHECK(third.report().fits == 0);

    first.save_state(path);
    ReuseConv2d<float> fourth(geometry(), config);
    fourth.load_state(path);
    CHECK(fourth.frozen());
    CHECK(same_bits(output_of(fourth, unseen), expected));
    first.unfreeze();
    fourth.unfreeze();
    CHECK(same_bits(output_of(first, seen), output_of(fourth, seen)));

    ReuseConv2d<float>(geometry(), config).save_state(path);
    CHECK_THAT(message_of<std::runtime_error>([&] { third.load_state(path); }),
               contains("nothing was learned, and this layer is frozen"));
    CHECK(third.frozen());
    CHECK(same_bits(output_of(third, unseen), expected));
  }
}

TEST_CASE("A state file of another shape is refused and changes nothing") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("conv.state");
  const Plan config = with_method(Method::subspace);
  ConvCase<float> c(geometry(), 5, data);
  {
    ReuseConv2d<float> first(geometry(), config);
    output_of(first, c);
    first.save_state(path);
  }
  const auto refused = [&](const ConvGeometry& g) {
    ReuseConv2d<float> layer(g, config);
    const std::string message = message_of<std::runtime_error>([&] { layer.load_state(path); });
    CHECK(layer.can_freeze() == (message == "(no error)"));
    return message;
  };
  CHECK(refused(geometry()) == "(no error)");
  ConvGeometry other = geometry();
  other.out_channels = 8;
  CHECK_THAT(refused(other), contains("is for outputs 3, this layer has 4"));
  other = geometry();
  other.groups = 1;
  CHECK_THAT(refused(other), contains("is for groups 2, this layer has 1"));
  other = geometry();
  other.set_kernel(5);
  CHECK_THAT(refused(other), contains("is for columns 36, this layer has 100"));
  // As many columns, from more channels.
  other = geometry();
  other.in_channels = 72;
  other.set_kernel(1);
  other.set_padding(0);
  CHECK_THAT(refused(other), contains("this layer has"));
#if !defined(ADR_TEST_FLOAT_ALONE)  // else layers of doubles are compiled nowhere
  ReuseConv2d<double> wide(geometry(), config);
  CHECK_THAT(message_of<std::runtime_error>([&] { wide.load_state(path); }),
             contains("is for element_type float, this layer has double"));
#endif
}

TEST_CASE("A state file of another setting is refused by what differs") {
  struct Difference {
    std::string message;
    std::function<void(Plan&)> change;
  };
  const std::vector<Difference> differences = {
      {"method published, this layer has exact", [](Plan& c) { c.method = Method::exact; }},
      {"vector_length 4, this layer has 9", [](Plan& c) { c.vector_length = 9; }},
      {"hash_count 5, this layer has 6", [](Plan& c) { c.hash_count = 6; }},
      {"radius 0.001, this layer has 0.002", [](Plan& c) { c.radius = 0.002; }},
      {"hash_center origin, this layer has mean",
       [](Plan& c) { c.hash_center = HashCenter::mean; }},
      {"shared_hyperplanes 1, this layer has 0", [](Plan& c) { c.shared_hyperplanes = false; }},
      {"cluster_reuse 1, this layer has 0", [](Plan& c) { c.cluster_reuse = false; }},
      {"max_product_age 0, this layer has 2", [](Plan& c) { c.max_product_age = 2; }},
      {"cluster_cache_limit 65536, this layer has 7", [](Plan& c) { c.cluster_cache_limit = 7; }},
      {"refit_interval 50, this layer has 51", [](Plan& c) { c.refit_interval = 51; }},
      {"neuron_vectors strip, this layer has patch",
       [](Plan& c) { c.neuron_vectors = NeuronVectorKind::patch; }},
      {"kept_coordinates 0, this layer has 2", [](Plan& c) { c.kept_coordinates = 2; }},
      {"subspace_error 0.5, this layer has 0.25", [](Plan& c) { c.subspace_error = 0.25; }},
      {"seed 3, this layer has 18446744073709551615", [](Plan& c) { c.seed -= 4; }},
  };
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  Plan config = with_method(Method::published);
  config.cluster_reuse = true;
  config.subspace_error = 0.5;
  ConvCase<float> c(geometry(), 3, data);
  ConvCase<float> d(geometry(), 3, data);
  ReuseConv2d<float> saved(geometry(), config);
  output_of(saved, c);
  saved.save_state(path);
  for (const Difference& difference : differences) {
    INFO(difference.message);
    Plan other = config;
    difference.change(other);
    CHECK_FALSE(other.clusters_as(config));
    ReuseConv2d<float> layer(geometry(), other);
    ReuseConv2d<float> undisturbed(geometry(), other);
    output_of(layer, c);
    output_of(undisturbed, c);
    CHECK_THAT(message_of<std::runtime_error>([&] { layer.load_state(path); }),
               contains("'" + path + "' is for " + difference.message));
    CHECK(same_bits(output_of(layer, d), output_of(undisturbed, d)));
    CHECK(numbers_of(layer.report()) == numbers_of(undisturbed.report()));
  }
  // What clusters do not depend on may differ.
  Plan other = config;
  other.input_gradient = InputGradient::dense;
  other.weight_gradient = WeightGradient::rounded;
  other.gradient_rounding = 1;
  other.meter_interval = 5;
  other.check_finite = true;
  ReuseConv2d<float> layer(geometry(), other);
  CHECK_NOTHROW(layer.load_state(path));
  CHECK(same_bits(output_of(layer, d), output_of(saved, d)));
}

TEST_CASE("A damaged, older or missing state file is refused and changes nothing") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("conv.state");
  ConvCase<float> c(geometry(), 5, data);
  ReuseConv2d<float> layer(geometry(), with_method(Method::subspace));
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
  // In what the second group has learned, when that of the first has been read already.
  auto flipped = bytes;
  flipped[bytes.size() - 100] = static_cast<char>(flipped[bytes.size() - 100] ^ 4);
  write_bytes(path, flipped);
  CHECK_THAT(refused(), contains("checksum"));
  adr_test::StateHeader older(adr_test::payload_of(bytes));
  older.version = 2;
  write_bytes(path, older.followed_by(adr_test::payload_of(bytes)));
  CHECK_THAT(refused(), contains("format version 2, this library reads version 4"));
  bytes.resize(bytes.size() / 2);
  write_bytes(path, bytes);
  CHECK_THAT(refused(), contains("bytes"));
  std::remove(path.c_str());
  CHECK_THAT(refused(), contains(path));
}

TEST_CASE("Any damage with a right checksum is refused or leaves a layer that works") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  LinearCase<float> c(40, 5, 3, data);
  LinearCase<float> d(40, 5, 3, data);
  for (const bool passed : {false, true}) {
    for (const Method method : k_methods) {
      Plan config = with_method(method);
      config.hash_count = 2;
      config.hash_center = HashCenter::mean;
      config.cluster_reuse = true;
      config.max_product_age = 1;
      INFO(to_string(method) << (passed ? ", fitted" : ", as new"));
      ReuseLinear<float> first(5, 3, config);
      if (passed) run(first, c);
      first.save_state(path);
      const Bytes golden = adr_test::payload_of(read_bytes(path));
      int refused = 0;
      int taken = 0;
      const auto load = [&](const Bytes& payload) {
        std::remove(path.c_str());  // some file systems wait for the disk before they replace
        write_bytes(path, adr_test::state_file_of(payload));
        ReuseLinear<float> layer(5, 3, config);
        try {
          layer.load_state(path);
        } catch (const std::runtime_error& error) {
          REQUIRE_THAT(error.what(), contains(path));
          ++refused;
          return;
        }
        ++taken;
        run(layer, d);
        run(layer, c);
      };
      // The settings are texts, which are compared; they are not damaged again and again.
      const std::string last_setting = "offsets";
      const auto settings_end =
          std::search(golden.begin(), golden.end(), last_setting.begin(), last_setting.end());
      const auto first_field = static_cast<std::size_t>(settings_end - golden.begin());
      REQUIRE(first_field < golden.size());
      for (std::size_t i = first_field; i < golden.size(); ++i) {
        for (const int value : {0x01, 0xff}) {
          Bytes payload = golden;
          payload[i] = static_cast<char>(value);
          if (payload != golden) load(payload);
        }
      }
      CHECK(taken > 0);
      taken = 0;
      for (std::size_t length = first_field; length < golden.size(); ++length) {
        load(Bytes(golden.begin(), golden.begin() + static_cast<std::ptrdiff_t>(length)));
      }
      Bytes longer = golden;
      longer.push_back(0);
      load(longer);
      CHECK(taken == 0);
      CHECK(refused > 0);
    }
  }
}

TEST_CASE("A layer that holds what is not finite is not saved, and the old file stays") {
  Data data;
  INFO(data);
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  write_bytes(path, {'o', 'l', 'd'});
  Plan config = with_method(Method::published);
  config.cluster_reuse = true;
  LinearCase<float> c(40, 5, 3, data);
  c.w(1, 1) = std::numeric_limits<float>::infinity();
  ReuseLinear<float> layer(5, 3, config);
  run(layer, c);
  CHECK_THAT(message_of<std::runtime_error>([&] { layer.save_state(path); }),
             contains("stored product must be finite"));
  CHECK(read_bytes(path) == Bytes{'o', 'l', 'd'});
}
