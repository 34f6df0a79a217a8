// SPDX-License-Identifier: Apache-2.0
// What TCP connections do, as counted by the kernel (sock_diag(7)). Shows that a download progresses long
// before its reader writes anything, and distinguishes a connection in progress from one whose peer is
// silent.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace fallbackd::sys {

/// The kernel's name of one socket: its addresses and a cookie that no other socket gets while the kernel
/// runs.
struct TcpSocketId {
  std::uint8_t family = 0;
  std::array<std::byte, 48> id{};  // inet_diag_sockid
};

struct TcpConnection {
  std::uint64_t bytes = 0;   // payload, since the connection was made
  std::uint32_t unread = 0;  // of these, bytes that its reader has not fetched yet
  enum class State : std::uint8_t { established, connecting };
  State state = State::established;
  std::uint64_t acknowledged = 0;              // bytes that the peer has confirmed; its SYN-ACK counts as one
  std::uint32_t unacknowledged = 0;            // bytes that it has not
  std::chrono::milliseconds sinceReceived{0};  // since payload last came in; means nothing while bytes is 0
  std::chrono::milliseconds sinceSent{0};      // since payload was last sent, or the connection was made
  std::string peer = {};                       // "192.0.2.1:443", "[2001:db8::1]:443"
  std::uint64_t cookie = 0;
  TcpSocketId id = {};
};

/// By the socket's inode.
using TcpConnections = std::map<std::uint64_t, TcpConnection>;

/// A netlink socket in the network namespace of a process. One thread; calls block for well below a
/// millisecond on a node with hundreds of connections.
class TcpDiagnosis {
 public:
  /// Reason system if the kernel has no sock_diag for TCP or the namespace cannot be entered.
  static Result<TcpDiagnosis> open(Stage stage, pid_t pid);

  /// The connections whose sockets this process has open now. Needs the right to read its /proc/PID/fd.
  Result<TcpConnections> receivedBy(pid_t pid) const;

  /// The inodes of the sockets that listen on this port, at any address, of any process.
  Result<std::set<std::uint64_t>> listenersOn(std::uint16_t port) const;

  /// Ends the connection (SOCK_DESTROY): its owner gets ECONNABORTED. Needs CAP_NET_ADMIN in the user
  /// namespace of the network namespace; Linux 4.9. Reason not_found: there is no such socket, as after it
  /// was closed; not_permitted: the capability is missing; unavailable: a kernel without
  /// CONFIG_INET_DIAG_DESTROY, or an older one about a connection in TIME_WAIT: canDestroy() shows which.
  Result<> destroy(const TcpSocketId& socket) const;

  /// What destroy() would report for any connection, without one: whether this kernel can, and we may.
  Result<> canDestroy() const;

 private:
  TcpDiagnosis(Stage stage, UniqueFd netlink) : stage_(stage), netlink_(std::move(netlink)) {}
  /// Asks for the sockets of one family in these states; `take` gets the body of each message.
  Result<> dump(int family, std::uint32_t states, const std::function<void(std::string_view)>& take) const;

  Stage stage_;
  UniqueFd netlink_;
};

/// The process that listens on a unix socket, as seen from our pid namespace. Reason not_found if it is not
/// visible from there.
Result<pid_t> listenerOf(Stage stage, const std::string& socketPath);

}  // namespace fallbackd::sys
