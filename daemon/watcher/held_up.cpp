// SPDX-License-Identifier: Apache-2.0
#include "watcher/held_up.hpp"

#include <algorithm>
#include <chrono>

namespace fallbackd::watcher {

using namespace std::chrono_literals;

namespace {

// docs/kubelet.md: 10 s after the first failure, doubled up to 300 s, for each pod and image.
constexpr std::chrono::seconds kFirstBackOff = 10s;
constexpr std::chrono::seconds kMaxBackOff = 300s;
// Pods are synced every 11 to 15 s, and only a sync pulls again; a second for the pull itself.
constexpr std::chrono::seconds kMaxDelay = 16s;
// After this many attempts it is not known any more when the next one is due.
constexpr int kMaxAttempts = 32;

}  // namespace

std::string_view wordOf(const HeldUp& heldUp) {
  return std::holds_alternative<StalledPull>(heldUp) ? "pull" : "back_off";
}

bool StalledPulls::add(const Key& key, StalledPull pull) {
  const auto [known, isNew] = pulls_.try_emplace(key, pull);
  if (isNew) return true;
  const bool same = known->second.image == pull.image && known->second.scope == pull.scope;
  if (known->second.image == pull.image) pull.since = std::min(pull.since, known->second.since);
  known->second = std::move(pull);
  return !same;
}

bool StalledPulls::countsFor(const StalledPull& pull, const std::string& podNamespace) const {
  if (!pull.scope || *pull.scope == podNamespace) return true;
  return std::any_of(pulls_.begin(), pulls_.end(), [&](const auto& one) {
    return one.second.registry == pull.registry && one.second.scope != pull.scope;
  });
}

const std::pair<const StalledPulls::Key, StalledPull>* StalledPulls::blocking(const Blocked& blocked) const {
  const std::pair<const Key, StalledPull>* oldest = nullptr;
  for (const auto& one : pulls_) {
    const auto& [key, pull] = one;
    if (pull.image == blocked.image || pull.since >= blocked.due) continue;
    if (blocked.onlyInSandbox && *blocked.onlyInSandbox != key.first) continue;
    if (oldest != nullptr && oldest->second.since <= pull.since) continue;
    if (countsFor(pull, blocked.podNamespace)) oldest = &one;
  }
  return oldest;
}

std::optional<Stamp> backOffUntil(Stamp first, Stamp lastFailure) {
  auto earliest = first;  // of the attempt that is looked at
  auto latest = first;
  Monotonic::duration pause = kFirstBackOff;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    // Seen to fail before the attempt was certain to be over: it may have come later, and succeeded.
    if (lastFailure < latest) return std::nullopt;
    const auto next = earliest + pause;
    if (lastFailure < next) return next;
    earliest = next;
    latest += pause + kMaxDelay;
    pause = std::min<Monotonic::duration>(2 * pause, kMaxBackOff);
  }
  return std::nullopt;
}

}  // namespace fallbackd::watcher
