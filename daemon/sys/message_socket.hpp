// SPDX-License-Identifier: Apache-2.0
// Whole messages with file descriptors between two processes (SOCK_SEQPACKET and SCM_RIGHTS).
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::sys {

inline constexpr std::size_t kMaxMessageBytes = 192 * 1024;  // below the kernel's default send buffer
inline constexpr std::size_t kMaxMessageFds = 253;           // SCM_MAX_FD

struct Message {
  std::string bytes;  // empty: the other side is gone
  std::vector<UniqueFd> fds;
};

/// Both ends CLOEXEC, blocking; stage spawner.
Result<std::array<UniqueFd, 2>> makeMessageSockets();

/// Sends one message completely or not at all. Reason unavailable if `dontWait` and the peer reads too
/// slowly, spawner_gone if the peer is gone.
Result<> sendMessage(const UniqueFd& socket, std::span<const char> bytes, std::span<const int> fds,
                     bool dontWait);

/// Receives one message; every received fd is CLOEXEC. Reason unavailable if `dontWait` and no message is
/// pending, protocol if it was truncated.
Result<Message> receiveMessage(const UniqueFd& socket, bool dontWait);

/// From now on the kernel names the sender of each message; see receiveFrom(). Stage spawner.
Result<> wantSenders(const UniqueFd& socket);

struct Received {
  std::size_t size = 0;  // 0: no process holds the other end any more
  pid_t sender = 0;      // as seen by this process; 0 if it cannot see the sender
};
/// Receives one message without waiting; allocates nothing. Received descriptors are closed. Reason
/// unavailable if no message is pending.
Result<Received> receiveFrom(const UniqueFd& socket, std::span<char> bytes);

/// Waits for a message of one byte with at most this many descriptors, each CLOEXEC; for processes that must
/// not allocate. Returns their number, or -1 with errno: ECONNRESET if the peer is gone, EPROTO for any other
/// message, whose descriptors stay open because the caller exits.
int receiveDescriptors(int socket, char expected, std::span<int> fds);

}  // namespace fallbackd::sys
