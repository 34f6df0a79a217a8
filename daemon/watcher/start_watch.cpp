// SPDX-License-Identifier: Apache-2.0
#include "watcher/start_watch.hpp"

#include <algorithm>
#include <chrono>
#include <variant>
#include <vector>

namespace fallbackd::watcher {

namespace {

/// Without the time, which would make it a different text at each look.
std::string notStartedText(const std::optional<HeldUp>& heldUp, std::chrono::nanoseconds startTimeout) {
  std::string text =
      "the image is on the node, and " + formatDuration(startTimeout) + " later no container; ";
  if (!heldUp) return text + "nothing is known to hold kubelet up";
  if (const auto* pull = std::get_if<StalledPull>(&*heldUp)) {
    return text + "kubelet is stuck behind the pull of " + pull->image + " for pod " + pull->podNamespace +
           "/" + pull->pod + ", which has stalled";
  }
  return text + "kubelet's back-off after failed pulls has not ended";
}

/// Kubelet's own pull failed in the same way, and at once.
bool failsAtOnce(Cause cause) {
  const auto blame = blameOf({cause, ""});
  return cause != Cause::timeout && (blame == Blame::host || blame == Blame::suspect);
}

}  // namespace

void StartWatch::begin(const Key& key, WorkloadPtr workload, ImageReference reference, Seen seen,
                       const Starts& before) {
  Start start{.workload = std::move(workload),
              .reference = std::move(reference),
              .seenToBegin = seen == Seen::from_its_beginning};
  if (const auto known = before.find(key);
      known != before.end() && known->second.reference == start.reference) {
    auto workloadNow = std::move(start.workload);
    start = known->second;
    start.workload = std::move(workloadNow);
    start.present = false;  // until the next look
  }
  starts_.emplace(key, std::move(start));
}

void StartWatch::end(const Key& key) {
  starts_.erase(key);
  pullMoves(key);
}

StartWatch::Starts StartWatch::endAll() {
  stalled_.clear();
  return std::exchange(starts_, {});
}

void StartWatch::imageFound(const Key& key) {
  const auto found = starts_.find(key);
  if (found == starts_.end()) return;
  auto& start = found->second;
  // The first look at a pod that was seen to begin comes before kubelet's own look, which then pulls nothing.
  if (!start.asked) start.needsNoPull = start.seenToBegin;
  imageIsThere(start, key, clock_.now());
}

void StartWatch::imagePulled(const Key& key, Stamp at) {
  const auto found = starts_.find(key);
  if (found != starts_.end()) imageIsThere(found->second, key, at);
}

void StartWatch::imageIsThere(Start& start, const Key& key, Stamp at) {
  if (!start.imageSince) start.imageSince = at;
  start.asked = true;
  start.present = true;
  pullMoves(key);
  judge(key);
}

void StartWatch::imageIsMissing(const Key& key) {
  const auto found = starts_.find(key);
  if (found == starts_.end()) return;
  auto& start = found->second;
  start.imageSince.reset();
  start.heldUp.reset();
  start.needsNoPull = false;
  start.asked = true;
  start.present = false;
}

void StartWatch::pullFailed(const Key& key, const Question& question, const Verdict& verdict) {
  imageIsMissing(key);
  const auto found = starts_.find(key);
  const auto* pod = pods_.find(key.first);
  if (found == starts_.end() || pod == nullptr) return;
  auto& start = found->second;
  // Kubelet's first pull began with its pod; of a later one only our own is known.
  const bool first = start.seenToBegin && !start.failed;
  const auto begun =
      std::min(verdict.started, first ? pods_.waitingSince(key.first, *start.workload) : verdict.started);
  start.failed = verdict.ended;
  start.onlyOutages = start.onlyOutages && failsAtOnce(verdict.cause);
  if (!verdict.stalled) return pullMoves(key);
  // Also after a new configuration: what it explained before, it still explains.
  start.hangsSince = std::min(begun, start.hangsSince.value_or(begun));
  const bool isNew =
      stalled_.add(key, {question.reference.toString(), question.reference.host(), pod->sandbox.podNamespace,
                         pod->sandbox.podName, key.second, *start.hangsSince, question.scope});
  if (isNew) judgeAll(Which::not_held_up);
}

void StartWatch::pullMoves(const Key& key) {
  if (const auto found = starts_.find(key); found != starts_.end()) found->second.hangsSince.reset();
  if (stalled_.remove(key)) judgeAll(Which::held_up);
}

void StartWatch::judgeAll(Which which) {
  std::vector<Key> keys;  // a judgement may end some of them
  for (const auto& [key, start] : starts_) {
    if (start.present) keys.push_back(key);
  }
  for (const auto& key : keys) {
    const auto found = starts_.find(key);
    if (found != starts_.end() && found->second.heldUp.has_value() == (which == Which::held_up)) judge(key);
  }
}

std::optional<Stamp> StartWatch::due(const Key& key) const {
  const auto found = starts_.find(key);
  if (found == starts_.end() || !found->second.imageSince) return std::nullopt;
  const auto& start = found->second;
  const auto since = std::max(*start.imageSince, pods_.waitingSince(key.first, *start.workload));
  return since + std::chrono::duration_cast<Monotonic::duration>(start.workload->detection.startTimeout);
}

std::optional<HeldUp> StartWatch::heldUp(const Key& key) const {
  const auto& start = starts_.at(key);
  const auto& pod = pods_.at(key.first);
  // It was there before: kubelet then waits for its own reasons, and a Job's work may have been done.
  if (pod.everMade.contains(key.second)) return std::nullopt;
  Blocked blocked{pod.sandbox.podNamespace, start.reference.toString()};
  if (const auto when = due(key)) blocked.due = *when;
  // What waited before we came may have been refused for days.
  if (start.needsNoPull || !start.seenToBegin) blocked.onlyInSandbox = key.first;
  if (const auto* pull = stalled_.blocking(blocked)) return pull->second;
  // With any other policy kubelet starts what is there at its next sync, back-off or not.
  const bool backsOff = config::pullPolicyOf(*start.workload) == config::PullPolicy::always;
  if (!backsOff || !start.seenToBegin || !start.failed || !start.onlyOutages) return std::nullopt;
  const auto until = backOffUntil(pods_.waitingSince(key.first, *start.workload), *start.failed);
  if (!until || clock_.now() >= *until) return std::nullopt;
  return BackOff{*start.failed, *until};
}

void StartWatch::judge(const Key& key) {
  const auto when = due(key);
  if (!when) return;
  const auto now = clock_.now();
  if (now < *when) return judged_(key, {});
  auto& start = starts_.at(key);
  const bool wasHeldUp = start.heldUp.has_value();
  start.heldUp = heldUp(key);
  judged_(key, {.overdue = true,
                .heldUp = start.heldUp,
                .wasHeldUp = wasHeldUp,
                .text = notStartedText(start.heldUp, start.workload->detection.startTimeout),
                .since = std::max(now, *when)});
}

const StartWatch::Start* StartWatch::find(const Key& key) const {
  const auto found = starts_.find(key);
  return found == starts_.end() ? nullptr : &found->second;
}

bool StartWatch::imagePresent(const Key& key) const {
  const auto* start = find(key);
  return start != nullptr && start->present;
}

}  // namespace fallbackd::watcher
