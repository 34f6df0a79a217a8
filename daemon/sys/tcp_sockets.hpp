// SPDX-License-Identifier: Apache-2.0
// What TCP connections have received, as counted by the kernel (sock_diag(7)). Shows that a download is
// moving long before its reader writes anything.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <sys/types.h>

namespace fallbackd::sys {

struct Received {
  std::uint64_t bytes = 0;   // payload, since the connection was made
  std::uint32_t unread = 0;  // of these, bytes that its reader has not fetched yet
};

/// By the socket's inode.
using ReceivedBytes = std::map<std::uint64_t, Received>;

/// A netlink socket in the network namespace of a process. One thread; calls block for well below a
/// millisecond on a node with hundreds of connections.
class TcpDiagnosis {
 public:
  /// Reason system if the kernel has no sock_diag for TCP or the namespace cannot be entered.
  static Result<TcpDiagnosis> open(Stage stage, pid_t pid);

  /// The connections whose sockets this process has open now. Needs the right to read its /proc/PID/fd.
  Result<ReceivedBytes> receivedBy(pid_t pid) const;

 private:
  TcpDiagnosis(Stage stage, UniqueFd netlink) : stage_(stage), netlink_(std::move(netlink)) {}
  Result<> collect(int family, ReceivedBytes& all) const;

  Stage stage_;
  UniqueFd netlink_;
};

/// The process that listens on a unix socket, as seen from our pid namespace. Reason not_found if it is not
/// visible from there.
Result<pid_t> listenerOf(Stage stage, const std::string& socketPath);

}  // namespace fallbackd::sys
