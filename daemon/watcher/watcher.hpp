// SPDX-License-Identifier: Apache-2.0
// Watches containerd: which pods wait for a container, why its image cannot be pulled, and when the wait is
// over. Reports to a Listener. Everything runs on one io_context thread; nothing blocks.
#pragma once

#include "cri/runtime.hpp"
#include "watcher/attendance.hpp"
#include "watcher/listener.hpp"
#include "watcher/pod_specs.hpp"
#include "watcher/pod_tracker.hpp"
#include "watcher/pod_view.hpp"
#include "watcher/subscription.hpp"
#include "watcher/version_skew.hpp"
#include "watcher/waiting.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

class Watcher {
 public:
  Watcher(boost::asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
          Traffic& traffic, Listener& listener, config::ConfigPtr config, PodSpecs& specs = PodSpecs::none());

  /// Runs until cancelled: subscribes, lists, follows events, subscribes again with back-off.
  cri::Awaitable<void> run() {
    attendance_.checkUnstick(Attendance::Unseen::is_normal);
    return subscription_.run();
  }

  /// From now on this configuration applies; waiting pods are checked again.
  void reconfigure(const config::ConfigPtr& config);

  /// PodSpecs has a new specification of this pod, or of many if the uid is empty.
  void specChanged(const std::string& podUid);

  [[nodiscard]] std::size_t waiting() const { return attendance_.size(); }
  [[nodiscard]] std::vector<Waiting> waitingContainers() const { return attendance_.waitingContainers(); }
  [[nodiscard]] std::vector<PodSummary> pods() const;
  /// See Prober.
  [[nodiscard]] CredentialSources& credentials() { return attendance_.prober().credentials(); }

  [[nodiscard]] std::vector<Circuits::Host> registries() const { return attendance_.prober().registries(); }
  /// Before run(). See Attendance.
  void useNodeImages(NodeImages& images) { attendance_.useNodeImages(images); }
  /// Where containerd may ask for this daemon's mirror, whether or not it listens there (HOST:PORT).
  void nameMirrors(std::set<std::string> addresses) {
    attendance_.prober().nameMirrors(std::move(addresses));
  }
  /// See Prober. Any thread.
  [[nodiscard]] std::optional<Failure> recentFailure(const ImageReference& image) const {
    return attendance_.prober().recentFailure(image);
  }
  [[nodiscard]] const Unsticker& unsticker() const { return attendance_.prober().unsticker(); }
  [[nodiscard]] IgnoredAnnotations ignoredAnnotations() const { return attendance_.ignoredAnnotations(); }
  /// Running containers of each configured workload at the last look at all pods.
  [[nodiscard]] const std::map<std::string, VersionSkew>& runningContainers() const {
    return versions_.counts();
  }

 private:
  PodView pods_;
  RunningVersions versions_;
  Attendance attendance_;
  PodTracker tracker_;
  Subscription subscription_;
};

}  // namespace fallbackd::watcher
