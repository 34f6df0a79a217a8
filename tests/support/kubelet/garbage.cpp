// SPDX-License-Identifier: Apache-2.0
#include "kubelet/garbage.hpp"

#include "image.hpp"

#include <algorithm>
#include <map>

namespace fallbackd::e2e::model {

int collectContainers(Kubelet& kubelet, const Runtime& runtime, const ContainerLogs& logs,
                      const std::set<std::string>& uids) {
  auto all = runtime.containers();
  if (!all) return 0;
  std::sort(all->begin(), all->end(), [](const auto& a, const auto& b) { return a.createdAt > b.createdAt; });
  std::set<std::string> kept;
  int removed = 0;
  for (const auto& one : *all) {
    if (one.state == RunState::running || !uids.contains(one.uid())) continue;
    if (kept.insert(one.uid() + "/" + one.name()).second) continue;
    const auto status = runtime.status(one.id);
    if (!kubelet.removeContainer(one.id)) continue;
    std::error_code none;
    if (status && !status->logPath.empty()) std::filesystem::remove(status->logPath, none);
    ++removed;
  }
  logs.removeDeadLinks();
  return removed;
}

int collectImages(Kubelet& kubelet, const Runtime& runtime) {
  const auto images = runtime.images();
  const auto containers = runtime.containers();
  if (!images || !containers) return 0;
  std::set<std::string> used;
  for (const auto& one : *containers) {
    used.insert(one.imageRef);
    used.insert(one.image);
  }
  int removed = 0;
  for (const auto& image : *images) {
    const auto isUsed = [&](const std::string& name) { return name == kSandboxImage || used.contains(name); };
    if (isUsed(image.id) || std::any_of(image.names.begin(), image.names.end(), isUsed)) continue;
    removed += kubelet.removeImage(image.id) ? 1 : 0;
  }
  return removed;
}

}  // namespace fallbackd::e2e::model
