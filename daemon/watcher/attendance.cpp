// SPDX-License-Identifier: Apache-2.0
// Looking after the containers that wait: the part of the Watcher that asks for their images.
#include "watcher/watcher.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace fallbackd::watcher {

using namespace std::chrono_literals;

namespace {

// containerd could not be asked: ask again soon, it is not the registry's fault.
constexpr auto kUndecidedRetry = 250ms;
// Containers of one namespace that may wait for annotated images at once. kubelet runs 110 pods by default.
constexpr std::size_t kMaxChosenOfNamespace = 256;

std::string overLimitText(const cri::Sandbox& sandbox) {
  return "pod " + sandbox.podNamespace + "/" + sandbox.podName +
         ": so many containers of its namespace wait for " + "annotated images (" +
         std::to_string(kMaxChosenOfNamespace) + ") that not all of this pod's are looked at";
}

}  // namespace

void Watcher::wake(const std::function<bool(const Key&, const Attendance&)>& which) {
  for (const auto& [key, attendance] : attended_) {
    if (!which(key, attendance)) continue;
    attendance.again->set();
  }
}

/// `before`: what is known of waiting containers already.
void Watcher::attendAll(Pod& pod, Seen seen, const std::map<Key, Attendance>& before) {
  const auto covering = workloadsFor(config_, pod.sandbox, pod.choices, pod.made());
  pod.overLimit = 0;
  for (const auto& workload : covering.workloads) {
    const std::string& name = workload->match.container;
    const bool has = std::any_of(pod.containers.begin(), pod.containers.end(),
                                 [&](const auto& one) { return one.second.name == name; });
    const Key key{pod.sandbox.id, name};
    if (has || attended_.contains(key)) continue;
    if (overLimit(pod, *workload)) {
      ++pod.overLimit;
      continue;
    }
    auto reference = ImageReference::parse(workload->image);
    if (!reference) continue;  // the configuration and the annotations were read by it
    auto again = std::make_shared<LookAgain>(executor_);
    if (workload->imageFrom == Provenance::annotation) ++chosenOf_[pod.sandbox.podNamespace];
    auto& attendance = attended_.emplace(key, Attendance(workload, *reference)).first->second;
    attendance.again = again;
    attendance.start.seenToBegin = seen == Seen::to_begin;
    if (const auto known = before.find(key); known != before.end() && known->second.reference == *reference) {
      attendance.start = known->second.start;
    }
    // Last: the first look may begin at once, and end with what it notes.
    attendance.task = tasks_.spawn(attend(key, workload, std::move(*reference), std::move(again)));
  }
  tell(pod, covering);
}

/// Pods of one namespace must not use up what there is.
bool Watcher::overLimit(const Pod& pod, const config::Workload& workload) const {
  if (workload.imageFrom != Provenance::annotation) return false;
  const auto found = chosenOf_.find(pod.sandbox.podNamespace);
  return found != chosenOf_.end() && found->second >= kMaxChosenOfNamespace;
}

/// Says once what of the pod's annotations is not followed.
void Watcher::tell(Pod& pod, const Covering& covering) {
  pod.ignored = {covering.refused, covering.cutOff + pod.overLimit};
  auto troubles = covering.troubles;
  if (pod.overLimit > 0) {
    troubles.push_back(overLimitText(pod.sandbox));
  }
  for (const auto& workload : covering.withoutPolicy) {
    troubles.push_back("workload " + workload->name +
                       " matches pods of Jobs and does not cover them: it does not say restart.policy "
                       "(OnFailure or Never, as the pods do)");
  }
  for (const auto& trouble : troubles) {
    if (std::find(pod.told.begin(), pod.told.end(), trouble) == pod.told.end()) listener_.trouble(trouble);
  }
  pod.told = std::move(troubles);
}

void Watcher::leave(const Key& key) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  if (found->second.workload->imageFrom == Provenance::annotation) {
    const auto chosen = chosenOf_.find(pods_.at(key.first).sandbox.podNamespace);
    if (--chosen->second == 0) chosenOf_.erase(chosen);
  }
  tasks_.cancel(found->second.task);
  ready_.erase(key);
  attended_.erase(found);
  pullMoves(key);
}

/// Looks after one waiting container until leave() cancels it. Goes on while its fallback runs: the pull that
/// succeeds at the end of the outage puts the image on the node, and kubelet starts it at its next sync.
cri::Awaitable<void> Watcher::attend(Key key, WorkloadPtr workload, ImageReference reference,
                                     std::shared_ptr<LookAgain> again) {
  for (;;) {
    again->reset();
    const auto wait = co_await lookOnce(key, workload, reference);
    co_await untilNextLook(key, again, later(clock_.now(), wait));
  }
}

/// Judges meanwhile, as soon as it is due, whether a container whose image is there is missing.
cri::Awaitable<void> Watcher::untilNextLook(Key key, std::shared_ptr<LookAgain> again, Stamp next) {
  while (clock_.now() < next) {
    const auto due = startDue(key);
    const bool comesDue = due && *due > clock_.now() && *due < next;
    if (co_await again->waitUntil(comesDue ? *due : next)) co_return;
    if (comesDue) judgeStart(key);
  }
}

/// One look; returns how long to wait before the next.
cri::Awaitable<std::chrono::nanoseconds> Watcher::lookOnce(Key key, WorkloadPtr workload,
                                                           ImageReference reference) {
  const auto interval = jittered_(config_->detection.reprobeInterval);
  const auto& detection = workload->detection;
  const auto pullPolicy = config::pullPolicyOf(*workload);
  if (pullPolicy == config::PullPolicy::never) {
    // kubelet does not ask a registry, so none can have failed.
    note(key, Waiting::State::never_pulled);
    co_return interval;
  }
  if (!workload->startAfter.empty()) {
    const auto ended = co_await predecessorsEnded(key, workload);
    if (!ended) co_return kUndecidedRetry;
    if (!*ended) {
      note(key, Waiting::State::after_init_containers);
      co_return interval;
    }
  }
  if (pullPolicy == config::PullPolicy::if_not_present) {
    const auto present = co_await runtime_.imagePresent(reference.toString());
    if (!present) co_return kUndecidedRetry;
    if (*present) {
      noteIfThereBefore(key, pullPolicy);
      imageIsThere(key, clock_.now());
      co_return interval;
    }
    imageIsMissing(key);
  }
  std::string podNamespace;
  if (const auto pod = pods_.find(key.first); pod != pods_.end()) {
    podNamespace = pod->second.sandbox.podNamespace;
    if (!pod->second.status && !std::exchange(pod->second.statusAsked, true)) {
      tasks_.spawn(learnStatus(key.first));
    }
  }
  const auto question = questionFor(*workload, reference, podNamespace);
  const auto verdict = co_await prober_.probe(question);
  if (verdict.fresh) report(*workload, verdict);
  if (verdict.kind == Verdict::Kind::undecided) {
    if (verdict.moves) pullMoves(key);
    // What was found out before still counts.
    if (!ready_.contains(key)) note(key, Waiting::State::undecided, &verdict);
    co_return kUndecidedRetry;
  }
  if (verdict.kind == Verdict::Kind::pulled) {
    note(key, Waiting::State::image_present, &verdict);
    imageIsThere(key, verdict.ended);
    co_return interval;
  }
  pullFailed(key, question, verdict);
  // kubelet may have a password that we have not.
  const bool undecided = verdict.cause == Cause::unauthorized && !verdict.withCredentials;
  note(key, undecided ? Waiting::State::undecided : Waiting::State::failed, &verdict);
  const auto pod = pods_.find(key.first);
  if (pod != pods_.end() && detection.triggers.contains(verdict.cause)) {
    listener_.detected(Detection{pod->second.sandbox, workload, verdict.cause, verdict.text,
                                 waitingSince(pod->second, *workload), verdict.ended,
                                 verdict.ended - verdict.started, pod->second.status});
  }
  co_return interval;
}

void Watcher::report(const config::Workload& workload, const Verdict& verdict) {
  if (!verdict.trouble.empty()) {
    listener_.trouble("credentials of workload " + workload.name + ": " + verdict.trouble);
  }
  listener_.probed(workload, verdict);
}

/// The operator's credentials go with the images that the operator named, and with those below the
/// repositories that the registry's entry gives away. Without credentials an outage can be told as well.
std::string Watcher::credentialsFor(const config::Workload& workload, const ImageReference& reference) const {
  if (!workload.dockerConfig.empty()) return workload.dockerConfig;
  const bool ownChoice = workload.imageFrom != Provenance::configuration;
  std::string file;
  for (const auto& registry : config_->registries) {
    const bool given = !ownChoice || std::any_of(registry.repositories.begin(), registry.repositories.end(),
                                                 [&](const auto& one) { return reference.isBelow(one); });
    if (registry.host == reference.host() && given) file = registry.dockerConfig;
  }
  return file;
}

/// They give what the node itself may pull, so only the operator's own images are asked for with them.
std::optional<config::CredentialProviders> Watcher::providersFor(const config::Workload& workload) const {
  return workload.imageFrom == Provenance::configuration ? config_->credentialProviders : std::nullopt;
}

/// A registry may refuse whoever comes without a password. So a pod's own choice speaks for the node only
/// where it asks just as the configuration does: for the same image, with the same credentials.
Question Watcher::questionFor(const config::Workload& workload, const ImageReference& reference,
                              const std::string& podNamespace) const {
  Question question{reference,    credentialsFor(workload, reference), workload.detection.stallTimeout, {},
                    podNamespace, workload.detection.responseTimeout,  providersFor(workload)};
  const bool asConfigured = configuredImages_.contains(
      {reference.toString(), question.credentialsFile, question.providers.has_value()});
  if (!speaksForTheNode(workload.imageFrom) && !asConfigured) question.scope = podNamespace;
  return question;
}

/// Each of the init containers has ended well at least once: kubelet then goes on to the next.
cri::Awaitable<Result<bool>> Watcher::predecessorsEnded(Key key, WorkloadPtr workload) {
  for (const auto& name : workload->startAfter) {
    const auto pod = pods_.find(key.first);
    if (pod == pods_.end()) co_return false;
    std::vector<std::string> unknown;
    bool ended = false;
    for (const auto& [id, container] : pod->second.containers) {
      if (container.name != name) continue;
      if (!container.exitCode) unknown.push_back(id);
      ended = ended || container.exitCode == 0;
    }
    for (const auto& id : unknown) {
      if (ended) break;
      const auto code = co_await runtime_.exitCode(id);
      if (!code && code.error().reason != Reason::not_found) co_return tl::unexpected<Error>(code.error());
      ended = code && *code == 0;
    }
    if (!ended) co_return false;
  }
  co_return true;
}

/// When kubelet could have started the container, had it the image.
Stamp Watcher::waitingSince(const Pod& pod, const config::Workload& workload) const {
  auto since = pod.since;
  for (const auto& [id, container] : pod.containers) {
    const auto& names = workload.startAfter;
    if (container.exitCode == 0 && std::find(names.begin(), names.end(), container.name) != names.end()) {
      since = std::max(since, container.exited);
    }
  }
  return since;
}

void Watcher::note(const Key& key, Waiting::State state, const Verdict* verdict) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  auto& one = found->second;
  one.state = state;
  one.cause = verdict == nullptr ? Cause::unknown : verdict->cause;
  one.text = verdict == nullptr ? std::string() : verdict->text;
  if (verdict != nullptr && !verdict->remembered) one.trouble = verdict->trouble;
  // What is known already took no time; how long it took to get to know stays of interest.
  if (verdict != nullptr && (verdict->ended > verdict->started || !one.verdictTook)) {
    one.verdictTook = verdict->ended - verdict->started;
  }
}

}  // namespace fallbackd::watcher
