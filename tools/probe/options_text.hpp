// The lines of code that ask a layer for a setting.
#pragma once

#include <adr/options.hpp>
#include <sstream>
#include <string>
#include <variant>

namespace tools {

namespace detail {

struct SettingText {
  std::string operator()(const adr::Automatic& /*automatic*/) const { return {}; }
  std::string operator()(const adr::Exact& exact) const {
    return exact.winograd ? "options.setting = adr::Exact{};"
                          : "options.setting = adr::Exact{false};";
  }
  std::string operator()(const adr::Subspace& subspace) const {
    std::ostringstream text;
    text << "options.setting = adr::Subspace{" << subspace.coordinates << "};";
    return text.str();
  }
  std::string operator()(const adr::Clustered& clustered) const {
    std::ostringstream text;
    text << "options.setting = adr::Clustered{" << clustered.radius << ", "
         << clustered.vector_length << ", " << clustered.hash_count << "};";
    return text.str();
  }
  std::string operator()(const adr::Published& published) const {
    std::ostringstream text;
    const bool centred = published.hash_center == adr::HashCenter::mean;
    const char* name = centred ? "adr::Published published" : "options.setting = adr::Published";
    text << name << '{' << published.vector_length << ", " << published.hash_count << "};";
    if (centred) {
      text << "\npublished.hash_center = adr::HashCenter::mean;\noptions.setting = published;";
    }
    return text.str();
  }
};

}  // namespace detail

/// What a user writes after `adr::Options options;` for a setting; nothing for the default.
inline std::string options_text(const adr::Setting& setting) {
  return std::visit(detail::SettingText(), setting);
}

/// The same for an error that the layer is to keep by itself.
inline std::string max_error_text(double max_error) {
  std::ostringstream text;
  text << "options.max_error = " << max_error << ';';
  return text.str();
}

}  // namespace tools
