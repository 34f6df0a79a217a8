// SPDX-License-Identifier: Apache-2.0
// The runtime's network connections: they show that a download moves before containerd, which writes in
// pieces of 1 MiB, has written any of it.
#pragma once

#include "sys/tcp_sockets.hpp"

#include <optional>
#include <string>

namespace fallbackd::watcher {

class Traffic {
 public:
  virtual ~Traffic() = default;
  /// By connection; nothing if they cannot be seen. Called on the loop: must be quick.
  virtual std::optional<sys::ReceivedBytes> received() = 0;
};

/// The process behind containerd's socket, whichever it is at the time of the call. Sees nothing from a pid
/// namespace that does not contain it.
class ContainerdTraffic final : public Traffic {
 public:
  explicit ContainerdTraffic(std::string socketPath) : socketPath_(std::move(socketPath)) {}
  std::optional<sys::ReceivedBytes> received() override;

 private:
  std::string socketPath_;
  pid_t pid_ = 0;
  std::optional<sys::TcpDiagnosis> diagnosis_;  // of pid_
};

}  // namespace fallbackd::watcher
