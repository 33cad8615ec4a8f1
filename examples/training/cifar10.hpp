// Reads the binary version of CIFAR-10: records of one label byte and 3 x 32 x 32 bytes of colour
// planes, in data_batch_1.bin, data_batch_2.bin, ... and test_batch.bin.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "training/errors.hpp"
#include "training/image_set.hpp"

namespace training {

inline constexpr index_t k_cifar10_classes = 10;
inline constexpr index_t k_cifar10_record_bytes = 1 + 3 * 32 * 32;

/// Appends the records of one file, `limit` at most. A file that is not whole is refused before
/// anything is appended.
inline void append_cifar10_file(const std::filesystem::path& path, index_t limit, ImageSet& set) {
  std::error_code failure;
  const auto file_bytes = static_cast<index_t>(std::filesystem::file_size(path, failure));
  require(!failure, path.string(), ": cannot be read (", failure.message(), ")");
  require(file_bytes > 0 && file_bytes % k_cifar10_record_bytes == 0, path.string(),
          ": a CIFAR-10 file must hold whole records of ", k_cifar10_record_bytes, " bytes, got ",
          file_bytes, " bytes (", file_bytes / k_cifar10_record_bytes, " records and ",
          file_bytes % k_cifar10_record_bytes, " bytes)");

  const index_t count = std::min(limit, file_bytes / k_cifar10_record_bytes);
  std::vector<char> records(static_cast<std::size_t>(count * k_cifar10_record_bytes));
  std::ifstream file(path, std::ios::binary);
  file.read(records.data(), static_cast<std::streamsize>(records.size()));
  require(file.good(), path.string(), ": reading ", records.size(), " bytes failed");

  const auto* bytes = reinterpret_cast<const std::uint8_t*>(records.data());
  for (index_t i = 0; i < count; ++i) {
    const int label = bytes[i * k_cifar10_record_bytes];
    require(label < k_cifar10_classes, path.string(), ": a label must be below ", k_cifar10_classes,
            ", got ", label, " in record ", i);
  }
  for (index_t i = 0; i < count; ++i) {
    const std::uint8_t* record = bytes + i * k_cifar10_record_bytes;
    set.labels.push_back(record[0]);
    set.pixels.insert(set.pixels.end(), record + 1, record + k_cifar10_record_bytes);
  }
}

/// The files data_batch_*.bin of a folder, in the order of their names.
inline std::vector<std::filesystem::path> cifar10_training_files(
    const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.compare(0, 11, "data_batch_") == 0 && entry.path().extension() == ".bin") {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Reads a folder; a limit of 0 takes all images. Errors: UserError when files are missing, foreign
/// or truncated, or hold fewer images than asked for.
inline DataSet read_cifar10(const std::filesystem::path& folder, index_t train_limit,
                            index_t test_limit) {
  require(std::filesystem::is_directory(folder), "--data must name a folder, got '",
          folder.string(), "'");
  const auto training_files = cifar10_training_files(folder);
  require(!training_files.empty(),
          "--data must name a folder with data_batch_1.bin and "
          "test_batch.bin (CIFAR-10 binary version), found no data_batch_*.bin in '",
          folder.string(), "'");

  DataSet data;
  const auto read = [](const std::vector<std::filesystem::path>& files, index_t limit,
                       const char* option, ImageSet& set) {
    set.shape = {3, 32, 32};
    set.class_count = k_cifar10_classes;
    for (const auto& file : files) {
      if (limit > 0 && set.size() == limit) break;
      append_cifar10_file(file, limit > 0 ? limit - set.size() : INT64_MAX, set);
    }
    require(set.size() >= limit, option, " must be at most the number of images in the files (",
            set.size(), "), got ", limit);
  };
  read(training_files, train_limit, "--train-images", data.train);
  read({folder / "test_batch.bin"}, test_limit, "--test-images", data.test);
  data.description = message("CIFAR-10: ", data.train.size(), " training and ", data.test.size(),
                             " test images from ", folder.string());
  return data;
}

}  // namespace training
