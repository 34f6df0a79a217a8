// SPDX-License-Identifier: Apache-2.0
// What arrives over the runtime's network connections: shows that a download moves before containerd, which
// writes in pieces of 1 MiB, has written any of it.
#pragma once

#include "sys/tcp_sockets.hpp"

#include <optional>
#include <string>

namespace fallbackd::watcher {

class Traffic {
 public:
  virtual ~Traffic() = default;
  /// Bytes received by connection; nothing where they cannot be seen. Called on the loop: must be quick.
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

/// Connections that were opened since it was made: containerd opens its own for every pull.
class Inflow {
 public:
  explicit Inflow(Traffic& traffic) : traffic_(traffic), before_(traffic.received()) {}

  /// Whether something came in since the last call, or waits to be read; nothing where that cannot be seen.
  std::optional<bool> look();

 private:
  Traffic& traffic_;
  std::optional<sys::ReceivedBytes> before_;
  sys::ReceivedBytes last_;
};

}  // namespace fallbackd::watcher
