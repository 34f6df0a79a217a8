// SPDX-License-Identifier: Apache-2.0
#include "kubelet/container_logs.hpp"

#include <charconv>

namespace fallbackd::e2e::model {

namespace {

namespace fs = std::filesystem;

/// N of "N.log" and "N.log.20260131-235959"; -1: a different file.
int numberOf(const std::string& file) {
  int number = -1;
  const auto parsed = std::from_chars(file.data(), file.data() + file.size(), number);
  const std::string_view rest(parsed.ptr, static_cast<std::size_t>(file.data() + file.size() - parsed.ptr));
  return parsed.ec == std::errc() && rest.starts_with(".log") ? number : -1;
}

/// 20260131-235959, with a number appended if there are several in one second.
fs::path rotatedName(const fs::path& log) {
  auto stamp = rfc3339(Wall::now()).substr(0, 19);
  std::erase_if(stamp, [](char one) { return one == '-' || one == ':'; });
  stamp.replace(stamp.find('T'), 1, "-");
  fs::path name = log.string() + "." + stamp;
  for (int number = 1; fs::exists(name); ++number)
    name = log.string() + "." + stamp + "-" + std::to_string(number);
  return name;
}

}  // namespace

ContainerLogs::ContainerLogs(Runtime& runtime, EventLog& log, fs::path links)
    : runtime_(runtime), log_(log), links_(std::move(links)) {
  fs::create_directories(links_);
}

int ContainerLogs::nextNumber(const fs::path& folder) {
  int highest = -1;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing))
    highest = std::max(highest, numberOf(entry.path().filename()));
  return highest + 1;
}

void ContainerLogs::link(const Pod& pod, const std::string& container, const std::string& id,
                         const fs::path& target) const {
  const auto& spec = pod.spec;
  const auto name = spec.name + "_" + spec.namespaceName + "_" + container + "-" + id + ".log";
  std::error_code exists;
  fs::create_symlink(target, links_ / name, exists);
}

void ContainerLogs::removeDeadLinks() const {
  for (const auto& entry : fs::directory_iterator(links_)) {
    std::error_code none;
    if (entry.is_symlink() && !fs::exists(entry.path(), none)) fs::remove(entry.path(), none);
  }
}

int ContainerLogs::rotate(std::uintmax_t maxBytes) {
  const auto all = runtime_.containers();
  if (!all) return 0;
  int rotated = 0;
  for (const auto& listed : *all) {
    if (listed.state != RunState::running) continue;
    const auto status = runtime_.status(listed.id);
    if (!status || status->logPath.empty()) continue;
    std::error_code gone;
    const auto bytes = fs::file_size(status->logPath, gone);
    const bool missing = static_cast<bool>(gone);
    if (!missing && bytes <= maxBytes) continue;
    const auto name = rotatedName(status->logPath);
    if (!missing) fs::rename(status->logPath, name);
    const auto reopened = runtime_.reopenLog(listed.id);
    if (reopened) {
      ++rotated;
    } else {
      log_.add("", listed.name(), "RotationFailed", reopened.error().message());
      if (!missing) fs::rename(name, status->logPath, gone);
    }
  }
  return rotated;
}

}  // namespace fallbackd::e2e::model
