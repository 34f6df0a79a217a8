// SPDX-License-Identifier: Apache-2.0
#include "kubelet/board.hpp"

#include <algorithm>

namespace fallbackd::e2e::model {

namespace {

const ContainerDefinition* definitionOf(const PodDefinition& pod, const std::string& name) {
  const auto found = std::find_if(pod.containers.begin(), pod.containers.end(),
                                  [&](const ContainerDefinition& one) { return one.spec.name == name; });
  return found == pod.containers.end() ? nullptr : &*found;
}

PodStatus bare(const PodDefinition& pod) {
  PodStatus status;
  status.uid = pod.pod.uid;
  status.name = pod.pod.name;
  return status;
}

}  // namespace

std::shared_ptr<Board::Entry> Board::entry(const std::string& uid) const {
  auto& found = pods_[uid];
  if (!found) found = std::make_shared<Entry>();
  return found;
}

void Board::subscribe(Listener listener) {
  const std::lock_guard order(order_);
  std::vector<PodStatus> present;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [uid, one] : pods_) {
      if (one->status) present.push_back(*one->status);
    }
  }
  for (const auto& status : present) listener(status);
  listeners_.push_back(std::move(listener));
}

/// Called with mutex_ held.
void Board::addProbes(const PodDefinition& pod, PodStatus& status) const {
  status.ready = !status.containers.empty();
  const auto resultOf = [this](const std::string& id, ProbeType type) {
    const auto found = results_.find({id, type});
    return found != results_.end() && found->second;
  };
  for (auto& one : status.containers) {
    const auto* const definition = definitionOf(pod, one.name);
    if (definition == nullptr) continue;
    one.started = one.running() && (!definition->startup || resultOf(one.containerId, ProbeType::startup));
    one.ready = one.started && (!definition->readiness || resultOf(one.containerId, ProbeType::readiness));
    if (one.role == Role::init)
      one.ready = one.state.kind == ContainerState::Kind::terminated && one.state.exitCode == 0;
    status.ready = status.ready && one.ready;
  }
  status.ready = status.ready && status.phase == Phase::running;
}

/// Called with order_ held.
void Board::update(const PodDefinition& pod, PodStatus status) {
  {
    const std::lock_guard lock(mutex_);
    addProbes(pod, status);
    const auto place = entry(status.uid);
    if (place->status == status) return;
    place->status = status;
    ++place->version;
    place->changed.notify_all();
  }
  log_.add(status.name, "", "Status", status.text());
  for (const auto& listener : listeners_) listener(status);
}

void Board::publish(const PodDefinition& pod, PodStatus status) {
  const std::lock_guard order(order_);
  update(pod, std::move(status));
}

void Board::publishDeleting(const PodDefinition& pod) {
  const std::lock_guard order(order_);
  auto status = find(pod.pod.uid).value_or(bare(pod));
  status.deleting = true;
  update(pod, std::move(status));
}

void Board::publishGone(const PodDefinition& pod) {
  const std::lock_guard order(order_);
  auto status = find(pod.pod.uid).value_or(bare(pod));
  status.containers.clear();
  status.deleting = true;
  status.gone = true;
  update(pod, std::move(status));
}

void Board::setResult(const PodDefinition& pod, const std::string& containerId, ProbeType type,
                      bool success) {
  const std::lock_guard order(order_);
  {
    const std::lock_guard lock(mutex_);
    results_[{containerId, type}] = success;
  }
  if (auto status = find(pod.pod.uid)) update(pod, std::move(*status));
}

std::optional<bool> Board::result(const std::string& containerId, ProbeType type) const {
  const std::lock_guard lock(mutex_);
  const auto found = results_.find({containerId, type});
  return found == results_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<PodStatus> Board::find(const std::string& uid) const {
  const std::lock_guard lock(mutex_);
  return entry(uid)->status;
}

std::uint64_t Board::version(const std::string& uid) const {
  const std::lock_guard lock(mutex_);
  return entry(uid)->version;
}

bool Board::waitFor(const std::string& uid, const Holds& holds, std::chrono::nanoseconds ceiling) const {
  std::unique_lock lock(mutex_);
  const auto place = entry(uid);
  return place->changed.wait_for(lock, ceiling, [&] { return place->status && holds(*place->status); });
}

void Board::waitForChange(const std::string& uid, std::uint64_t version, Stamp until,
                          const std::stop_token& stop) const {
  std::unique_lock lock(mutex_);
  const auto place = entry(uid);
  place->changed.wait_until(lock, stop, until, [&] { return place->version != version; });
}

}  // namespace fallbackd::e2e::model
