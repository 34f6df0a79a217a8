// SPDX-License-Identifier: Apache-2.0
#include "watcher/pod_view.hpp"

#include "watcher/match.hpp"
#include "watcher/real_container.hpp"

#include <algorithm>

namespace fallbackd::watcher {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMaxLabelBytes = 16384;

std::size_t bytesOf(const cri::Labels& labels) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : labels) bytes += key.size() + value.size();
  return bytes;
}

}  // namespace

std::set<std::string> PodSummary::made() const {
  std::set<std::string> names;
  for (const auto& one : containers) names.insert(one.name);
  return names;
}

std::set<std::string> PodView::Pod::made() const {
  std::set<std::string> names;
  for (const auto& [id, one] : containers) names.insert(one.name);
  return names;
}

void PodView::reconfigure(const config::Config& config) {
  matchedLabels_.clear();
  for (const auto& workload : config.workloads) {
    for (const auto& [key, value] : workload.match.labels) matchedLabels_.insert(key);
  }
}

/// Keeps what is needed of a sandbox: a pod's author can write more into it than there is memory for.
void PodView::trim(cri::Sandbox& sandbox) const {
  sandbox.annotations.clear();
  if (bytesOf(sandbox.labels) <= kMaxLabelBytes) return;
  const auto job = jobLabels();
  std::erase_if(sandbox.labels, [&](const auto& one) {
    return !matchedLabels_.contains(one.first) && std::find(job.begin(), job.end(), one.first) == job.end();
  });
}

void PodView::store(Pod& pod, cri::Sandbox sandbox) const {
  pod.choices = readChoices(sandbox.annotations);
  trim(sandbox);
  pod.sandbox = std::move(sandbox);
}

bool PodView::addSandbox(cri::Sandbox sandbox, Stamp now, Stamp since) {
  const auto [entry, isNew] = pods_.try_emplace(sandbox.id, Pod{.seen = now, .since = since});
  if (isNew) store(entry->second, std::move(sandbox));
  return isNew;
}

const PodView::Pod& PodView::updateSandbox(cri::Sandbox sandbox, Stamp now) {
  auto& pod = pods_.try_emplace(sandbox.id, Pod{.seen = now, .since = now}).first->second;
  if (!pod.readySince && sandbox.ready) pod.readySince = now;
  store(pod, std::move(sandbox));
  return pod;
}

bool PodView::sandboxStarted(const std::string& sandboxId, Stamp at) {
  const auto pod = pods_.find(sandboxId);
  if (pod == pods_.end()) return false;
  pod->second.since = at;
  return true;
}

void PodView::setStatus(const std::string& sandboxId, cri::SandboxStatus status, Stamp now) {
  const auto pod = pods_.find(sandboxId);
  if (pod == pods_.end() || !status.sandbox.ready) return;
  trim(status.sandbox);
  pod->second.status = std::move(status);
  if (!pod->second.readySince) pod->second.readySince = now;
}

bool PodView::dropSandbox(const std::string& sandboxId) {
  const auto pod = pods_.find(sandboxId);
  if (pod == pods_.end()) return false;
  for (const auto& [id, container] : pod->second.containers) sandboxOf_.erase(id);
  pods_.erase(pod);
  return true;
}

bool PodView::addContainer(const std::string& sandboxId, const cri::Container& container, Stamp now) {
  const auto pod = pods_.find(sandboxId);
  if (pod == pods_.end() || !bearsKubeletsMark(container, pod->second.sandbox.podUid)) return false;
  const bool isNew =
      pod->second.containers.emplace(container.id, Container{.name = container.name, .seen = now}).second;
  if (!isNew) return false;
  sandboxOf_[container.id] = sandboxId;
  pod->second.everMade.insert(container.name);
  return true;
}

std::optional<std::string> PodView::containerExited(const std::string& id, int exitCode, Stamp at) {
  const auto found = sandboxOf_.find(id);
  if (found == sandboxOf_.end()) return std::nullopt;
  auto& container = pods_.at(found->second).containers.at(id);
  container.exitCode = exitCode;
  container.exited = at;
  return found->second;
}

std::optional<std::string> PodView::dropContainer(const std::string& id) {
  const auto found = sandboxOf_.find(id);
  if (found == sandboxOf_.end()) return std::nullopt;
  auto sandboxId = found->second;
  sandboxOf_.erase(found);
  pods_.at(sandboxId).containers.erase(id);
  return sandboxId;
}

const PodView::Pod* PodView::find(const std::string& sandboxId) const {
  const auto pod = pods_.find(sandboxId);
  return pod == pods_.end() ? nullptr : &pod->second;
}

std::optional<std::string> PodView::sandboxFor(const std::string& podUid,
                                               const cri::Container& container) const {
  if (pods_.contains(container.sandboxId)) return container.sandboxId;
  const Pod* newest = nullptr;
  for (const auto& [id, pod] : pods_) {
    if (pod.sandbox.podUid == podUid && (newest == nullptr || pod.since > newest->since)) newest = &pod;
  }
  return newest == nullptr ? std::nullopt : std::optional(newest->sandbox.id);
}

std::vector<std::string> PodView::missingSandboxes(const Listed& listed) const {
  std::vector<std::string> missing;
  for (const auto& [id, pod] : pods_) {
    if (listed.ready.contains(id)) continue;
    const bool made = pod.readySince || listed.ended.contains(id);
    const auto known = pod.readySince.value_or(pod.seen) + (made ? 0ns : listed.making);
    if (known < listed.asked) missing.push_back(id);
  }
  return missing;
}

std::vector<std::string> PodView::missingContainers(const std::string& sandboxId,
                                                    const std::set<std::string>& listed, Stamp asked) const {
  std::vector<std::string> missing;
  for (const auto& [id, container] : pods_.at(sandboxId).containers) {
    if (!listed.contains(id) && container.seen + kMaking < asked) missing.push_back(id);
  }
  return missing;
}

PodView::Attempts PodView::attemptsAt(const std::string& sandboxId, const std::string& container) const {
  Attempts attempts;
  const auto* pod = find(sandboxId);
  if (pod == nullptr) return attempts;
  for (const auto& [id, one] : pod->containers) {
    if (one.name != container) continue;
    if (!one.exitCode) attempts.notEnded.push_back(id);
    attempts.succeeded = attempts.succeeded || one.exitCode == 0;
  }
  return attempts;
}

Stamp PodView::waitingSince(const std::string& sandboxId, const config::Workload& workload) const {
  const auto& pod = pods_.at(sandboxId);
  auto since = pod.since;
  for (const auto& [id, container] : pod.containers) {
    const auto& names = workload.startAfter;
    if (container.exitCode == 0 && std::find(names.begin(), names.end(), container.name) != names.end()) {
      since = std::max(since, container.exited);
    }
  }
  return since;
}

std::vector<PodSummary> PodView::summaries() const {
  std::vector<PodSummary> all;
  for (const auto& [id, pod] : pods_) {
    auto& summary = all.emplace_back(PodSummary{pod.sandbox, {}, pod.choices});
    for (const auto& [containerId, one] : pod.containers) {
      summary.containers.push_back({one.name, one.exitCode});
    }
  }
  return all;
}

}  // namespace fallbackd::watcher
