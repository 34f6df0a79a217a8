// SPDX-License-Identifier: Apache-2.0
#include "kubelet/relist.hpp"

#include <algorithm>
#include <set>

namespace fallbackd::e2e::model {

namespace {

PodSeen podOf(const std::string& uid, const std::vector<SeenSandbox>& sandboxes,
              const std::vector<SeenContainer>& containers) {
  PodSeen seen;
  std::copy_if(sandboxes.begin(), sandboxes.end(), std::back_inserter(seen.sandboxes),
               [&](const auto& one) { return one.uid == uid; });
  std::copy_if(containers.begin(), containers.end(), std::back_inserter(seen.containers),
               [&](const auto& one) { return one.uid() == uid; });
  const auto newerFirst = [](const auto& a, const auto& b) { return a.createdAt > b.createdAt; };
  std::sort(seen.sandboxes.begin(), seen.sandboxes.end(), newerFirst);
  std::sort(seen.containers.begin(), seen.containers.end(), newerFirst);
  return seen;
}

std::string digestOf(const PodSeen& seen) {
  std::string digest;
  for (const auto& one : seen.sandboxes) digest += one.id + (one.ready ? "+" : "-");
  for (const auto& one : seen.containers) digest += one.id + std::to_string(static_cast<int>(one.state));
  return digest;
}

}  // namespace

Relist::Relist(Runtime& runtime, EventLog& log, Millis period,
               std::function<void(const SeenContainer&)> onStranger)
    : runtime_(runtime),
      log_(log),
      period_(period),
      onStranger_(std::move(onStranger)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Relist::~Relist() {
  thread_.request_stop();
  thread_.join();
}

void Relist::follow(const std::string& uid, std::function<void()> onChange) {
  const std::lock_guard lock(mutex_);
  pods_[uid].onChange = std::move(onChange);
}

void Relist::unfollow(const std::string& uid) {
  const std::lock_guard lock(mutex_);
  pods_[uid].onChange = nullptr;
}

std::optional<PodSeen> Relist::newerThan(const std::string& uid, Stamp then, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const bool there = relisted_.wait(lock, stop, [&] { return began_ && *began_ > then; });
  const auto found = pods_.find(uid);
  if (!there) return std::nullopt;
  return found == pods_.end() ? PodSeen() : found->second.seen;
}

std::uint64_t Relist::count() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

bool Relist::waitForNext(std::chrono::nanoseconds ceiling) {
  const auto now = Monotonic::now();
  std::unique_lock lock(mutex_);
  return relisted_.wait_for(lock, ceiling, [&] { return began_ && *began_ > now; });
}

PodSeen Relist::detailed(PodSeen listed) const {
  std::vector<SeenContainer> all;
  for (auto& one : listed.containers) {
    auto status = runtime_.status(one.id);
    if (!status) continue;  // removed meanwhile
    status->sandboxId = one.sandboxId;
    all.push_back(std::move(*status));
  }
  listed.containers = std::move(all);
  return listed;
}

Result<PodSeen> Relist::look(const std::string& uid) const {
  FB_TRY(const auto sandboxes, runtime_.sandboxes());
  FB_TRY(const auto containers, runtime_.containers());
  return detailed(podOf(uid, sandboxes, containers));
}

void Relist::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    relist();
    std::unique_lock lock(mutex_);
    relisted_.wait_for(lock, stop, period_, [] { return false; });
  }
}

void Relist::relist() {
  const auto began = Monotonic::now();
  const auto sandboxes = runtime_.sandboxes();
  const auto containers = sandboxes ? runtime_.containers() : tl::unexpected<Error>(sandboxes.error());
  if (!containers) {
    log_.add("", "", "RelistFailed", containers.error().message());
    return;
  }
  std::map<std::string, std::string> digests;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [uid, pod] : pods_) digests[uid] = pod.digest;
  }
  for (const auto& one : *sandboxes) digests.try_emplace(one.uid);
  for (const auto& one : *containers) digests.try_emplace(one.uid());
  std::map<std::string, std::pair<PodSeen, std::string>> changed;
  for (const auto& [uid, before] : digests) {
    auto seen = podOf(uid, *sandboxes, *containers);
    const auto digest = digestOf(seen);
    if (digest != before) changed[uid] = {detailed(std::move(seen)), digest};
  }
  std::set<std::string> followed;
  {
    const std::lock_guard lock(mutex_);
    began_ = began;
    for (auto& [uid, news] : changed) {
      auto& pod = pods_[uid];
      pod.seen = std::move(news.first);
      pod.digest = std::move(news.second);
      if (pod.onChange) pod.onChange();  // under the lock: later its pod may be gone
    }
    for (const auto& [uid, pod] : pods_) {
      if (pod.onChange) followed.insert(uid);
    }
    ++count_;
  }
  relisted_.notify_all();
  for (const auto& one : *containers) {
    const auto home = std::find_if(sandboxes->begin(), sandboxes->end(),
                                   [&](const SeenSandbox& sandbox) { return sandbox.id == one.sandboxId; });
    if (home == sandboxes->end() || !followed.contains(home->uid) || one.uid() == home->uid) continue;
    if (one.state == RunState::running) onStranger_(one);
  }
}

}  // namespace fallbackd::e2e::model
