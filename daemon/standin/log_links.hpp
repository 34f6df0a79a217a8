// SPDX-License-Identifier: Apache-2.0
// Links to the logs of stand-ins, where collectors of logs look. kubelet makes them only for containers that
// it starts itself; it removes those of any container together with the container.
#pragma once

#include "base/error.hpp"

#include <string>
#include <utility>

namespace fallbackd::standin {

/// Whose log it is.
struct LogOwner {
  std::string pod;
  std::string podNamespace;
  std::string container;
  std::string containerId;
};

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

 private:
  std::string folder_;
};

}  // namespace fallbackd::standin
