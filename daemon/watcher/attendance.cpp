// SPDX-License-Identifier: Apache-2.0
#include "watcher/attendance.hpp"

#include <algorithm>
#include <utility>
#include <variant>

namespace fallbackd::watcher {

namespace {

// Containers of one namespace that may wait at once for images that their pods name. kubelet runs 110 pods by
// default.
constexpr std::size_t kMaxChosenOfNamespace = 256;

std::string overLimitText(const cri::Sandbox& sandbox) {
  return "pod " + sandbox.podNamespace + "/" + sandbox.podName +
         ": too many containers of its namespace wait for images that their pods name (" +
         std::to_string(kMaxChosenOfNamespace) + "); not all of this pod's are looked at";
}

}  // namespace

Attendance::Attendance(boost::asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic,
                       PodView& pods, Listener& listener, config::ConfigPtr config, PodSpecs& specs)
    : executor_(executor),
      clock_(LoopClock::of(executor)),
      runtime_(runtime),
      pods_(pods),
      listener_(listener),
      config_(std::move(config)),
      specs_(specs),
      questions_(config_),
      prober_(executor, runtime, traffic, config_->detection.maxConcurrentProbes,
              config_->detection.reprobeInterval,
              [this](const std::string& host, const Scope& scope) {
                wake([&](const Key& key, const Attended& one) {
                  return one.reference.host() == host &&
                         (!scope || pods_.at(key.first).sandbox.podNamespace == *scope);
                });
              }),
      starts_(pods, clock_,
              [this](const Key& key, const StartWatch::Judgement& judgement) { judged(key, judgement); }),
      tasks_(executor) {
  prober_.unsticker().enable(config_->detection.unstick);
  prober_.unsticker().onUnstuck([this](const Unstuck& one) { listener_.unstuck(one); });
}

void Attendance::reconfigure(config::ConfigPtr config) {
  config_ = std::move(config);
  prober_.unsticker().enable(config_->detection.unstick);
  questions_.reconfigure(config_);
  prober_.reconfigure(config_->detection.maxConcurrentProbes, config_->detection.reprobeInterval);
  for (const auto& [key, attended] : attended_) tasks_.cancel(attended.task);
  attended_.clear();
  chosenOf_.clear();
  const auto before = starts_.endAll();
  for (const auto& [id, pod] : pods_.pods()) {
    if (attendAll(id, Seen::later, before)) specs_.podWaits(pod.sandbox.podUid);
  }
}

/// Reports once what keeps stalled connections from being ended. A containerd that is not up yet is not a
/// problem.
void Attendance::checkUnstick(Unseen unseen) {
  auto& unsticker = prober_.unsticker();
  if (unsticker.works()) return;
  std::string why;
  switch (unsticker.state()) {
    case Unsticker::State::not_permitted:
      why = "the capability NET_ADMIN is missing";
      break;
    case Unsticker::State::not_supported:
      why = "this kernel was built without CONFIG_INET_DIAG_DESTROY";
      break;
    case Unsticker::State::not_visible:
      if (unseen == Unseen::counts) why = "containerd's connections cannot be seen";
      break;
    case Unsticker::State::untried:
    case Unsticker::State::ready:
    case Unsticker::State::off:
      break;
  }
  if (why.empty()) return;
  listener_.trouble(
      "pulls that hang at a dead registry cannot be ended, and hold up kubelet's other pulls: " + why +
      " (detection.unstick: false stops this message)");
}

void Attendance::attendAll(const std::string& sandboxId, Seen seen) {
  if (attendAll(sandboxId, seen, {})) specs_.podWaits(pods_.at(sandboxId).sandbox.podUid);
}

/// `before`: what is already known about waiting containers.
bool Attendance::attendAll(const std::string& sandboxId, Seen seen, const StartWatch::Starts& before) {
  const auto& pod = pods_.at(sandboxId);
  const auto made = pod.made();
  const auto covering = coveringOf(pod);
  awaitSpec(pod, seen, covering);
  std::size_t beyond = 0;
  for (const auto& workload : covering.workloads) {
    const Key key{sandboxId, workload->match.container};
    if (made.contains(key.second) || attended_.contains(key)) continue;
    if (overLimit(pod, *workload)) {
      ++beyond;
      continue;
    }
    auto reference = ImageReference::parse(workload->image);
    if (!reference) continue;  // impossible: the configuration and the annotations were parsed by it
    if (workload->imageFrom != Provenance::configuration) ++chosenOf_[pod.sandbox.podNamespace];
    auto& attended = attended_.emplace(key, Attended(workload, *reference, executor_)).first->second;
    starts_.begin(key, workload, *reference, seen, before);
    // Last: the first look may begin at once, and end with a state.
    attended.task = tasks_.spawn(attend(key, workload, std::move(*reference), attended.again));
  }
  notes_[sandboxId].overLimit = beyond;
  reportAnnotations(pod, covering);
  const auto waits = [&](const WorkloadPtr& one) { return !made.contains(one->match.container); };
  return std::any_of(covering.workloads.begin(), covering.workloads.end(), waits) ||
         !notes_[sandboxId].withoutSpec.empty();
}

Covering Attendance::coveringOf(const PodView::Pod& pod) const {
  const auto& sandbox = pod.sandbox;
  const auto spec = specs_.find(sandbox.podUid, sandbox.podNamespace, sandbox.podName);
  return workloadsFor(config_, sandbox, pod.choices, pod.made(), spec.get());
}

/// Remembers which of the pod's containers wait for its specification.
void Attendance::awaitSpec(const PodView::Pod& pod, Seen seen, const Covering& covering) {
  const auto made = pod.made();
  auto& notes = notes_[pod.sandbox.id];
  notes.withoutSpec = covering.withoutSpec;
  std::erase_if(notes.withoutSpec,
                [&](const WorkloadPtr& one) { return made.contains(one->match.container); });
  if (notes.withoutSpec.empty()) {
    notes.seen.reset();
  } else if (!notes.seen) {
    notes.seen = seen;
  }
}

void Attendance::specChanged(const std::string& sandboxId) {
  const auto& pod = pods_.at(sandboxId);
  const auto covering = coveringOf(pod);
  const auto stands = [&](const config::Workload& before) {
    return std::any_of(covering.workloads.begin(), covering.workloads.end(), [&](const auto& one) {
      return one->match.container == before.match.container && one->name == before.name &&
             one->image == before.image && one->binary == before.binary;
    });
  };
  std::vector<Key> changed;
  for (const auto& [key, attended] : attended_) {
    const bool inherits = attended.workload->inheritance.on;
    if (key.first == sandboxId && inherits && !stands(*attended.workload)) changed.push_back(key);
  }
  for (const auto& key : changed) leave(key);
  // What was refused before may start now.
  wake([&](const Key& key, const Attended& one) {
    return key.first == sandboxId && one.workload->inheritance.on;
  });
  attendAll(sandboxId, notes_[sandboxId].seen.value_or(Seen::later), {});
}

/// Pods of one namespace must not use up all places.
bool Attendance::overLimit(const PodView::Pod& pod, const config::Workload& workload) const {
  if (workload.imageFrom == Provenance::configuration) return false;
  const auto found = chosenOf_.find(pod.sandbox.podNamespace);
  return found != chosenOf_.end() && found->second >= kMaxChosenOfNamespace;
}

/// Reports once which of the pod's annotations are not followed.
void Attendance::reportAnnotations(const PodView::Pod& pod, const Covering& covering) {
  auto& notes = notes_[pod.sandbox.id];
  notes.ignored = {covering.refused, covering.cutOff + notes.overLimit};
  auto troubles = covering.troubles;
  if (notes.overLimit > 0) troubles.push_back(overLimitText(pod.sandbox));
  for (const auto& workload : covering.withoutPolicy) {
    troubles.push_back("workload " + workload->name +
                       " matches pods of Jobs and does not cover them: it does not set restart.policy "
                       "(OnFailure or Never, as the pods do)");
  }
  for (const auto& trouble : troubles) {
    const auto& reported = notes.reported;
    if (std::find(reported.begin(), reported.end(), trouble) == reported.end()) listener_.trouble(trouble);
  }
  notes.reported = std::move(troubles);
}

void Attendance::leave(const Key& key) {
  if (const auto notes = notes_.find(key.first); notes != notes_.end()) {
    std::erase_if(notes->second.withoutSpec,
                  [&](const WorkloadPtr& one) { return one->match.container == key.second; });
  }
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  if (found->second.workload->imageFrom != Provenance::configuration) {
    const auto chosen = chosenOf_.find(pods_.at(key.first).sandbox.podNamespace);
    if (--chosen->second == 0) chosenOf_.erase(chosen);
  }
  tasks_.cancel(found->second.task);
  attended_.erase(found);
  starts_.end(key);
}

void Attendance::leavePod(const std::string& sandboxId) {
  std::vector<Key> left;
  for (const auto& [key, attended] : attended_) {
    if (key.first == sandboxId) left.push_back(key);
  }
  for (const auto& key : left) leave(key);
  notes_.erase(sandboxId);
  // A pod whose sandbox is replaced has both for a while.
  const auto& uid = pods_.at(sandboxId).sandbox.podUid;
  const auto& all = pods_.pods();
  const auto isOther = [&](const auto& one) {
    return one.first != sandboxId && one.second.sandbox.podUid == uid;
  };
  if (std::none_of(all.begin(), all.end(), isOther)) specs_.podGone(uid);
}

void Attendance::wake(const std::function<bool(const Key&, const Attended&)>& which) {
  for (const auto& [key, attended] : attended_) {
    if (which(key, attended)) attended.again->set();
  }
}

void Attendance::containerExited(const std::string& sandboxId) {
  wake([&](const Key& key, const Attended& one) {
    return key.first == sandboxId && !one.workload->startAfter.empty();
  });
}

/// Not those whose image kubelet always pulls: its presence says nothing about the next pull, and the event
/// may be about our own pull. containerd announces an image at each pull, even one that it had.
void Attendance::imageArrived(const ImageReference& reference) {
  wake([&](const Key&, const Attended& one) {
    return one.reference == reference && config::pullPolicyOf(*one.workload) != config::PullPolicy::always;
  });
}

void Attendance::setState(const Key& key, Waiting::State state, const Verdict* verdict) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  auto& one = found->second;
  one.state = state;
  one.cause = verdict == nullptr ? Cause::unknown : verdict->cause;
  one.text = verdict == nullptr ? std::string() : verdict->text;
  if (verdict != nullptr && !verdict->remembered) one.trouble = verdict->trouble;
  // A remembered verdict took no time; how long the first one took stays of interest.
  if (verdict != nullptr && (verdict->ended > verdict->started || !one.verdictTook)) {
    one.verdictTook = verdict->ended - verdict->started;
  }
}

void Attendance::judged(const Key& key, const StartWatch::Judgement& judgement) {
  if (!judgement.overdue) return setState(key, Waiting::State::image_present);
  auto& one = attended_.at(key);
  one.state = Waiting::State::not_started;
  one.cause = Cause::not_started;
  one.text = judgement.text;
  const auto workload = one.workload;
  // kubelet's next pull brings it from the node. A pull that hangs before it in the queue is another matter.
  const bool comesByItself =
      one.onNode && judgement.heldUp && std::holds_alternative<BackOff>(*judgement.heldUp);
  if (judgement.heldUp && !comesByItself && workload->detection.triggers.contains(Cause::not_started)) {
    const auto& pod = pods_.at(key.first);
    listener_.detected(Detection{pod.sandbox,
                                 workload,
                                 Cause::not_started,
                                 judgement.text,
                                 pods_.waitingSince(key.first, *workload),
                                 judgement.since,
                                 {},
                                 pod.status});
  } else if (judgement.wasHeldUp) {
    listener_.noLongerHeldUp(key.first, key.second);
  }
}

std::size_t Attendance::size() const {
  std::size_t waitForSpec = 0;
  for (const auto& [id, notes] : notes_) waitForSpec += notes.withoutSpec.size();
  return attended_.size() + waitForSpec;
}

std::vector<Waiting> Attendance::waitingContainers() const {
  std::vector<Waiting> all;
  for (const auto& [key, one] : attended_) {
    const auto& pod = pods_.at(key.first);
    const auto* start = starts_.find(key);
    all.push_back({pod.sandbox, one.workload, pod.since, one.state, one.cause, one.text, one.verdictTook,
                   start->heldUp, start->imageSince, one.trouble});
  }
  for (const auto& [id, notes] : notes_) {
    for (const auto& workload : notes.withoutSpec) {
      const auto& pod = pods_.at(id);
      all.push_back({pod.sandbox, workload, pod.since, Waiting::State::not_specified, {}, {}, {}});
    }
  }
  return all;
}

std::size_t Attendance::overLimit(const std::string& sandboxId) const {
  const auto notes = notes_.find(sandboxId);
  return notes == notes_.end() ? 0 : notes->second.overLimit;
}

IgnoredAnnotations Attendance::ignoredAnnotations() const {
  IgnoredAnnotations all;
  for (const auto& [id, notes] : notes_) {
    all.refused += notes.ignored.refused;
    all.cutOff += notes.ignored.cutOff;
  }
  return all;
}

}  // namespace fallbackd::watcher
