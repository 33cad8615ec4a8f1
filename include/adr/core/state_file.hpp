// Checked binary files for what a layer has learned: written whole or not at all, read whole or not
// at all, the same on every machine.
//
// Layout; integers are unsigned and little-endian, floating point numbers IEEE 754 likewise:
//   offset  bytes  header
//        0      8  "ADRstate"
//        8      4  format version, 4
//       12      4  byte-order mark 0x01020304, hence the bytes 4 3 2 1
//       16      8  bytes of payload; the file ends with them
//       24      8  FNV-1a checksum of the payload
//       32         payload, fields without gaps:
//                    count, u64  8 bytes
//                    f64         8 bytes, finite
//                    rows        rows * cols floats of 4 bytes or doubles of 8, finite, row by row
//                                without padding
//                    text        its number of bytes as u64, at most 64; the bytes
//                    setting     name and value as text
// Strides, which are a matter of the instruction set, and what follows from other fields are not in
// a file. A reader meets damage and foreign files with an error, whatever their bytes.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <locale>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/stat.h>
#endif

#include "adr/core/aligned_buffer.hpp"
#include "adr/core/errors.hpp"
#include "adr/core/float_bits.hpp"
#include "adr/core/types.hpp"

ADR_NAMESPACE_BEGIN
namespace detail {

static_assert(sizeof(float) == 4 && std::numeric_limits<float>::digits == 24 &&
                  sizeof(double) == 8 && std::numeric_limits<double>::digits == 53,
              "state files hold IEEE 754 numbers");

inline constexpr char k_state_magic[] = "ADRstate";
inline constexpr std::uint32_t k_state_version = 4;
inline constexpr std::uint32_t k_state_byte_order = 0x01020304;
inline constexpr std::size_t k_state_header_bytes = 32;
inline constexpr std::size_t k_state_text_bytes = 64;

/// Composes integers byte by byte, so that files do not depend on the order of the machine.
template <class Unsigned>
void store_little_endian(Unsigned value, unsigned char* to) noexcept {
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
    to[i] = static_cast<unsigned char>(value >> (8 * i));
  }
}
template <class Unsigned>
Unsigned load_little_endian(const unsigned char* from) noexcept {
  Unsigned value = 0;
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
    value |= static_cast<Unsigned>(from[i]) << (8 * i);
  }
  return value;
}

/// Told from the bits: std::isfinite is not to be relied upon where a compiler may assume it.
inline bool finite_bits(std::uint32_t bits) noexcept { return (~bits & 0x7f800000u) != 0; }
inline bool finite_bits(std::uint64_t bits) noexcept { return (~bits & 0x7ff0000000000000u) != 0; }

/// 64 bits of which every change of a single byte changes some; other damage stays unnoticed with
/// probability about 2^-64. Source: FNV-1a (Fowler, Noll and Vo).
inline std::uint64_t checksum(const std::vector<unsigned char>& bytes) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

/// Throws std::runtime_error with the joined parts when the condition does not hold.
template <class... Parts>
void require_state(bool condition, const Parts&... parts) {
  if (!condition) ADR_THROW(std::runtime_error(message(parts...)));
}

/// A number so that other numbers have other texts, whatever the user's locale is.
inline std::string exact_text(double value) {
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text.precision(17);
  text << value;
  return text.str();
}

inline std::string system_reason() { return std::generic_category().message(errno); }

/// Whether a path is free, or leads to a file that another one may take the place of.
inline bool is_replaceable(const std::string& path) noexcept {
#if defined(__unix__) || defined(__APPLE__)
  struct stat found;
  if (::lstat(path.c_str(), &found) == 0) return S_ISREG(found.st_mode);
#endif
  return !path.empty();
}

/// A file beside another one, whose place it takes when it is complete; else it vanishes.
class ReplacementFile {
 public:
  explicit ReplacementFile(const std::string& target) : target_(target) {
    require_state(is_replaceable(target), "state file '", target,
                  "' cannot be written: what is there is no regular file");
    constexpr int k_names = 100;  // others may be writing, or may have died doing so
    for (int n = 0; n < k_names && file_ == nullptr; ++n) {
      name_ = target + ".tmp" + std::to_string(n);
      file_ = std::fopen(name_.c_str(), "wbx");
      if (file_ == nullptr && errno != EEXIST) break;
    }
    require_written(file_ != nullptr);
  }
  ~ReplacementFile() {
    if (file_ != nullptr) std::fclose(file_);
    if (!published_) std::remove(name_.c_str());
  }
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  void write(const unsigned char* bytes, std::size_t count) {
    require_written(count == 0 || std::fwrite(bytes, 1, count, file_) == count);
  }
  void publish() {
    require_written(std::fclose(std::exchange(file_, nullptr)) == 0);
    require_written(std::rename(name_.c_str(), target_.c_str()) == 0);
    published_ = true;
  }

 private:
  void require_written(bool done) const {
    require_state(done, "state file '", target_, "' cannot be written: ", system_reason());
  }

  std::string target_;
  std::string name_;
  std::FILE* file_ = nullptr;
  bool published_ = false;
};

}  // namespace detail

/// Collects the fields of a state file, then saves them. Errors: std::runtime_error that names the
/// field or the file, and std::bad_alloc. Thread-safety: none.
class StateWriter {
 public:
  void put_u64(std::uint64_t value) { detail::store_little_endian(value, grow(sizeof(value))); }
  /// Requires: count >= 0.
  void put_count(index_t count) { put_u64(static_cast<std::uint64_t>(count)); }
  void put_f64(std::string_view what, double value) {
    const auto bits = detail::same_bits<std::uint64_t>(value);
    require_finite(what, detail::finite_bits(bits));
    put_u64(bits);
  }
  template <class T = float>
  void put_rows(std::string_view what, const MatrixView<const T>& matrix) {
    unsigned char* to = grow(static_cast<std::size_t>(
        checked_product(what, matrix.rows, matrix.cols, static_cast<index_t>(sizeof(T)))));
    for (index_t i = 0; i < matrix.rows; ++i) {
      for (index_t j = 0; j < matrix.cols; ++j, to += sizeof(T)) {
        const auto bits = detail::same_bits<detail::BitsOf<T>>(matrix(i, j));
        require_finite(what, detail::finite_bits(bits));
        detail::store_little_endian(bits, to);
      }
    }
  }
  /// Something that whoever reads the file has to agree on. Requires: texts of at most 64 bytes.
  void put_setting(std::string_view name, std::string_view value) {
    put_text(name);
    put_text(value);
  }
  void put_setting(std::string_view name, index_t value) {
    put_setting(name, std::to_string(value));
  }

  /// Writes the file: to path + ".tmp<n>", which then replaces what was at the path. After an error
  /// that is there as before. Only regular files are replaced, no links and no devices; nothing is
  /// forced to the disk.
  void save(const std::string& path) const {
    unsigned char header[detail::k_state_header_bytes];
    std::copy_n(detail::k_state_magic, 8, header);
    detail::store_little_endian(detail::k_state_version, header + 8);
    detail::store_little_endian(detail::k_state_byte_order, header + 12);
    detail::store_little_endian(static_cast<std::uint64_t>(payload_.size()), header + 16);
    detail::store_little_endian(detail::checksum(payload_), header + 24);
    detail::ReplacementFile file(path);
    file.write(header, sizeof(header));
    file.write(payload_.data(), payload_.size());
    file.publish();
  }

 private:
  unsigned char* grow(std::size_t count) {
    payload_.resize(payload_.size() + count);
    return payload_.data() + (payload_.size() - count);
  }
  void put_text(std::string_view text) {
    ADR_ASSERT(text.size() <= detail::k_state_text_bytes, "texts of state files are short");
    put_u64(text.size());
    std::copy(text.begin(), text.end(), grow(text.size()));
  }
  static void require_finite(std::string_view what, bool finite) {
    detail::require_state(finite, "state file: ", what, " must be finite");
  }

  std::vector<unsigned char> payload_;
};

/// The fields of a state file, in the order in which they were put.
///
/// The constructor reads the file and verifies all of the header and the checksum; every get
/// verifies the field. Memory: the file; no get allocates more than 16 times what the file holds
/// of that field. Errors: std::runtime_error that names the file, the rule and the values, and
/// std::bad_alloc. Thread-safety: none.
class StateReader {
 public:
  explicit StateReader(const std::string& path) : path_(path) {
    const File file(std::fopen(path.c_str(), "rb"));
    require(file != nullptr, " cannot be opened: ", detail::system_reason());
    unsigned char header[detail::k_state_header_bytes];
    const std::size_t count = read(file.get(), header, sizeof(header));
    require(count >= 8 && std::memcmp(header, detail::k_state_magic, 8) == 0,
            " is no state file: it does not begin with ", detail::k_state_magic);
    require(count == sizeof(header), " is truncated: a header has ", sizeof(header),
            " bytes, the file ", count);
    const auto version = detail::load_little_endian<std::uint32_t>(header + 8);
    const auto byte_order = detail::load_little_endian<std::uint32_t>(header + 12);
    require(byte_order == detail::k_state_byte_order, " has bytes in the wrong order");
    require(version == detail::k_state_version, " has format version ", version,
            ", this library reads version ", detail::k_state_version);
    read_payload(file.get(), detail::load_little_endian<std::uint64_t>(header + 16));
    require(detail::checksum(payload_) == detail::load_little_endian<std::uint64_t>(header + 24),
            " is damaged: its checksum does not match");
  }

  std::uint64_t get_u64(std::string_view what) {
    return detail::load_little_endian<std::uint64_t>(take(what, 1, 1, sizeof(std::uint64_t)));
  }
  /// A count in [least, most]. Requires: least >= 0.
  index_t get_count(std::string_view what, index_t least, index_t most) {
    const std::uint64_t count = get_u64(what);
    require(count >= static_cast<std::uint64_t>(least) && count <= static_cast<std::uint64_t>(most),
            ": ", what, " must be between ", least, " and ", most, ", got ", count);
    return static_cast<index_t>(count);
  }
  double get_f64(std::string_view what) {
    const std::uint64_t bits = get_u64(what);
    require(detail::finite_bits(bits), ": ", what, " must be finite");
    return detail::same_bits<double>(bits);
  }
  /// A matrix with rows of `stride` elements, the columns from cols on 0. Requires: rows, cols >=
  /// 0, cols <= stride <= the next multiple of 16.
  template <class T = float>
  AlignedBuffer<T> get_rows(std::string_view what, index_t rows, index_t cols, index_t stride) {
    const unsigned char* from = take(what, rows, cols, sizeof(T));
    AlignedBuffer<T> matrix;
    matrix.assign(checked_product(what, rows, stride), T(0));
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < cols; ++j, from += sizeof(T)) {
        const auto bits = detail::load_little_endian<detail::BitsOf<T>>(from);
        require(detail::finite_bits(bits), ": ", what, " must be finite");
        matrix[i * stride + j] = detail::same_bits<T>(bits);
      }
    }
    return matrix;
  }
  /// Requires that the next field is the setting of that name, and has that value.
  void require_setting(std::string_view name, std::string_view value) {
    const std::string_view found = get_text();
    require(found == name, ": the setting ", name, " must be next, got ", found);
    const std::string_view saved = get_text();
    require(saved == value, " is for ", name, " ", saved, ", this layer has ", value);
  }
  void require_setting(std::string_view name, index_t value) {
    require_setting(name, std::to_string(value));
  }
  /// Requires that all fields have been taken.
  void require_end() const {
    require(left() == 0, " holds more than this layer reads: ", left(), " bytes are left");
  }
  /// Throws an error that names the file, followed by the parts, when the condition does not hold.
  template <class... Parts>
  void require(bool condition, const Parts&... parts) const {
    detail::require_state(condition, "state file '", path_, "'", parts...);
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;

  std::size_t read(std::FILE* file, unsigned char* to, std::size_t count) const {
    const std::size_t got = std::fread(to, 1, count, file);
    require(std::ferror(file) == 0, " cannot be read: ", detail::system_reason());
    return got;
  }
  /// Reads piece by piece: memory is taken for bytes that are there, whatever the header says.
  void read_payload(std::FILE* file, std::uint64_t size) {
    constexpr std::uint64_t k_piece = 1 << 20;
    while (payload_.size() < size) {
      const std::size_t have = payload_.size();
      const auto piece = static_cast<std::size_t>(std::min(k_piece, size - have));
      payload_.resize(have + piece);
      const std::size_t got = read(file, payload_.data() + have, piece);
      require(got == piece, " is truncated: its payload has ", size, " bytes, ", have + got,
              " are there");
    }
    unsigned char next = 0;
    require(read(file, &next, 1) == 0, " goes on after its payload of ", size, " bytes");
  }

  [[nodiscard]] std::size_t left() const noexcept { return payload_.size() - position_; }
  /// The bytes of a field of rows * cols elements; no product is formed before it is known to fit.
  const unsigned char* take(std::string_view what, index_t rows, index_t cols, std::size_t bytes) {
    const auto fit = static_cast<index_t>(left() / bytes);
    require(rows == 0 || cols <= fit / rows, ": ", what, " needs ", rows, " x ", cols,
            " elements of ", bytes, " bytes, ", left(), " bytes are left");
    const unsigned char* field = payload_.data() + position_;
    position_ += static_cast<std::size_t>(rows * cols) * bytes;
    return field;
  }
  std::string_view get_text() {
    const index_t size = get_count("a text", 0, detail::k_state_text_bytes);
    return {reinterpret_cast<const char*>(take("a text", 1, size, 1)),
            static_cast<std::size_t>(size)};
  }

  std::string path_;
  std::vector<unsigned char> payload_;
  std::size_t position_ = 0;
};

ADR_NAMESPACE_END
