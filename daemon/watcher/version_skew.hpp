// SPDX-License-Identifier: Apache-2.0
// Whether the running containers of each workload have the version of its fallback binary. Counted after each
// look at all pods. One io_context thread.
#pragma once

#include "config/model.hpp"
#include "cri/runtime.hpp"
#include "domain/binary_ref.hpp"
#include "watcher/pod_specs.hpp"
#include "watcher/pod_view.hpp"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::watcher {

class RunningVersions {
 public:
  RunningVersions(cri::Runtime& runtime, config::ConfigPtr config, const PodSpecs& specs)
      : runtime_(runtime), config_(std::move(config)), specs_(specs) {}
  void reconfigure(config::ConfigPtr config) { config_ = std::move(config); }

  /// Before version 2, containerd reports a container's image only by its id. Learns the tags of such images;
  /// asks once for each as long as it runs. `containers`: all of the node, until it returns. If cancelled, it
  /// keeps what it knows by then.
  cri::Awaitable<void> learnImages(const std::vector<cri::Container>& containers);

  /// Begins to count: all workloads have none.
  void restart();
  /// Counts the running ones among the pod's containers.
  void count(const PodView::Pod& pod, const std::vector<const cri::Container*>& containers);

  /// By workload.
  [[nodiscard]] const std::map<std::string, VersionSkew>& counts() const { return counts_; }

 private:
  [[nodiscard]] std::optional<bool> runsVersion(const cri::Container& container,
                                                const config::Workload& workload) const;

  cri::Runtime& runtime_;
  config::ConfigPtr config_;
  const PodSpecs& specs_;
  std::map<std::string, VersionSkew> counts_;
  std::map<std::string, std::vector<std::string>> imageTags_;  // by image id
};

}  // namespace fallbackd::watcher
