// SPDX-License-Identifier: Apache-2.0
// What the Watcher reports, and to whom.
#pragma once

#include "base/clock.hpp"
#include "config/model.hpp"
#include "cri/types.hpp"
#include "domain/cause.hpp"
#include "watcher/match.hpp"
#include "watcher/prober.hpp"
#include "watcher/unstick.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace fallbackd::watcher {

/// A container of a pod that is missing for a cause that triggers: its image cannot be pulled, or it is there
/// and kubelet is known to be held up.
struct Detection {
  cri::Sandbox sandbox;
  WorkloadPtr workload;
  Cause cause = Cause::unknown;
  std::string text;    // containerd's words
  Stamp waitingSince;  // when the sandbox started, or when we first saw it wait
  Stamp failureKnown;
  std::chrono::nanoseconds verdictTook{};  // from our probe pull to its verdict; 0: it was known already
  std::optional<cri::SandboxStatus> status = {};  // if CRI knew the sandbox by then
};

/// Called on the loop's thread; must not block.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void detected(Detection detection) = 0;
  /// A container that was detected as not_started is no longer known to be held up. A running fallback runs
  /// on.
  virtual void noLongerHeldUp(const std::string& sandboxId, const std::string& container) = 0;
  /// Kubelet created a container in the pod, of whichever image: its process starts about 90 ms later.
  virtual void containerCreated(const std::string& podUid, const cri::Container& container) = 0;
  virtual void containerStarted(const std::string& id, Stamp at) = 0;
  /// The pod's pause process runs: from now on a container could be in it.
  virtual void sandboxStarted(const std::string& sandboxId, Stamp at) = 0;
  virtual void sandboxGone(const std::string& sandboxId) = 0;
  virtual void imageArrived(const std::string& reference) = 0;
  /// A probe pull ended: once for each pull, however many pods waited for it.
  virtual void probed(const config::Workload& workload, const Verdict& verdict) = 0;
  /// A stalled connection of containerd was ended, or could not be.
  virtual void unstuck(const Unstuck& one) = 0;
  /// Whether sandboxes can be created: without their own image no pod has a sandbox to join.
  virtual void sandboxImage(const std::string& reference, bool present) = 0;
  /// Something that a person should fix. The same text may be reported more than once.
  virtual void trouble(const std::string& what) = 0;
  /// The event stream is up and the view of the pods is complete (true), or the stream was lost (false, with
  /// the reason).
  virtual void connection(bool up, const std::string& why) = 0;
};

}  // namespace fallbackd::watcher
