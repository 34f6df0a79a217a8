// SPDX-License-Identifier: Apache-2.0
// Keeps a stand-in beside the fallback of one recovery while it serves, where that is allowed. It decides by
// standin/rule.hpp, makes, watches and removes it. A coroutine of the recovery.
#pragma once

#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/task_group.hpp"
#include "launcher/launcher.hpp"
#include "recovery/departures.hpp"
#include "recovery/incident.hpp"
#include "recovery/last_endpoint.hpp"
#include "recovery/pull_back_off.hpp"
#include "standin/rule.hpp"
#include "standin/stand_ins.hpp"
#include "telemetry/metrics/stand_ins.hpp"
#include "watcher/match.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace fallbackd::recovery {

struct Services;

class Settling {
 public:
  /// `incident` belongs to the recovery; its settlement is ours. Both outlive this.
  Settling(Services& services, Incident& incident);
  ~Settling();

  /// While the fallback serves. Returns once kubelet asks the stand-in to end, and the fallback has to end as
  /// its container would. Cancelling it leaves the stand-in as it is.
  cri::Awaitable<void> keep(watcher::WorkloadPtr workload, std::string logFile);
  /// The real image can be pulled: kubelet makes no container while a stand-in runs.
  void imageCame();
  /// The same if kubelet need not pull an image that is here.
  void imageArrived();
  /// It cannot be pulled any more: with policy Always kubelet could not start the container.
  void pullFailed();
  /// kubelet has created the real container, whatever it looked at before that.
  void containerCame();
  /// A source described the pod again.
  void podDescribed();
  /// A new configuration applies: if it wants no stand-in, this one is removed.
  void reconfigured();
  /// The fallback ended: so does the stand-in, in the same way. It stays as a container that ended.
  cri::Awaitable<void> fallbackEnded(launcher::ExitStatus status);
  /// Removes every trace, for the real container. What cannot be removed now is removed by the next sweep.
  cri::Awaitable<void> leave();

  /// The group whose stand-ins make way one after another.
  [[nodiscard]] std::string group() const;
  /// How long kubelet gives its pod to end.
  [[nodiscard]] std::chrono::nanoseconds grace() const;
  /// It is known that its pod is being deleted. False: it is not, or this is unknown.
  [[nodiscard]] bool podGoes() const;
  [[nodiscard]] bool runs() const { return standIn_ != nullptr; }
  /// One runs, or may exist: it is being made, taken over, or could not be removed.
  [[nodiscard]] bool mayHold() const { return runs() || underWay_; }

 private:
  using State = Settlement::State;
  /// kubelet ends what it does not adopt at its next relist: a second, and more on a busy node.
  static constexpr std::chrono::seconds kAdoptionLimit{5};
  static constexpr unsigned kMaxRejections = 2;

  /// It ends by itself: what an interrupted call has made would stay in the runtime. A fallback that has to
  /// end does not wait for it.
  struct Making;

  cri::Awaitable<void> takeOver();
  /// Removes what a cancelled or failed attempt may have left. False if the runtime does not let it.
  cri::Awaitable<bool> removeTraces(standin::Fallback fallback);
  [[nodiscard]] bool wantsNone() const;
  [[nodiscard]] cri::Awaitable<bool> imageIsHere() const;
  cri::Awaitable<void> lookAtOnce();
  [[nodiscard]] cri::Awaitable<bool> mayMake();
  cri::Awaitable<void> make(std::string logFile);
  cri::Awaitable<Result<std::unique_ptr<standin::StandIn>>> makeBy(standin::Request order);
  [[nodiscard]] bool realContainerIsNew() const;
  static cri::Awaitable<void> run(standin::StandIns& standIns, standin::Request order,
                                  std::shared_ptr<Making> making);
  /// False: its pod is terminating instead.
  cri::Awaitable<bool> leaveForImage();
  cri::Awaitable<bool> untilItsTurn();
  void tryToLeave();
  [[nodiscard]] Departures::IsReady readiness() const;
  // settling_pulls.cpp: policy Always.
  [[nodiscard]] bool pullsAlways() const;
  void kubeletPullsSince(const cri::Sandbox* sandbox);
  cri::Awaitable<void> learnEarlierPulls();
  cri::Awaitable<bool> untilKubeletPulls();
  [[nodiscard]] std::chrono::seconds untilReady() const;
  [[nodiscard]] bool leavesOnlyWithPod() const;
  cri::Awaitable<void> rejected(int signal);
  [[nodiscard]] standin::Ruling ruling() const;
  [[nodiscard]] cri::Awaitable<Result<>> addExecutable(standin::Request& request) const;
  [[nodiscard]] Result<standin::Request> request(cri::SandboxStatus sandbox,
                                                 const std::string& logFile) const;
  void began(std::unique_ptr<standin::StandIn> standIn);
  void stopped();
  void askRollout();
  void note(State state, std::string why, std::string container = {});
  void noteRunning();
  void count(telemetry::StandInResult result);

  Services& services_;
  const Clock& clock_;
  Incident& incident_;
  watcher::WorkloadPtr workload_;
  std::unique_ptr<standin::StandIn> standIn_;
  std::shared_ptr<Making> making_;
  Event imageCame_;
  Backoff pause_;
  std::chrono::nanoseconds look_{};         // until it is asked again whether one may be made
  std::optional<Stamp> startedAt_;          // of the stand-in; absent: an earlier daemon started it
  std::optional<Departures::Place> place_;  // while it is away
  LastEndpoint lastEndpoint_;
  std::optional<Stamp> leftAt_;    // when it made way for the real container
  std::optional<Stamp> realCame_;  // when kubelet created that
  std::optional<Stamp> rolloutAskedAt_;
  std::optional<PullBackOff> pulls_;  // kubelet's, of this pod's image
  bool mayExist_ = false;             // one was made, or may have been by an earlier daemon
  bool lookedForEarlier_ = false;
  bool underWay_ =
      false;  // one may exist that is not held: it is being made or taken over, or was not removed
  unsigned rejections_ = 0;  // since one stayed, or the configuration changed
};

}  // namespace fallbackd::recovery
