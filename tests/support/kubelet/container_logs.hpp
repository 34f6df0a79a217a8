// SPDX-License-Identifier: Apache-2.0
// Kubelet's part of container logs: their numbers, the links that log collectors follow, rotation.
#pragma once

#include "kubelet/event_log.hpp"
#include "kubelet/runtime.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace fallbackd::e2e::model {

/// Thread-safe.
class ContainerLogs {
 public:
  /// `links` stands in for /var/log/containers.
  ContainerLogs(Runtime& runtime, EventLog& log, std::filesystem::path links);

  [[nodiscard]] const std::filesystem::path& links() const { return links_; }

  /// One more than the highest N of NAME/N.log*, 0 if there is none: the restart count of a container that
  /// the runtime does not know.
  [[nodiscard]] static int nextNumber(const std::filesystem::path& folder);

  /// POD_NAMESPACE_CONTAINER-ID.log. Kubelet creates it for the containers that it starts itself.
  void link(const Pod& pod, const std::string& container, const std::string& id,
            const std::filesystem::path& target) const;
  /// Removes links to files that no longer exist.
  void removeDeadLinks() const;

  /// Renames each running container's log that is larger, no matter what created the container, and has the
  /// runtime open a new one. Returns how many.
  int rotate(std::uintmax_t maxBytes);

 private:
  Runtime& runtime_;
  EventLog& log_;
  std::filesystem::path links_;
};

}  // namespace fallbackd::e2e::model
