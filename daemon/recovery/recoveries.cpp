// SPDX-License-Identifier: Apache-2.0
#include "recovery/recoveries.hpp"

#include "base/async/backoff.hpp"
#include "domain/image_reference.hpp"
#include "watcher/real_container.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::recovery {

namespace {

constexpr std::size_t kKeptEnded = 200;
constexpr std::size_t kKeptSaid = 256;
/// If a pod's annotation chose the image, a result that came from its own namespace's password says nothing
/// about other namespaces' pods.
bool appliesTo(const std::string& podNamespace, const config::Workload& workload,
               const watcher::Verdict& verdict) {
  if (workload.imageFrom != Provenance::annotation || workload.match.namespaceName == podNamespace)
    return true;
  const bool refused = verdict.kind == watcher::Verdict::Kind::failed && verdict.cause == Cause::unauthorized;
  return !verdict.withCredentials && !refused;
}

constexpr Backoff::Limits kEndRecords{std::chrono::seconds(1), std::chrono::seconds(30)};
constexpr Backoff::Limits kLooksForGonePods{std::chrono::milliseconds(500), std::chrono::minutes(1)};

}  // namespace

Recoveries::Recoveries(Services& services, config::ConfigPtr config)
    : services_(services),
      config_(std::move(config)),
      handBackGap_(services.metrics),
      withholding_(services),
      containerd_(config_->containerd.socket),
      sweepAsked_(services_.executor),
      tasks_(services.executor) {
  services_.config = config_;
  services_.departures.emplace(LoopClock::of(services_.executor));
  services_.makings = std::make_shared<TaskGroup>(services_.executor);
  services_.launches.emplace(services_.executor, FairLimits::of(config_->launcher.maxConcurrentLaunches));
  services_.probes.emplace(services_.executor, FairLimits::of(config_->launcher.maxConcurrentLaunches));
}

void Recoveries::reconfigure(config::ConfigPtr config) {
  config_ = std::move(config);
  services_.config = config_;
  withholding_.reconfigured();
  services_.launches->reconfigure(FairLimits::of(config_->launcher.maxConcurrentLaunches));
  services_.probes->reconfigure(FairLimits::of(config_->launcher.maxConcurrentLaunches));
  for (const auto& [key, recovery] : active_) recovery->reconfigured();
}

void Recoveries::podDescribed(const std::string& podUid) {
  for (const auto& [key, recovery] : active_) {
    if (podUid.empty() || recovery->incident().target.podUid == podUid) recovery->podDescribed();
  }
}

void Recoveries::pause(config::Pause order) {
  services_.standInsForbidden = order.withoutStandIns;
  withholding_.pause(std::move(order));
  for (const auto& [key, recovery] : active_) recovery->reconfigured();
  sweepAsked_.set();
}

void Recoveries::detected(watcher::Detection detection) {
  if (stopping_) return;  // the next daemon will detect it again
  const Key key{detection.sandbox.id, detection.workload->match.container};
  if (const auto known = active_.find(key); known != active_.end()) {
    // Perhaps through another pull from its registry: then this image was not requested, and nothing is
    // probed.
    if (detection.cause != Cause::not_started) known->second->pullFailed();
    return;
  }
  if (held_.contains({detection.sandbox.podUid, key.second})) return;
  if (spent_.contains({detection.sandbox.podUid, key.second})) return;
  if (endsElsewhere({detection.sandbox.podUid, key.second})) return;
  if (withholding_.withholds(*config_, detection)) return;
  Incident incident;
  incident.id = newRecoveryId();
  incident.target = {detection.sandbox.id, detection.sandbox.podUid, detection.sandbox.podNamespace,
                     detection.sandbox.podName, detection.workload->match.container};
  incident.workload = detection.workload->name;
  incident.binary = detection.workload->binary;
  incident.cause = detection.cause;
  incident.causeText = std::move(detection.text);
  incident.verdictTook = detection.verdictTook;
  incident.begun = LoopClock::of(services_.executor).wall();
  incident.stamps.waitingSince = detection.waitingSince;
  incident.stamps.detected = detection.failureKnown;
  PodFacts facts{detection.sandbox.labels, watcher::choiceOf(*detection.workload)};
  const auto recovery = std::make_shared<Recovery>(services_, std::move(incident), detection.workload,
                                                   std::move(detection.status), std::move(facts));
  active_.emplace(key, recovery);
  spawn(keep(key, recovery, nullptr));
}

/// One still runs in an earlier sandbox of the pod. Its end may mean that nothing may run again, and its
/// cgroup has the same name. The watcher asks again.
bool Recoveries::endsElsewhere(const Place& place) const {
  return std::any_of(active_.begin(), active_.end(), [&](const auto& one) {
    const auto& target = one.second->incident().target;
    return target.podUid == place.first && target.container == place.second;
  });
}

void Recoveries::noLongerHeldUp(const std::string& sandboxId, const std::string& container) {
  withholding_.notDue({sandboxId, container});
  const auto found = active_.find({sandboxId, container});
  if (found != active_.end() && found->second->incident().cause == Cause::not_started) {
    found->second->withdraw();
  }
}

cri::Awaitable<void> Recoveries::keep(Key key, std::shared_ptr<Recovery> recovery,
                                      std::unique_ptr<launcher::Process> process) {
  if (process == nullptr) {
    co_await recovery->run();
  } else {
    co_await recovery->resume(std::move(process));
  }
  retire(key, *recovery);
  if (recovery->endIsUnrecorded()) co_await recordEndLater(recovery);
}

/// Tries as long as its pod is there.
cri::Awaitable<void> Recoveries::recordEndLater(std::shared_ptr<Recovery> recovery) {
  const auto& incident = recovery->incident();
  Backoff pause(kEndRecords);
  while (recovery->endIsUnrecorded()) {
    co_await pause.wait();
    const auto spent = spent_.find({incident.target.podUid, incident.target.container});
    if (spent == spent_.end() || spent->second != incident.id) co_return;
    recovery->recordEnd();
  }
}

void Recoveries::retire(const Key& key, const Recovery& recovery) {
  const auto& incident = recovery.incident();
  handBackGap_.ended(incident);
  if (incident.neverAgain) keepFromRunning(incident);
  remember(incident);
  active_.erase(key);
}

void Recoveries::remember(Incident incident) {
  ended_.push_front(std::move(incident));
  if (ended_.size() > kKeptEnded) ended_.pop_back();
}

void Recoveries::keepFromRunning(const Incident& incident) {
  spent_[{incident.target.podUid, incident.target.container}] = incident.id;
  spawn(forgetGonePods());
}

/// Forgets pods that have no sandbox any more, so that the journal holds no more than the pods that are
/// there. kubelet removes a sandbox some time after it stopped, and no event reports it, so this looks again.
cri::Awaitable<void> Recoveries::forgetGonePods() {
  if (std::exchange(forgetting_, true)) co_return;
  Backoff pause(kLooksForGonePods);
  while (!spent_.empty()) {
    const auto before = spent_;  // what comes meanwhile need not be in the list
    const auto sandboxes = co_await services_.runtime.listSandboxes();
    if (!sandboxes) break;  // asked again at the next end, or when containerd is back
    for (const auto& [place, recovery] : before) {
      const bool there = std::any_of(sandboxes->begin(), sandboxes->end(),
                                     [&](const auto& one) { return one.podUid == place.first; });
      if (there) continue;
      spent_.erase(place);
      static_cast<void>(services_.journal.remove(recovery));
    }
    if (!spent_.empty()) co_await pause.wait();
  }
  forgetting_ = false;
}

void Recoveries::containerCreated(const std::string& podUid, const cri::Container& container) {
  withholding_.containerCreated(podUid, container.name);
  for (const auto& [key, recovery] : active_) {
    const auto& target = recovery->incident().target;
    if (target.podUid != podUid || target.container != container.name) continue;
    // If no configuration names the image, kubelet's own container of that name is the real one: the pod's
    // image may have been changed since the launch.
    const bool byName =
        !recovery->knowsWorkload() || recovery->workload().imageFrom == Provenance::pod_specification;
    if (byName || watcher::ofOneRepository(container.image, recovery->workload().image)) {
      handBack(key, recovery, container);
    } else {
      spawn(handBackIfReal(key, recovery, container));
    }
  }
}

void Recoveries::handBack(const Key& key, const std::shared_ptr<Recovery>& recovery,
                          const cri::Container& container) {
  handBackGap_.asked(recovery->incident(), container.id);
  recovery->containerCame();
  using Run = cri::Container::State;
  const bool runs = container.state == Run::running || container.state == Run::exited;
  if (runs || recovery->workload().handBack.on != config::HandBackOn::start) return recovery->handBack();
  const auto [started, isNew] =
      starting_.try_emplace(container.id, std::make_shared<Event>(services_.executor));
  if (isNew) spawn(handBackOnceItListens(key, recovery, container, started->second));
}

/// For an image whose name does not show whether it is the workload's. Until the runtime answers, the
/// fallback keeps serving.
cri::Awaitable<void> Recoveries::handBackIfReal(Key key, std::shared_ptr<Recovery> recovery,
                                                cri::Container container) {
  Backoff pause;
  for (;;) {
    const auto real = co_await watcher::runsImageOf(services_.runtime, container, recovery->workload().image);
    const auto found = active_.find(key);
    if (found == active_.end() || found->second != recovery) co_return;  // it ended for another reason
    if (real && *real) {
      handBack(key, recovery, container);
      co_return;
    }
    if (real) {
      services_.log.warn(
          "a container of this name runs an image other than the workload's; the fallback stays",
          {{"recovery", recovery->incident().id},
           {"pod", recovery->incident().target.podName},
           {"container", container.name},
           {"image", container.image.empty() ? container.imageId : container.image}});
      co_return;
    }
    co_await pause.wait();
  }
}

void Recoveries::containerStarted(const std::string& id, Stamp at) {
  handBackGap_.containerStarted(id, at);
  if (const auto found = starting_.find(id); found != starting_.end()) found->second->set();
}

void Recoveries::sandboxStarted(const std::string& sandboxId, Stamp at) {
  for (const auto& [key, recovery] : active_) {
    if (key.first == sandboxId) recovery->sandboxStarted(at);
  }
}

void Recoveries::sandboxGone(const std::string& sandboxId) {
  withholding_.sandboxGone(sandboxId);
  for (const auto& [key, recovery] : active_) {
    if (key.first == sandboxId) recovery->podGone();
  }
  spawn(forgetGonePods());
}

void Recoveries::imageArrived(const std::string& reference) {
  for (const auto& [key, recovery] : active_) {
    const auto& workload = recovery->workload();
    if (sameImage(workload.image, reference)) recovery->imageArrived();
    if (workload.handBack.on != config::HandBackOn::image) continue;
    // Its image was there from the beginning: only the container ends it.
    if (recovery->incident().cause == Cause::not_started) continue;
    if (sameImage(workload.image, reference)) recovery->handBack();
  }
}

void Recoveries::probed(const config::Workload& workload, const watcher::Verdict& verdict) {
  using Kind = watcher::Verdict::Kind;
  const auto result =
      verdict.kind == Kind::pulled ? telemetry::ProbeResult::pulled : telemetry::ProbeResult::undecided;
  // The image may have been here before: no event reports its arrival.
  for (const auto& [key, recovery] : active_) {
    if (!sameImage(recovery->workload().image, workload.image)) continue;
    if (!appliesTo(recovery->incident().target.podNamespace, workload, verdict)) continue;
    if (verdict.kind == Kind::pulled) recovery->imageCame();
    if (verdict.kind == Kind::failed && recovery->incident().workload == workload.name) {
      recovery->pullFailed();
    }
  }
  if (verdict.kind == Kind::failed) {
    services_.detectionMetrics.probeFailed(verdict.cause);
  } else {
    services_.detectionMetrics.probe(result);
  }
  services_.log.debug("probe pull",
                      {{"workload", workload.name},
                       {"image", workload.image},
                       {"result", verdict.kind == Kind::failed ? toString(verdict.cause) : toString(result)},
                       {"text", verdict.text},
                       {"ms", toMillis(verdict.ended - verdict.started)}});
  if (verdict.kind == Kind::failed && verdict.cause == Cause::unknown) {
    if (firstTime(verdict.text)) {
      services_.log.warn("containerd gave a reason that fallbackd does not know",
                         {{"workload", workload.name}, {"image", workload.image}, {"text", verdict.text}});
    }
  } else if (verdict.kind == Kind::failed && !workload.detection.triggers.contains(verdict.cause)) {
    services_.log.info("image cannot be pulled, but this cause starts no fallback",
                       {{"workload", workload.name},
                        {"image", workload.image},
                        {"cause", toString(verdict.cause)},
                        {"text", verdict.text}});
  }
}

/// Whether a text is new: what repeats every few seconds is logged once.
bool Recoveries::firstTime(const std::string& text) {
  if (said_.size() >= kKeptSaid) said_.clear();
  return said_.insert(text).second;
}

void Recoveries::trouble(const std::string& what) {
  if (firstTime(what)) services_.log.warn("needs attention", {{"what", what}});
}

void Recoveries::unstuck(const watcher::Unstuck& one) {
  using Result = watcher::UnstickResult;
  const bool done = one.result == Result::ended || one.result == Result::gone;
  if (!done && !firstTime("unstick " + one.registry + " " + one.peer + std::string(toString(one.result)))) {
    return;
  }
  const telemetry::Fields fields{{"registry", one.registry},
                                 {"address", one.peer},
                                 {"result", toString(one.result)},
                                 {"silentMs", toMillis(one.silent)},
                                 {"error", one.error}};
  if (done) {
    services_.log.info("ended a stalled connection of containerd, so that the pull fails at once", fields);
  } else {
    services_.log.warn("a stalled connection of containerd is left as it is", fields);
  }
}

void Recoveries::sandboxImage(const std::string& reference, bool present) {
  services_.detectionMetrics.sandboxImagePresent(present);
  if (sandboxImagePresent_ == present) return;
  if (!present) {
    services_.log.warn(
        "the pause image is not on the node: no pod can get a sandbox, and no fallback can help",
        {{"image", reference}});
  } else if (sandboxImagePresent_) {
    services_.log.info("the pause image is on the node again", {{"image", reference}});
  }
  sandboxImagePresent_ = present;
}

void Recoveries::connection(bool up, const std::string& why) {
  services_.detectionMetrics.containerdConnected(up);
  using News = ContainerdLink::News;
  const auto news = containerd_.report(up, why, LoopClock::of(services_.executor).now());
  const telemetry::Fields fields{{"socket", containerd_.socket()}, {"error", containerd_.why()}};
  switch (news) {
    case News::connected:
      services_.log.info("connected to containerd", {{"socket", containerd_.socket()}});
      break;
    case News::lost:
      services_.log.warn("lost the connection to containerd", fields);
      break;
    case News::unreachable:
      services_.log.warn("containerd does not answer; without it no pod is seen and none is rescued", fields);
      break;
    case News::still:
      services_.log.warn("containerd still does not answer", fields);
      break;
    case News::none:
      services_.log.debug("containerd is not reachable", fields);
      break;
  }
  if (!up) return;
  spawn(forgetGonePods());
  // The watcher reports sandboxes that go away; it never knew one that went away while no daemon was running.
  for (const auto& [key, recovery] : active_) {
    if (recovery->incident().adopted) spawn(catchUp(key));
  }
}

/// While the daemon stops, reports still arrive. What would begin now would never be cancelled, and stop()
/// would wait for it.
void Recoveries::spawn(cri::Awaitable<void> task) {
  if (!stopping_) tasks_.spawn(std::move(task));
}

cri::Awaitable<void> Recoveries::stop() {
  beginNothing();
  co_await withholding_.stop();
  tasks_.cancelAll();
  co_await tasks_.drained();
  co_await services_.makings->drained();
}

std::vector<Incident> Recoveries::incidents() const {
  std::vector<Incident> all;
  for (const auto& [key, recovery] : active_) all.push_back(recovery->incident());
  all.insert(all.end(), ended_.begin(), ended_.end());
  return all;
}

}  // namespace fallbackd::recovery
