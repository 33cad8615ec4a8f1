// Files that take the place of others whole or not at all.
#pragma once

#include <filesystem>
#include <fstream>
#include <ios>
#include <system_error>

namespace training {

/// Lets write(stream) fill a file next to the target and renames it, so that a crash cannot leave
/// half a file. Returns false when the disk refuses, and where the target is no regular file but a
/// link, a folder or a device; the target is as it was then.
template <class Write>
[[nodiscard]] bool replace_file(const std::filesystem::path& target, const Write& write) {
  const auto there = std::filesystem::symlink_status(target);
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) return false;
  std::filesystem::path unfinished = target;
  unfinished += ".tmp";
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  write(file);
  file.close();
  std::error_code problem;
  if (file) std::filesystem::rename(unfinished, target, problem);
  if (file && !problem) return true;
  std::filesystem::remove(unfinished, problem);
  return false;
}

}  // namespace training
