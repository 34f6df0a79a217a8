// SPDX-License-Identifier: Apache-2.0
// The runtime's network connections: they show that a download moves before containerd, which writes in
// pieces of 1 MiB, has written any of it.
#pragma once

#include "sys/tcp_sockets.hpp"

#include <optional>
#include <set>
#include <string>

namespace fallbackd::watcher {

class Traffic {
 public:
  virtual ~Traffic() = default;
  /// By connection; nothing if they cannot be seen. Called on the loop: must be quick.
  virtual std::optional<sys::TcpConnections> received() = 0;
  /// Ends one of them. See sys::TcpDiagnosis::destroy for this and the next.
  virtual Result<> end(const sys::TcpConnection& connection) = 0;
  virtual Result<> canEnd() = 0;
  /// The proxies that the runtime is set up with, as HOST:PORT.
  virtual Result<std::set<std::string>> proxies() = 0;
};

/// The process behind containerd's socket, whichever it is at the time of the call. Sees nothing from a pid
/// namespace that does not contain it.
class ContainerdTraffic final : public Traffic {
 public:
  /// `hidden`: connections to this ADDRESS:PORT are left out; empty: none are.
  explicit ContainerdTraffic(std::string socketPath, std::string hidden = {})
      : socketPath_(std::move(socketPath)), hidden_(std::move(hidden)) {}
  std::optional<sys::TcpConnections> received() override;
  Result<> end(const sys::TcpConnection& connection) override;
  Result<> canEnd() override;
  Result<std::set<std::string>> proxies() override;

 private:
  bool open();

  std::string socketPath_;
  std::string hidden_;
  pid_t pid_ = 0;
  std::optional<sys::TcpDiagnosis> diagnosis_;  // of pid_
};

}  // namespace fallbackd::watcher
