// SPDX-License-Identifier: Apache-2.0
#include "standin/log_links.hpp"

#include "sys/file.hpp"

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace fallbackd::standin {

namespace {

constexpr std::size_t kMaxName = 255;

}  // namespace

/// kubelet cuts off what is too long, with the container's id: such a link could be another container's.
std::string logLinkOf(const LogOwner& owner) {
  auto name = owner.pod + "_" + owner.podNamespace + "_" + owner.container + "-" + owner.containerId + ".log";
  if (name.size() > kMaxName || owner.containerId.empty() || name.find('/') != std::string::npos) return {};
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

void LogLinks::remove(const LogOwner& owner) const {
  const auto name = logLinkOf(owner);
  if (name.empty()) return;
  const auto folder = sys::openDir(Stage::logs, folder_);
  struct stat info {};
  if (!folder || ::fstatat(folder->get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (S_ISLNK(info.st_mode)) ::unlinkat(folder->get(), name.c_str(), 0);
}

}  // namespace fallbackd::standin
