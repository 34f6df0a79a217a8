// SPDX-License-Identifier: Apache-2.0
// Links to logs in /var/log/containers, where log collectors look. kubelet makes them only for containers
// that it starts itself. It removes a container's link together with the container, and a link that leads
// nowhere a minute later, unless its container runs.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>
#include <utility>

namespace fallbackd::sys {

/// Whose log it is.
struct LogOwner {
  std::string pod;
  std::string podNamespace;
  std::string container;
  std::string containerId;
};

/// For a log that no container has: 64 hexadecimal digits, as collectors expect them. The same for the same
/// path.
std::string idOfLog(std::string_view log);

/// POD_NAMESPACE_CONTAINER-ID.log, as kubelet names it. Empty where that is not the name of one file.
std::string logLinkOf(const LogOwner& owner);

/// Blocks for a system call or two.
class LogLinks {
 public:
  /// `folder`: /var/log/containers.
  explicit LogLinks(std::string folder) : folder_(std::move(folder)) {}

  /// A folder that does not exist, or a link that does, is not an error. Stage logs.
  [[nodiscard]] Result<> make(const LogOwner& owner, const std::string& log) const;
  void remove(const LogOwner& owner) const;
  /// Where it leads; empty if there is no such link.
  [[nodiscard]] std::string target(const LogOwner& owner) const;

 private:
  std::string folder_;
};

}  // namespace fallbackd::sys
