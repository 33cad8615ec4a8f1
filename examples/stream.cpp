// How fast are the convolutions of a network over the frames of a still camera, and how far from
// the exact ones, where what has not changed since earlier frames stays what it was?
//   stream --frames FRAMES.npy --network vgg19 --checkpoint vgg19.bin
// Without a file the frames are generated: a still background, a disc that crosses it, noise.
// Without a checkpoint the weights are random. docs/streams.md says how it works.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "streams/frames.hpp"
#include "streams/trunk.hpp"
#include "training/batch_loader.hpp"
#include "training/checkpoint.hpp"
#include "training/image_set.hpp"
#include "training/networks.hpp"
#include "training/options.hpp"
#include "training/pixel_scale.hpp"
#include "training/program.hpp"

namespace {

using training::index_t;

struct Options {
  training::Options common;
  std::string frames;
  std::string checkpoint;
  index_t count = 0;
  std::vector<double> max_errors = {0.03};
  bool layers = false;
};

double relative_error(const adr::TensorView<const float>& found, const std::vector<float>& exact) {
  double difference = 0;
  double energy = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const auto y = static_cast<double>(exact[i]);
    const double d = static_cast<double>(found.data[i]) - y;
    difference += d * d;
    energy += y * y;
  }
  return energy > 0 ? std::sqrt(difference / energy) : 0;
}

void print_layers(const std::vector<streams::LayerTotals>& totals, index_t frames) {
  const auto mean = [&](double sum) { return sum / static_cast<double>(frames); };
  std::printf(
      "\nmeans over frames 2 ... %td\nlayer    computed  exact ms  stream ms  threshold  error at "
      "most\n",
      frames + 1);
  for (const streams::LayerTotals& layer : totals) {
    std::printf("%-8s %8.3f  %8.2f  %9.2f  %9.3f  %13.4f\n", layer.name.c_str(),
                mean(layer.computed), 1e3 * mean(layer.exact_seconds),
                1e3 * mean(layer.stream_seconds), mean(layer.threshold), layer.error);
  }
}

void run(const Options& options) {
  const training::Options& common = options.common;
  adr::Context context(common.threads);
  const training::NetworkDescription description = training::network_by_name(common.network);
  training::NetworkSettings<float> settings;
  settings.layout = common.layout;
  settings.convolutions.resize(training::conv_count(description));
  const training::Network<float> network(description, settings, context);
  if (!options.checkpoint.empty()) training::load_weights(options.checkpoint, network.parameters());
  constexpr index_t k_generated = 12;
  const training::ImageSet frames =
      options.frames.empty()
          ? streams::generated_frames({description.input.channels, 96, 128},
                                      options.count > 0 ? options.count : k_generated)
          : streams::frames_of_file(options.frames, options.count);
  training::require(frames.shape.channels == description.input.channels,
                    "--frames: ", description.name, " takes ", description.input.channels,
                    " channels, got ", frames.shape.channels);
  training::require(frames.size() >= 2, "--count: needs at least 2 frames, got ", frames.size());
  const training::PixelScale scale(frames);
  streams::Trunk trunk(description, network, frames.shape, common.layout, options.max_errors,
                       context);
  std::printf("%td frames of %s, %s with %s, %d thread(s)\n", frames.size(),
              training::to_string(frames.shape).c_str(), description.name.c_str(),
              options.checkpoint.empty() ? "random weights" : options.checkpoint.c_str(),
              common.threads);
  std::printf("frame  computed  exact ms (pools)  stream ms (pools)  error of the last map\n");
  const training::BatchLoader<float> loader(frames, scale, common.layout, context);
  training::Batch<float> frame;
  std::vector<float> exact_map;
  streams::FrameSeconds exact_sum;
  streams::FrameSeconds stream_sum;
  double share_sum = 0;
  double worst = 0;
  for (index_t n = 0; n < frames.size(); ++n) {
    loader.load(&n, 1, {}, frame);
    streams::FrameSeconds exact;
    streams::FrameSeconds stream;
    const auto map = trunk.exact(frame.images.const_view(), exact);
    exact_map.assign(map.data, map.data + map.image_size());
    const auto found = trunk.stream(frame.images.const_view(), stream);
    const double error = relative_error(found, exact_map);
    const double share = trunk.take_computed_share();
    std::printf("%5td  %8.3f  %8.2f (%5.2f)  %9.2f (%5.2f)  %21.4f\n", n + 1, share,
                1e3 * exact.convolutions, 1e3 * exact.pools, 1e3 * stream.convolutions,
                1e3 * stream.pools, error);
    worst = std::max(worst, error);
    if (n == 0) {
      trunk.take_totals();
      continue;
    }
    share_sum += share;
    for (auto [sum, part] : {std::pair{&exact_sum, &exact}, std::pair{&stream_sum, &stream}}) {
      sum->convolutions += part->convolutions;
      sum->pools += part->pools;
    }
  }
  const index_t streamed = frames.size() - 1;
  if (options.layers) print_layers(trunk.take_totals(), streamed);
  const double all = exact_sum.convolutions + exact_sum.pools;
  const double all_streamed = stream_sum.convolutions + stream_sum.pools;
  std::printf(
      "summary: computed %.3f of the multiply-adds, %.2fx over exact convolutions (%.2fx with "
      "pools), "
      "error of the last map at most %.4f\n",
      share_sum / static_cast<double>(streamed), exact_sum.convolutions / stream_sum.convolutions,
      all / all_streamed, worst);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.common.network = "vgg19";
  CLI::App app("Compares the convolutions of a network over frames, exactly and as a stream.");
  training::detail::add_network_options(app, options.common);
  training::detail::add_machine_options(app, options.common);
  app.add_option("--frames", options.frames,
                 "A .npy file of bytes, frames x channels x rows x columns");
  app.add_option("--count", options.count, "Frames; 0: all of the file, or 12 generated ones")
      ->check(CLI::Range(index_t{0}, index_t{1000000}));
  app.add_option("--checkpoint", options.checkpoint,
                 "Weights that train has saved; else random ones");
  app.add_option(
         "--max-error", options.max_errors,
         "What each convolution may leave aside (Options::max_error), or one value for all; "
         "0: nothing")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 0.999))
      ->capture_default_str();
  app.add_flag("--layers", options.layers, "Prints every convolution");
  return training::run_program(app, argc, argv, "stream", [&] { run(options); });
}
