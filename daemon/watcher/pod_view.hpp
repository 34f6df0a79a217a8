// SPDX-License-Identifier: Apache-2.0
// What is known of the pods on this node and of the containers in them. Pure: it is told what happened and
// answers questions; it calls nothing, and times are handed in. One thread.
#pragma once

#include "base/clock.hpp"
#include "config/model.hpp"
#include "cri/types.hpp"
#include "watcher/pod_choices.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::watcher {

using ContainerKey = std::pair<std::string, std::string>;  // sandbox id, container name

/// A pod whose sandbox is ready, and the containers that were created in it: for the status and `explain`.
struct PodSummary {
  struct Container {
    std::string name;
    std::optional<int> exitCode;  // if it has ended, as far as known
  };
  cri::Sandbox sandbox;  // without its annotations
  std::vector<Container> containers;
  PodChoices choices = {};
  std::size_t overLimit = 0;  // containers that do not wait, since too many of the namespace do
  /// The containers' names, as workloadsFor() takes them.
  [[nodiscard]] std::set<std::string> made() const;
};

class PodView {
 public:
  struct Container {
    std::string name;
    Stamp seen;
    std::optional<int> exitCode = {};  // if it has ended, as far as known
    Stamp exited = {};
  };
  struct Pod {
    cri::Sandbox sandbox = {};                         // without its annotations
    PodChoices choices = {};                           // what they ask for
    Stamp seen;                                        // when we first heard of it
    Stamp since;                                       // when its pause process started, as far as known
    std::optional<cri::SandboxStatus> status = {};     // for a launch, once CRI has it; does not change
    std::map<std::string, Container> containers = {};  // by container id
    std::optional<Stamp> readySince = {};              // CRI calls it ready: RunPodSandbox has returned
    std::set<std::string> everMade = {};  // names of kubelet's containers, including those that are gone
    /// Names of the containers that are there.
    [[nodiscard]] std::set<std::string> made() const;
  };

  explicit PodView(const config::Config& config) { reconfigure(config); }
  /// For pods with too many labels, only the labels by which workloads choose are kept.
  void reconfigure(const config::Config& config);

  /// A sandbox that an event announced. False if it is known already: then nothing changes.
  bool addSandbox(cri::Sandbox sandbox, Stamp now, Stamp since);
  /// A sandbox as a list has it, known or not.
  const Pod& updateSandbox(cri::Sandbox sandbox, Stamp now);
  /// Its pause process started. False if the sandbox is not known.
  bool sandboxStarted(const std::string& sandboxId, Stamp at);
  void setStatus(const std::string& sandboxId, cri::SandboxStatus status, Stamp now);
  bool dropSandbox(const std::string& sandboxId);

  /// True if it is kubelet's own and was not known. Containers that other programs created in the pod do not
  /// count, whatever their names.
  bool addContainer(const std::string& sandboxId, const cri::Container& container, Stamp now);
  /// Both return the sandbox; nothing if the container is not known.
  std::optional<std::string> containerExited(const std::string& id, int exitCode, Stamp at);
  std::optional<std::string> dropContainer(const std::string& id);

  /// Null if it is not known. Valid until the sandbox is dropped.
  [[nodiscard]] const Pod* find(const std::string& sandboxId) const;
  [[nodiscard]] const Pod& at(const std::string& sandboxId) const { return pods_.at(sandboxId); }
  [[nodiscard]] const std::map<std::string, Pod>& pods() const { return pods_; }  // by sandbox id
  [[nodiscard]] bool hasContainer(const std::string& id) const { return sandboxOf_.contains(id); }

  /// The sandbox that the container names; otherwise the newest of its pod, since an older one is being
  /// removed.
  [[nodiscard]] std::optional<std::string> sandboxFor(const std::string& podUid,
                                                      const cri::Container& container) const;

  /// From an event until CRI lists what it announced. A creation that fails meanwhile has its own event.
  static constexpr std::chrono::seconds kMaking{10};
  /// What a list says about sandboxes. `ready`: including those that are known to be in the making. `ended`
  /// are listed, but not as ready.
  struct Listed {
    Stamp asked;
    std::set<std::string> ready, ended;
    std::chrono::nanoseconds making = kMaking;
  };
  /// Sandboxes, and containers of one sandbox, that are not in a list although they were known when it was
  /// requested.
  [[nodiscard]] std::vector<std::string> missingSandboxes(const Listed& listed) const;
  [[nodiscard]] std::vector<std::string> missingContainers(const std::string& sandboxId,
                                                           const std::set<std::string>& listed,
                                                           Stamp asked) const;

  /// The attempts of kubelet at one container of a pod.
  struct Attempts {
    bool succeeded = false;             // one exited with 0
    std::vector<std::string> notEnded;  // ids of those that are not known to have ended
  };
  [[nodiscard]] Attempts attemptsAt(const std::string& sandboxId, const std::string& container) const;

  /// When kubelet could have started the workload's container, had its image been there: once the sandbox had
  /// started and the containers before it had succeeded.
  [[nodiscard]] Stamp waitingSince(const std::string& sandboxId, const config::Workload& workload) const;

  [[nodiscard]] std::vector<PodSummary> summaries() const;

 private:
  void trim(cri::Sandbox& sandbox) const;
  void store(Pod& pod, cri::Sandbox sandbox) const;

  std::map<std::string, Pod> pods_;               // by sandbox id
  std::map<std::string, std::string> sandboxOf_;  // container id -> sandbox id
  std::set<std::string> matchedLabels_;           // keys by which workloads choose pods
};

}  // namespace fallbackd::watcher
