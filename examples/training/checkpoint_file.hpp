// The envelope of a checkpoint: a header, a checksum, and writing that leaves either the old file
// or the new one. What the bytes inside mean is the business of checkpoint.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "training/errors.hpp"
#include "training/replaced_file.hpp"

namespace training {

using Bytes = std::vector<char>;

/// Appends plain values and arrays to a byte string.
class ByteWriter {
 public:
  template <class T>
  void put(const T& value) {
    put_array(&value, 1);
  }
  template <class T>
  void put_array(const T* values, std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto* from = reinterpret_cast<const char*>(values);
    bytes_.insert(bytes_.end(), from, from + count * sizeof(T));
  }
  void put_string(const std::string& text) {
    put(static_cast<std::uint64_t>(text.size()));
    put_array(text.data(), text.size());
  }
  [[nodiscard]] const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

/// Takes what a ByteWriter put; taking more than there is is an error, not a crash.
class ByteReader {
 public:
  ByteReader(const Bytes& bytes, std::string source) : bytes_(bytes), source_(std::move(source)) {}

  template <class T>
  T take() {
    T value{};
    take_array(&value, 1);
    return value;
  }
  template <class T>
  void take_array(T* values, std::uint64_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    check_room(count, sizeof(T));
    const auto size = static_cast<std::size_t>(count) * sizeof(T);
    if (size > 0) std::memcpy(values, bytes_.data() + position_, size);
    position_ += size;
  }
  template <class T>
  std::vector<T> take_vector() {
    const auto count = take<std::uint64_t>();
    check_room(count, sizeof(T));
    std::vector<T> values(static_cast<std::size_t>(count));
    take_array(values.data(), count);
    return values;
  }
  std::string take_string() {
    const auto text = take_vector<char>();
    return {text.begin(), text.end()};
  }
  [[nodiscard]] bool at_end() const { return position_ == bytes_.size(); }

 private:
  void check_room(std::uint64_t count, std::size_t element_bytes) const {
    require(count <= (bytes_.size() - position_) / element_bytes, source_, ": a field of ", count,
            " x ", element_bytes, " bytes leaves the payload of ", bytes_.size(), " bytes");
  }

  const Bytes& bytes_;
  std::string source_;
  std::size_t position_ = 0;
};

namespace detail {

struct CheckpointHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t byte_order;
  std::uint64_t payload_bytes;
  std::uint64_t checksum;
};
static_assert(sizeof(CheckpointHeader) == 32, "the header must have no padding");

inline constexpr std::array<char, 8> k_checkpoint_magic = {'A', 'D', 'R', 'T', 'R', 'A', 'I', 'N'};
inline constexpr std::uint32_t k_checkpoint_version = 1;
inline constexpr std::uint32_t k_byte_order_mark = 0x01020304;

/// FNV-1a.
inline std::uint64_t checksum(const Bytes& bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
  }
  return hash;
}

}  // namespace detail

/// Errors: std::runtime_error when the disk refuses.
inline void write_checkpoint_file(const std::filesystem::path& path, const Bytes& payload) {
  const detail::CheckpointHeader header{detail::k_checkpoint_magic, detail::k_checkpoint_version,
                                        detail::k_byte_order_mark, payload.size(),
                                        detail::checksum(payload)};
  const bool written = replace_file(path, [&](std::ostream& file) {
    file.write(reinterpret_cast<const char*>(&header), sizeof(header));
    file.write(payload.data(), static_cast<std::streamsize>(payload.size()));
  });
  if (!written) {
    throw std::runtime_error(message("writing ", sizeof(header) + payload.size(), " bytes to ",
                                     path.string(), " failed"));
  }
}

/// Returns the payload of a whole and intact checkpoint; anything else is a UserError.
inline Bytes read_checkpoint_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), path.string(), ": the checkpoint cannot be opened");
  detail::CheckpointHeader header{};
  file.read(reinterpret_cast<char*>(&header), sizeof(header));
  require(file.gcount() == sizeof(header) && header.magic == detail::k_checkpoint_magic,
          path.string(), ": not a checkpoint of this program (it does not begin with ADRTRAIN)");
  require(header.byte_order == detail::k_byte_order_mark, path.string(),
          ": the checkpoint was written on a machine of the other byte order");
  require(header.version == detail::k_checkpoint_version, path.string(),
          ": the checkpoint's format version must be ", detail::k_checkpoint_version, ", got ",
          header.version);
  const auto file_bytes = std::filesystem::file_size(path);
  require(file_bytes - sizeof(header) == header.payload_bytes, path.string(),
          ": the checkpoint must hold ", header.payload_bytes, " bytes after its header, got ",
          file_bytes - sizeof(header));
  Bytes payload(static_cast<std::size_t>(header.payload_bytes));
  file.read(payload.data(), static_cast<std::streamsize>(payload.size()));
  require(file.gcount() == static_cast<std::streamsize>(payload.size()), path.string(),
          ": reading the checkpoint failed");
  require(detail::checksum(payload) == header.checksum, path.string(),
          ": the checkpoint is corrupt (its checksum does not match)");
  return payload;
}

}  // namespace training
