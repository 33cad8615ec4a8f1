// What a run needs to go on exactly as if it had never stopped: weights, velocities, the data
// generator, the number of epochs done; and the settings, to refuse a different run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "adr/core/random.hpp"
#include "training/checkpoint_file.hpp"
#include "training/parameter.hpp"

namespace training {

/// Everything that decides the numbers of a run, as pairs of a name and a value.
using RunSettings = std::vector<std::pair<std::string, std::string>>;

struct Progress {
  std::uint64_t epochs_done = 0;
  double training_seconds = 0;
  adr::Random::State random_state{};
};

template <class T>
void save_checkpoint(const std::filesystem::path& path, const RunSettings& settings,
                     const Progress& progress, const std::vector<Parameter<T>*>& parameters) {
  ByteWriter writer;
  writer.put(static_cast<std::uint64_t>(settings.size()));
  for (const auto& [name, value] : settings) {
    writer.put_string(name);
    writer.put_string(value);
  }
  writer.put(progress.epochs_done);
  writer.put(progress.training_seconds);
  writer.put(progress.random_state);
  writer.put(static_cast<std::uint64_t>(parameters.size()));
  for (Parameter<T>* parameter : parameters) {
    const auto size = static_cast<std::uint64_t>(parameter->size());
    writer.put_string(parameter->name());
    writer.put(size);
    writer.put_array(parameter->value(), size);
    writer.put(size);
    writer.put_array(parameter->velocity(), size);
  }
  write_checkpoint_file(path, writer.bytes());
}

namespace detail {

inline RunSettings take_settings(ByteReader& reader) {
  RunSettings settings;
  const auto count = reader.take<std::uint64_t>();
  for (std::uint64_t i = 0; i < count; ++i) {
    std::string name = reader.take_string();
    settings.emplace_back(std::move(name), reader.take_string());
  }
  return settings;
}

inline void require_same_settings(const std::string& source, const RunSettings& stored,
                                  const RunSettings& wanted) {
  for (std::size_t i = 0; i < std::min(stored.size(), wanted.size()); ++i) {
    require(stored[i] == wanted[i], source, ": the checkpoint belongs to a run with ",
            stored[i].first, " = ", stored[i].second, ", this one has ", wanted[i].first, " = ",
            wanted[i].second);
  }
  require(stored.size() == wanted.size(), source, ": the checkpoint must hold ", wanted.size(),
          " settings, got ", stored.size());
}

/// Weights and velocities of all parameters, read before anything is restored.
template <class T>
struct StoredParameters {
  std::vector<std::vector<T>> values;
  std::vector<std::vector<T>> velocities;

  StoredParameters(ByteReader& reader, const std::string& source,
                   const std::vector<Parameter<T>*>& parameters) {
    const auto count = reader.take<std::uint64_t>();
    require(count == parameters.size(), source, ": the checkpoint must hold ", parameters.size(),
            " parameters, got ", count);
    for (const Parameter<T>* parameter : parameters) {
      const std::string name = reader.take_string();
      values.push_back(reader.take_vector<T>());
      velocities.push_back(reader.take_vector<T>());
      const auto size = static_cast<std::size_t>(parameter->size());
      require(name == parameter->name() && values.back().size() == size &&
                  velocities.back().size() == size,
              source, ": the network has ", parameter->name(), " of ", size,
              " elements where the checkpoint has ", name, " of ", values.back().size());
    }
    require(reader.at_end(), source, ": the checkpoint holds more than this network needs");
  }

  void restore(const std::vector<Parameter<T>*>& parameters) const {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      std::copy(values[i].begin(), values[i].end(), parameters[i]->value());
      std::copy(velocities[i].begin(), velocities[i].end(), parameters[i]->velocity());
    }
  }
};

inline Progress take_progress(ByteReader& reader) {
  Progress progress;
  progress.epochs_done = reader.take<std::uint64_t>();
  progress.training_seconds = reader.take<double>();
  progress.random_state = reader.take<adr::Random::State>();
  return progress;
}

}  // namespace detail

/// Restores the parameters and returns the progress. Errors: UserError when the file is not an
/// intact checkpoint of a run with these settings and parameters; the parameters are then
/// unchanged.
template <class T>
Progress load_checkpoint(const std::filesystem::path& path, const RunSettings& settings,
                         const std::vector<Parameter<T>*>& parameters) {
  const std::string source = path.string();
  const Bytes payload = read_checkpoint_file(path);
  ByteReader reader(payload, source);
  detail::require_same_settings(source, detail::take_settings(reader), settings);
  const Progress progress = detail::take_progress(reader);
  detail::StoredParameters<T>(reader, source, parameters).restore(parameters);
  return progress;
}

/// Restores the parameters of a network, however it was trained, for inference. Errors: as
/// load_checkpoint, whatever the settings.
template <class T>
void load_weights(const std::filesystem::path& path, const std::vector<Parameter<T>*>& parameters) {
  const std::string source = path.string();
  const Bytes payload = read_checkpoint_file(path);
  ByteReader reader(payload, source);
  detail::take_settings(reader);
  detail::take_progress(reader);
  detail::StoredParameters<T>(reader, source, parameters).restore(parameters);
}

}  // namespace training
