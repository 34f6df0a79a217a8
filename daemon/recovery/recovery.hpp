// SPDX-License-Identifier: Apache-2.0
// The life of one recovery: verify, launch, wait until ready, serve, restart, hand back. A coroutine on the
// daemon's loop; from outside it only learns what happens to the pod.
#pragma once

#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/fair_gate.hpp"
#include "base/task_group.hpp"
#include "cri/runtime.hpp"
#include "launcher/launcher.hpp"
#include "recovery/binaries.hpp"
#include "recovery/chronicle.hpp"
#include "recovery/departures.hpp"
#include "recovery/effective.hpp"
#include "recovery/incident.hpp"
#include "recovery/journal.hpp"
#include "recovery/pod_events.hpp"
#include "recovery/readiness.hpp"
#include "recovery/settling.hpp"
#include "standin/endpoints.hpp"
#include "standin/rule.hpp"
#include "standin/stand_ins.hpp"
#include "telemetry/metrics/detection.hpp"
#include "telemetry/metrics/orders.hpp"
#include "telemetry/metrics/stand_ins.hpp"
#include "watcher/match.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::recovery {

/// Shared by all recoveries; owned by the daemon, outlives them all.
struct Services {
  boost::asio::any_io_executor executor;
  cri::Runtime& runtime;
  Binaries& binaries;
  launcher::Launcher& launcher;
  Journal& journal;
  telemetry::RecoveryMetrics& metrics;
  telemetry::DetectionMetrics& detectionMetrics;
  telemetry::OrderMetrics& orderMetrics;
  telemetry::Log& log;
  std::string nodeName;
  /// Waits until the pod answers as the workload's readiness requires. Cancellable. Reason not_ready: it was
  /// probed and did not; any other: it could not be probed.
  std::function<cri::Awaitable<Result<>>(config::Readiness, launcher::Place)> waitReady;
  /// Probes once whether it still does. Cancellable.
  std::function<cri::Awaitable<Result<>>(decltype(config::Liveness::when), launcher::Place,
                                         std::chrono::nanoseconds timeout)>
      askOnce = nullptr;
  /// The node's addresses as seen from that process, a pause process on the host's network; empty if unknown.
  std::function<std::vector<std::string>(pid_t pause)> nodeAddresses = nullptr;
  /// Reports at each call which sockets listen on a port of the network of that process (their inodes).
  using Listeners = std::function<Result<std::set<std::uint64_t>>()>;
  std::function<Result<Listeners>(pid_t pid, std::uint16_t port)> listenersOf = nullptr;
  /// From now on, connections that wait at a socket when it is closed move to another program on its port, in
  /// the network of that process. Null, or without effect, if the kernel cannot do it.
  std::function<void(pid_t pid)> passOnWaiting = nullptr;
  /// Limits concurrent launches: launcher.maxConcurrentLaunches. Created by Recoveries.
  std::optional<FairGate> launches = std::nullopt;
  /// The same number of probes that are commands: they must not take the launches' places.
  std::optional<FairGate> probes = std::nullopt;
  watcher::PodSpecs* specs = &watcher::PodSpecs::none();
  config::ConfigPtr config = nullptr;  // the one in use; kept by Recoveries
  /// Receives what people who look at a pod should know; may be null.
  PodEvents* podEvents = nullptr;
  /// Null: no fallback gets a stand-in. Their metrics are set together with them.
  standin::StandIns* standIns = nullptr;
  telemetry::StandInMetrics* standInMetrics = nullptr;
  /// What the owner of a pod reported about its rollout; nothing if it was not asked or has not answered.
  std::function<std::optional<standin::RolloutFacts>(const std::string& podUid)> rollout = nullptr;
  /// Asks it again.
  std::function<void(const std::string& podUid)> askRollout = nullptr;
  /// What is known about all pods of a pod's owner; nothing: neither the pod nor its owner is known.
  std::function<std::optional<standin::EndpointFacts>(const std::string& podUid)> endpoints = nullptr;
  /// Asks for them again.
  std::function<void(const std::string& podUid)> askEndpoints = nullptr;
  /// Whether the pod is Ready with another container than this one; nothing: not known.
  std::function<std::optional<bool>(const std::string& podUid, const std::string& container,
                                    const std::string& containerId)>
      readyWithout = nullptr;
  /// Whether the pod is known to be terminating.
  std::function<bool(const std::string& podUid)> isDeleting = nullptr;
  /// Whose turn it is to make way for the real container. Created by Recoveries.
  std::optional<Departures> departures = std::nullopt;
  /// Stand-ins that are being made; some outlast their recovery. Created by Recoveries.
  std::shared_ptr<TaskGroup> makings = nullptr;
  bool standInsForbidden = false;  // by the operator's order; those that run are removed
  bool standInsMayExist = true;    // after the last sweep; set by the sweep and by each stand-in that is made
};

/// A pod on the host's network has the node's name and addresses; CRI reports neither.
void completeHostNetwork(const Services& services, cri::SandboxStatus& status);

config::Outcome outcomeOf(const launcher::ExitStatus& status);

class Recovery {
 public:
  /// `workload`: as the watcher selected it; each launch completes it from the pod's specification. `status`:
  /// CRI's earlier answer about the sandbox, if it was asked; otherwise the first launch asks. `pod` is
  /// written to the journal.
  Recovery(Services& services, Incident incident, watcher::WorkloadPtr workload,
           std::optional<cri::SandboxStatus> status = std::nullopt,
           std::optional<PodFacts> pod = std::nullopt);
  /// For a process whose workload cannot be determined yet: it is kept as it is until learnWorkload().
  static std::shared_ptr<Recovery> withoutWorkload(Services& services, Incident incident);

  /// Runs the recovery to its end. A cancelled recovery (the daemon stops) leaves its process running.
  cri::Awaitable<void> run();
  /// The same for a process that an earlier daemon started.
  cri::Awaitable<void> resume(std::unique_ptr<launcher::Process> process);

  /// The wait counts from here: what was learnt while the sandbox was still starting took no time.
  void sandboxStarted(Stamp at);
  /// The real container was created: from now on no stand-in may start.
  void containerCame() { settling_.containerCame(); }
  /// The real container is about to run.
  void handBack() { requestEnd(State::handed_back); }
  void podGone() { requestEnd(State::pod_gone); }
  /// The reason for it is gone. A launch that has begun is finished all the same, and ends as others do.
  void withdraw();
  /// The pod's image can be pulled; is here; cannot be pulled.
  void imageCame() { settling_.imageCame(); }
  void imageArrived() { settling_.imageArrived(); }
  void pullFailed() { settling_.pullFailed(); }
  void podDescribed() { settling_.podDescribed(); }
  /// The services have a new configuration.
  void reconfigured() { settling_.reconfigured(); }
  [[nodiscard]] bool mayHoldStandIn() const { return settling_.mayHold(); }
  /// The configuration, which we always know, no longer has a workload for the container.
  void notConfigured() { requestEnd(State::failed); }
  void learnWorkload(watcher::WorkloadPtr workload, std::optional<PodFacts> pod);
  /// For a recovery without a workload: its drill is over, and no other workload may take its place. Its
  /// process goes on until the pod is gone or is handed back; if it ends by itself, nothing is started.
  void keepAfterDrill(std::optional<PodFacts> pod);
  [[nodiscard]] bool knowsWorkload() const { return knowsWorkload_; }
  /// For a recovery that is over and must not run again: whether the journal does not record it yet. See
  /// Chronicle.
  [[nodiscard]] bool endIsUnrecorded() const { return chronicle_.endIsUnrecorded(); }
  void recordEnd() { chronicle_.recordEnd(); }

  [[nodiscard]] const Incident& incident() const { return incident_; }
  [[nodiscard]] const config::Workload& workload() const { return *workload_; }

 private:
  enum class Next : std::uint8_t { end, restart };

  cri::Awaitable<Result<>> drive();
  cri::Awaitable<Result<std::unique_ptr<launcher::Process>>> launchPatiently();
  cri::Awaitable<Result<std::unique_ptr<launcher::Process>>> admitAndLaunch();
  cri::Awaitable<Result<std::unique_ptr<launcher::Process>>> launch(cache::AdmittedPtr binary);
  cri::Awaitable<Result<cri::SandboxStatus>> sandboxReady();
  cri::Awaitable<Result<Next>> serve();
  cri::Awaitable<Result<Next>> becomeReady();
  cri::Awaitable<launcher::ExitStatus> stopProcess(std::chrono::nanoseconds grace);
  cri::Awaitable<Result<Next>> endAsRequested();
  cri::Awaitable<Result<Next>> endAsKubeletAsked();
  cri::Awaitable<launcher::ExitStatus> howItEnded(launcher::ExitStatus status);
  cri::Awaitable<Result<Next>> afterEnd(launcher::ExitStatus status, config::Outcome outcome);
  cri::Awaitable<Result<Next>> endForGood(launcher::ExitStatus status, config::Outcome outcome);
  cri::Awaitable<void> cleanUp();
  cri::Awaitable<Result<>> answersWell();
  cri::Awaitable<Result<>> saysReady();
  cri::Awaitable<Result<>> commandSaysReady(config::ReadyWhenCommand command);
  cri::Awaitable<Result<>> askOnce(decltype(config::Liveness::when) how, std::chrono::nanoseconds timeout);
  cri::Awaitable<Result<>> runProbe(config::ReadyWhenCommand command);
  [[nodiscard]] Backoff pausesOfAsking() const;
  [[nodiscard]] FairGroup launchGroup() const;
  cri::Awaitable<Result<launcher::LaunchRequest>> launchOfRunning();
  bool showsNew(const Error& error);
  [[nodiscard]] bool mayPass(const Error& error) const;
  [[nodiscard]] launcher::Place place() const;
  cri::Awaitable<void> untilEndRequested();
  cri::Awaitable<void> failsLiveness();
  cri::Awaitable<void> workloadLearnt();
  cri::Awaitable<bool> backOff();
  cri::Awaitable<void> superviseUntilEnd();
  cri::Awaitable<void> leaveNothing();

  void locate();
  void describeRunning();
  [[nodiscard]] Result<Effective> effectiveNow(const cri::SandboxStatus& status,
                                               const cache::Admitted& binary) const;
  Result<> complete(const cri::SandboxStatus& status, const cache::Admitted& binary);
  [[nodiscard]] launcher::LaunchRequest requestFor(cache::AdmittedPtr binary, cri::SandboxStatus status,
                                                   const config::Workload& workload) const;
  void requestEnd(State end);
  void reach(State state, Stamp at);
  void noteExit(const launcher::ExitStatus& status);
  void noLongerServes();
  void noLongerRuns();
  void releaseProcess();
  void finish(const Result<>& result);
  [[nodiscard]] State endOf(const Result<>& result) const;
  [[nodiscard]] Error failureOf(const Result<>& result) const;

  Services& services_;
  const Clock& clock_;
  Incident incident_;
  watcher::WorkloadPtr selected_;
  watcher::WorkloadPtr workload_;  // completed
  std::optional<cri::SandboxStatus> status_;
  Chronicle chronicle_;
  Settling settling_;
  std::unique_ptr<launcher::Process> process_;
  /// Its pages stay in memory as long as the process runs, in any case: with this, other pods get the same
  /// copy. Null for a process that an earlier daemon started.
  cache::AdmittedPtr runsFrom_;
  std::optional<launcher::LaunchRequest> launchedAs_;  // the process that runs, for probes beside it
  unsigned nextProbePlace_ = 0;  // of two: a probe that was cancelled may still be cleaning up
  bool knowsWorkload_ = true;
  bool awaitsWorkload_ = true;  // if it does not know it
  Event workloadKnown_;
  std::optional<launcher::ExitStatus> unjudged_;  // ended; its restart policy has not been asked yet
  bool completed_ = false;                        // exit code 0, and its policy wants no other run
  std::optional<State> requestedEnd_;  // handed_back, pod_gone, withdrawn or failed, once it was requested
  Event endRequested_;
  Event askNow_;  // asks CRI about the sandbox, or stops asking
  Stamp askingSince_{};
  Backoff restartPause_;
  Stamp launchedAt_{};
  bool copyWasSpoilt_ = false;    // by a fallback that ran from it: the next attempt gets a different one
  bool launchBegun_ = false;      // an attempt that may have started a process
  bool withdrawalWaits_ = false;  // for its outcome
  bool endedByKubelet_ = false;   // the last run: the pod may be terminating
};

}  // namespace fallbackd::recovery
