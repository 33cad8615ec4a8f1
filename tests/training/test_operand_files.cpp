// Snapshots of a network's products, and images from a .npy file: what is written can be read back
// and multiplies to what the network computed.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "support/catch.hpp"
#include "support/refusal.hpp"
#include "training/generated_images.hpp"
#include "training/npy_images.hpp"
#include "training/snapshots.hpp"
#include "training/temporary_folder.hpp"

namespace {

using namespace training;
using adr_test::contains;

NetworkDescription small_network() {
  NetworkDescription network;
  network.name = "small";
  network.input = {3, 32, 32};
  network.layers = {ConvLayer{4, 3, 2, 1}, ReluLayer{}, ConvLayer{5, 5, 4, 2}, ReluLayer{},
                    LinearLayer{10}};
  network.published.assign(2, {9, 8});
  return network;
}

/// The output of a convolution at one place, from tensors in layout nchw.
double convolve_at(const tools::NpyTensor& x, const tools::NpyTensor& w, index_t stride,
                   index_t pad, index_t image, index_t filter, index_t row, index_t column) {
  double sum = 0;
  const index_t kernel = w.shape[2];
  for (index_t c = 0; c < w.shape[1]; ++c) {
    for (index_t i = 0; i < kernel; ++i) {
      for (index_t j = 0; j < kernel; ++j) {
        const index_t y = row * stride + i - pad;
        const index_t z = column * stride + j - pad;
        if (y < 0 || z < 0 || y >= x.shape[2] || z >= x.shape[3]) continue;
        const index_t from = ((image * x.shape[1] + c) * x.shape[2] + y) * x.shape[3] + z;
        const index_t weight = ((filter * w.shape[1] + c) * kernel + i) * kernel + j;
        sum += static_cast<double>(x.elements[static_cast<std::size_t>(from)]) *
               static_cast<double>(w.elements[static_cast<std::size_t>(weight)]);
      }
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("Snapshots hold the operands of every product") {
  const adr_test::TemporaryFolder folder;
  adr::Context context(1);
  const DataSet data = generate_images(6, 2, 2, context);
  for (const adr::Layout layout : {adr::Layout::nhwc, adr::Layout::nchw}) {
    NetworkSettings<float> settings;
    settings.layout = layout;
    settings.convolutions.resize(2);
    Network<float> network(small_network(), settings, context);
    const PixelScale scale(data.train);
    const BatchLoader<float> loader(data.train, scale, layout, context);
    const std::filesystem::path path = folder.file("snapshots");
    write_snapshots(network, loader, 6, path);
    const auto read = [&](const std::string& name) {
      return tools::read_npy((path / (name + ".npy")).string());
    };
    using Shape = std::vector<std::ptrdiff_t>;
    CHECK(read("conv1_weight").shape == Shape{4, 3, 3, 3});
    CHECK(read("conv2_output_gradient").shape == Shape{6, 5, 4, 4});
    CHECK(read("linear1_input").shape == Shape{6, 80, 1, 1});
    CHECK(read("linear1_weight").shape == Shape{10, 80, 1, 1});
    CHECK(read("linear1_output_gradient").shape == Shape{6, 10, 1, 1});
    // The second convolution sees the first one's output behind a ReLU: no bias at the start.
    const tools::NpyTensor x1 = read("conv1_input");
    const tools::NpyTensor w1 = read("conv1_weight");
    const tools::NpyTensor x2 = read("conv2_input");
    REQUIRE(x2.shape == Shape{6, 4, 16, 16});
    for (index_t place = 0; place < 6 * 4 * 256; place += 37) {
      const double expected =
          convolve_at(x1, w1, 2, 1, place / 1024, place / 256 % 4, place / 16 % 16, place % 16);
      const auto got = static_cast<double>(x2.elements[static_cast<std::size_t>(place)]);
      CHECK_THAT(got, Catch::Matchers::WithinAbs(std::max(0.0, expected), 1e-4));
    }
  }
}

TEST_CASE("Images are read from a .npy file of bytes") {
  const adr_test::TemporaryFolder folder;
  tools::NpyTensor images;
  images.shape = {3, 1, 2, 2};
  for (int i = 0; i < 12; ++i) images.elements.push_back(static_cast<float>(20 * i));
  const std::string path = folder.file("images.npy");
  tools::write_npy(path, images);
  const DataSet data = read_npy_images(path, 2);
  CHECK(data.train.size() == 2);
  CHECK(data.test.size() == 2);
  CHECK(data.train.shape == ImageShape{1, 2, 2});
  CHECK(data.train.image(1)[3] == 140);
  CHECK(read_npy_images(path, 0).train.size() == 3);
  CHECK_THROWS_WITH(read_npy_images(path, 4), contains("(3), got 4"));
  images.elements[5] = 256;
  tools::write_npy(path, images);
  CHECK_THROWS_WITH(read_npy_images(path, 2), contains("between 0 and 255"));
  images.shape = {3, 4};
  tools::write_npy(path, images);
  CHECK_THROWS_WITH(read_npy_images(path, 2), contains("got 3 x 4"));
  CHECK_THROWS_WITH(read_npy_images(folder.file("absent.npy"), 2), contains("cannot be opened"));
}

TEST_CASE("A .npy file whose header announces more than it can hold is refused") {
  const adr_test::TemporaryFolder folder;
  const std::string path = folder.file("header.npy");
  const auto refusal_of = [&](const std::string& type, const std::string& shape) {
    std::string header =
        "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
    header.resize(117, ' ');
    header += '\n';
    std::ofstream file(path, std::ios::binary);
    file << "\x93NUMPY\x01" << '\0' << 'v' << '\0' << header << std::string(64, '\0');
    file.close();
    return adr_test::message_of<std::runtime_error>([&] { tools::read_npy(path); });
  };
  CHECK(refusal_of("<f4", "(4, 4)") == "(no error)");
  CHECK_THAT(refusal_of("<f4", "(1152921504606846976, 16)"), contains("truncated: a file of"));
  CHECK_THAT(refusal_of("<f4", "(2305843009213693953, 8)"), contains("truncated: a file of"));
  CHECK_THAT(refusal_of(">f4", "(4, 4)"), contains("must be little-endian"));
}
