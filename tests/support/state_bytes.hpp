// The bytes of state files, made from the description in adr/core/state_file.hpp and without its
// help.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace adr_test {

using Bytes = std::vector<char>;

inline Bytes from_hex(const std::string& text) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16)));
  }
  return bytes;
}

inline void append_integer(Bytes& bytes, std::uint64_t value, int byte_count) {
  for (int i = 0; i < byte_count; ++i, value >>= 8) bytes.push_back(static_cast<char>(value));
}

/// What the header of a file says; tests change it to what is wrong.
struct StateHeader {
  std::string magic = "ADRstate";
  std::uint64_t version = 4;
  std::uint64_t byte_order = 0x01020304;
  std::uint64_t size = 0;
  std::uint64_t checksum = 0xcbf29ce484222325u;

  explicit StateHeader(const Bytes& payload) : size(payload.size()) {
    for (const char byte : payload) {
      checksum = (checksum ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
    }
  }
  [[nodiscard]] Bytes followed_by(const Bytes& payload) const {
    Bytes file(magic.begin(), magic.end());
    append_integer(file, version, 4);
    append_integer(file, byte_order, 4);
    append_integer(file, size, 8);
    append_integer(file, checksum, 8);
    file.insert(file.end(), payload.begin(), payload.end());
    return file;
  }
};

/// A file with a right header for any payload.
inline Bytes state_file_of(const Bytes& payload) {
  return StateHeader(payload).followed_by(payload);
}

inline Bytes payload_of(const Bytes& file) { return {file.begin() + 32, file.end()}; }

}  // namespace adr_test
