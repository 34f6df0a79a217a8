// SPDX-License-Identifier: Apache-2.0
#include "config/files.hpp"

#include "base/error.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;

}  // namespace

bool isDropInName(std::string_view name) {
  // ConfigMap volumes keep their data in hidden folders, editors their temporary files in hidden files.
  return !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"));
}

std::vector<std::string> listDropIns(const std::string& folder, bool mustExist, Problems& problems) {
  const auto unreadable = [&](const Error& error) {
    problems.add({folder, 0, 0}, "cannot read the drop-in folder: " + errnoText(error.errnum));
  };
  std::vector<std::string> files;
  const auto dir = sys::openDir(Stage::config, folder);
  if (!dir) {
    if (mustExist || dir.error().reason != Reason::not_found) unreadable(dir.error());
    return files;
  }
  const auto names = sys::listDir(Stage::config, *dir);
  if (!names) {
    unreadable(names.error());
    return files;
  }
  for (const auto& name : *names) {
    if (isDropInName(name)) files.push_back(folder + "/" + name);
  }
  return files;
}

std::string metadataOf(const std::string& mainFile, const std::string& dropInDir) {
  Problems unreadable;  // the loader reports them
  auto files = listDropIns(dropInDir, false, unreadable);
  files.push_back(mainFile);
  std::string all;
  for (const auto& file : files) {
    struct stat facts {};
    all += file + '\n';
    if (::stat(file.c_str(), &facts) != 0) continue;
    for (const auto number :
         {static_cast<long>(facts.st_dev), static_cast<long>(facts.st_ino), static_cast<long>(facts.st_size),
          facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec, facts.st_ctim.tv_sec, facts.st_ctim.tv_nsec}) {
      all += std::to_string(number) + '\n';
    }
  }
  return all;
}

std::optional<std::string> readText(const std::string& file, Problems& problems) {
  const auto unreadable = [&](int error) {
    problems.add({file, 0, 0}, "cannot be read: " + errnoText(error));
    return std::nullopt;
  };
  const sys::UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return unreadable(errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return unreadable(errno);
  if (!S_ISREG(info.st_mode)) {
    problems.add({file, 0, 0}, S_ISDIR(info.st_mode) ? "is a folder" : "is not a regular file",
                 "name a YAML file");
    return std::nullopt;
  }
  auto text = sys::readAll(Stage::config, fd, kMaxFileBytes, file);
  if (text) return std::move(*text);
  if (text.error().reason != Reason::too_large) return unreadable(text.error().errnum);
  problems.add({file, 0, 0}, "is larger than 1 MiB", "split the workloads into files in conf.d");
  return std::nullopt;
}

}  // namespace fallbackd::config
