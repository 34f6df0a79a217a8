// SPDX-License-Identifier: Apache-2.0
#include "sys/log_links.hpp"

#include "sys/file.hpp"

#include <array>
#include <cerrno>
#include <cstdint>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

namespace fallbackd::sys {

namespace {

constexpr std::size_t kMaxLinkName = 255;

/// FNV-1a.
std::uint64_t hashOf(std::string_view text, std::uint64_t basis) {
  constexpr std::uint64_t kPrime = 0x100000001b3;
  for (const unsigned char c : text) basis = (basis ^ c) * kPrime;
  return basis;
}

}  // namespace

std::string idOfLog(std::string_view log) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr int kParts = 4;
  std::string id;
  auto part = hashOf(log, 0xcbf29ce484222325);
  for (int i = 0; i < kParts; ++i, part = hashOf(log, part)) {
    for (int shift = 60; shift >= 0; shift -= 4) id += kHex[(part >> shift) & 0xf];
  }
  return id;
}

/// kubelet cuts off what is too long, with the container's id: such a link could be another container's.
std::string logLinkOf(const LogOwner& owner) {
  auto name = owner.pod + "_" + owner.podNamespace + "_" + owner.container + "-" + owner.containerId + ".log";
  if (name.size() > kMaxLinkName || owner.containerId.empty() || name.find('/') != std::string::npos)
    return {};
  return name;
}

Result<> LogLinks::make(const LogOwner& owner, const std::string& log) const {
  const auto name = logLinkOf(owner);
  if (name.empty()) return {};
  const auto folder = sys::openDir(Stage::logs, folder_);
  if (!folder)
    return folder.error().reason == Reason::not_found ? Result<>() : tl::unexpected(folder.error());
  if (::symlinkat(log.c_str(), folder->get(), name.c_str()) == 0 || errno == EEXIST) return {};
  return failErrno(Stage::logs, "create the link " + name + " in " + folder_);
}

std::string LogLinks::target(const LogOwner& owner) const {
  const auto name = logLinkOf(owner);
  const auto folder = name.empty() ? Result<UniqueFd>(UniqueFd()) : sys::openDir(Stage::logs, folder_);
  if (name.empty() || !folder) return {};
  std::array<char, PATH_MAX> text{};
  const auto size = ::readlinkat(folder->get(), name.c_str(), text.data(), text.size());
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

void LogLinks::remove(const LogOwner& owner) const {
  const auto name = logLinkOf(owner);
  if (name.empty()) return;
  const auto folder = sys::openDir(Stage::logs, folder_);
  struct stat info {};
  if (!folder || ::fstatat(folder->get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (S_ISLNK(info.st_mode)) ::unlinkat(folder->get(), name.c_str(), 0);
}

}  // namespace fallbackd::sys
