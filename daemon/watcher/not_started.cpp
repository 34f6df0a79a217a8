// SPDX-License-Identifier: Apache-2.0
// Images that are on the node while their containers do not come: the part of the Watcher that judges whether
// kubelet is held up. Where that is not known a fallback would be wrong, since kubelet may be refusing the
// container.
#include "watcher/watcher.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

namespace {

/// Without the time, which would make it another text at each look.
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

/// What kubelet's own pull met as well, and what ended it at once.
bool failsAtOnce(Cause cause) {
  const auto blame = blameOf({cause, ""});
  return cause != Cause::timeout && (blame == Blame::host || blame == Blame::suspect);
}

}  // namespace

/// When the container counts as missing; nothing while its image is not known to be there.
std::optional<Stamp> Watcher::startDue(const Key& key) const {
  const auto found = attended_.find(key);
  if (found == attended_.end() || !found->second.start.imageSince) return std::nullopt;
  const auto& one = found->second;
  const auto since = std::max(*one.start.imageSince, waitingSince(pods_.at(key.first), *one.workload));
  return since + std::chrono::duration_cast<Monotonic::duration>(one.workload->detection.startTimeout);
}

/// A look found the image on the node.
void Watcher::imageIsThere(const Key& key, Stamp at) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  auto& start = found->second.start;
  if (!start.imageSince) start.imageSince = at;
  start.asked = true;
  ready_.insert(key);
  pullMoves(key);
  judgeStart(key);
}

void Watcher::imageIsMissing(const Key& key) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  auto& start = found->second.start;
  start.imageSince.reset();
  start.heldUp.reset();
  start.needsNoPull = false;
  start.asked = true;
  ready_.erase(key);
}

/// The first look at a pod that was seen to begin comes before kubelet's own: it does not pull what is there
/// then.
void Watcher::noteIfThereBefore(const Key& key, config::PullPolicy policy) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  auto& start = found->second.start;
  if (!start.asked) start.needsNoPull = start.seenToBegin && policy == config::PullPolicy::if_not_present;
}

void Watcher::pullFailed(const Key& key, const Question& question, const Verdict& verdict) {
  imageIsMissing(key);
  const auto found = attended_.find(key);
  const auto pod = pods_.find(key.first);
  if (found == attended_.end() || pod == pods_.end()) return;
  auto& start = found->second.start;
  // Kubelet's first pull began with its pod; of a later one only our own is known.
  const bool first = start.seenToBegin && !start.failed;
  const auto begun =
      std::min(verdict.started, first ? waitingSince(pod->second, *found->second.workload) : verdict.started);
  start.failed = verdict.ended;
  start.onlyOutages = start.onlyOutages && failsAtOnce(verdict.cause);
  if (!verdict.stalled) return pullMoves(key);
  const auto& sandbox = pod->second.sandbox;
  const bool isNew =
      stalled_.add(key, {question.reference.toString(), question.reference.host(), sandbox.podNamespace,
                         sandbox.podName, key.second, begun, question.scope});
  if (!isNew) return;
  const auto ready = ready_;  // judging may call the listener
  for (const auto& one : ready) {
    const auto waits = attended_.find(one);
    if (waits != attended_.end() && !waits->second.start.heldUp) judgeStart(one);
  }
}

/// The pull of this container's image is not known to have stalled any more, or nobody waits for it.
void Watcher::pullMoves(const Key& key) {
  if (!stalled_.remove(key)) return;
  const auto ready = ready_;
  for (const auto& one : ready) {
    const auto waits = attended_.find(one);
    if (waits != attended_.end() && waits->second.start.heldUp) judgeStart(one);
  }
}

std::optional<HeldUp> Watcher::heldUp(const Key& key) const {
  const auto& one = attended_.at(key);
  const auto& pod = pods_.at(key.first);
  const auto& start = one.start;
  // It was there before: kubelet then waits for reasons of its own, and a Job's work may have been done.
  if (pod.everMade.contains(key.second)) return std::nullopt;
  Blocked blocked{pod.sandbox.podNamespace, one.reference.toString()};
  if (const auto due = startDue(key)) blocked.due = *due;
  // What was waiting before us may have been refused for days.
  if (start.needsNoPull || !start.seenToBegin) blocked.onlyInSandbox = key.first;
  if (const auto* pull = stalled_.blocking(blocked)) return pull->second;
  // With any other policy kubelet starts what is there at its next sync, back-off or not.
  const bool backsOff = config::pullPolicyOf(*one.workload) == config::PullPolicy::always;
  if (!backsOff || !start.seenToBegin || !start.failed || !start.onlyOutages) return std::nullopt;
  const auto until = backOffUntil(waitingSince(pod, *one.workload), *start.failed);
  if (!until || clock_.now() >= *until) return std::nullopt;
  return BackOff{*start.failed, *until};
}

void Watcher::judgeStart(const Key& key) {
  const auto due = startDue(key);
  if (!due) return;
  const auto now = clock_.now();
  if (now < *due) return note(key, Waiting::State::image_present);
  auto& one = attended_.at(key);
  const auto& workload = one.workload;
  const bool wasHeldUp = one.start.heldUp.has_value();
  one.start.heldUp = heldUp(key);
  one.state = Waiting::State::not_started;
  one.cause = Cause::not_started;
  one.text = notStartedText(one.start.heldUp, workload->detection.startTimeout);
  if (one.start.heldUp && workload->detection.triggers.contains(Cause::not_started)) {
    const auto& pod = pods_.at(key.first);
    listener_.detected(Detection{pod.sandbox,
                                 workload,
                                 Cause::not_started,
                                 one.text,
                                 waitingSince(pod, *workload),
                                 std::max(now, *due),
                                 {},
                                 pod.status});
  } else if (wasHeldUp) {
    listener_.heldUpNoMore(key.first, key.second);
  }
}

}  // namespace fallbackd::watcher
