// SPDX-License-Identifier: Apache-2.0
// What the Watcher tells of the pods that it knows.
#include "watcher/watcher.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

std::set<std::string> Watcher::Pod::made() const {
  std::set<std::string> names;
  for (const auto& [id, one] : containers) names.insert(one.name);
  return names;
}

std::set<std::string> PodView::made() const {
  std::set<std::string> names;
  for (const auto& one : containers) names.insert(one.name);
  return names;
}

/// Before version 2 containerd tells a container's image by its id only. Asked for once as long as it runs.
cri::Awaitable<void> Watcher::learnImages(const std::vector<cri::Container>& containers) {
  std::map<std::string, std::vector<std::string>> known;
  for (const auto& container : containers) {
    const auto& id = container.imageId;
    const bool unnamed = container.image.empty() && !id.empty();
    const bool wanted = std::any_of(config_->workloads.begin(), config_->workloads.end(),
                                    [&](const auto& one) { return one.match.container == container.name; });
    if (!unnamed || !wanted || container.state != cri::Container::State::running || known.contains(id))
      continue;
    if (const auto before = imageTags_.find(id); before != imageTags_.end()) {
      known.insert(*before);
      continue;
    }
    auto tags = co_await runtime_.imageTags(id);
    if (tags) known.emplace(id, std::move(*tags));
  }
  imageTags_ = std::move(known);
}

/// By any of the tags that the image has in the workload's own repository. Nothing where none tells.
std::optional<bool> Watcher::runsVersion(const cri::Container& container,
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

void Watcher::countRunning(const Pod& pod, const std::vector<const cri::Container*>& containers) {
  if (containers.empty()) return;
  for (const auto& workload : workloadsFor(config_, pod.sandbox, pod.choices, {}).workloads) {
    for (const auto* container : containers) {
      if (container->name != workload->match.container ||
          container->state != cri::Container::State::running) {
        continue;
      }
      auto& skew = running_[workload->name];
      const auto same = runsVersion(*container, *workload);
      ++(!same ? skew.unknown : *same ? skew.same : skew.other);
    }
  }
}

std::vector<Waiting> Watcher::waitingContainers() const {
  std::vector<Waiting> all;
  for (const auto& [key, one] : attended_) {
    const auto& pod = pods_.at(key.first);
    all.push_back({pod.sandbox, one.workload, pod.since, one.state, one.cause, one.text, one.verdictTook,
                   one.start.heldUp, one.start.imageSince, one.trouble});
  }
  return all;
}

IgnoredAnnotations Watcher::ignoredAnnotations() const {
  IgnoredAnnotations all;
  for (const auto& [id, pod] : pods_) {
    all.refused += pod.ignored.refused;
    all.cutOff += pod.ignored.cutOff;
  }
  return all;
}

std::vector<PodView> Watcher::pods() const {
  std::vector<PodView> all;
  for (const auto& [id, pod] : pods_) {
    auto& view = all.emplace_back(PodView{pod.sandbox, {}, pod.choices, pod.overLimit});
    for (const auto& [containerId, one] : pod.containers) view.containers.push_back({one.name, one.exitCode});
  }
  return all;
}

}  // namespace fallbackd::watcher
