// SPDX-License-Identifier: Apache-2.0
#include "watcher/version_skew.hpp"

#include "domain/image_reference.hpp"
#include "watcher/match.hpp"

#include <algorithm>
#include <set>

namespace fallbackd::watcher {

cri::Awaitable<void> RunningVersions::learnImages(const std::vector<cri::Container>& containers) {
  std::set<std::string> running;
  for (const auto& container : containers) {
    const auto& id = container.imageId;
    const bool unnamed = container.image.empty() && !id.empty();
    const bool wanted = std::any_of(config_->workloads.begin(), config_->workloads.end(),
                                    [&](const auto& one) { return one.match.container == container.name; });
    if (unnamed && wanted && container.state == cri::Container::State::running) running.insert(id);
  }
  std::erase_if(imageTags_, [&](const auto& one) { return !running.contains(one.first); });
  for (const auto& id : running) {
    if (imageTags_.contains(id)) continue;
    auto tags = co_await runtime_.imageTags(id);
    if (tags) imageTags_.emplace(id, std::move(*tags));
  }
}

void RunningVersions::restart() {
  counts_.clear();
  for (const auto& workload : config_->workloads) counts_[workload.name] = {};
}

/// By any of the tags that the image has in the workload's own repository. Nothing if no tag shows it.
std::optional<bool> RunningVersions::runsVersion(const cri::Container& container,
                                                 const config::Workload& workload) const {
  const auto& version = workload.binary.version;
  if (!container.image.empty()) {
    const auto image = ImageReference::parse(container.image);
    return image ? sameVersion(image->tag(), version) : std::nullopt;
  }
  const auto tags = imageTags_.find(container.imageId);
  if (tags == imageTags_.end()) return std::nullopt;
  const auto own = ImageReference::parse(workload.image);
  std::optional<bool> same;
  for (const auto& tag : tags->second) {
    const auto image = ImageReference::parse(tag);
    if (!image || !own || image->path() != own->path()) continue;
    if (const auto one = sameVersion(image->tag(), version)) same = same.value_or(false) || *one;
  }
  return same;
}

void RunningVersions::count(const PodView::Pod& pod, const std::vector<const cri::Container*>& containers) {
  if (containers.empty()) return;
  const auto& sandbox = pod.sandbox;
  const auto spec = specs_.find(sandbox.podUid, sandbox.podNamespace, sandbox.podName);
  for (const auto& workload : workloadsFor(config_, pod.sandbox, pod.choices, {}, spec.get()).workloads) {
    for (const auto* container : containers) {
      if (container->name != workload->match.container ||
          container->state != cri::Container::State::running) {
        continue;
      }
      auto& skew = counts_[workload->name];
      const auto same = runsVersion(*container, *workload);
      ++(!same ? skew.unknown : *same ? skew.same : skew.other);
    }
  }
}

}  // namespace fallbackd::watcher
