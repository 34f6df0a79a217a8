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

/// Sends one message, all of it or nothing. Reason unavailable where `dontWait` and the peer does not read
/// fast enough, spawner_gone where it is gone.
Result<> sendMessage(const UniqueFd& socket, std::span<const char> bytes, std::span<const int> fds,
                     bool dontWait);

/// Receives one message; every fd that came is CLOEXEC. Reason unavailable where `dontWait` and none is
/// there, protocol where it was cut.
Result<Message> receiveMessage(const UniqueFd& socket, bool dontWait);

/// From now on the kernel says of each message that comes who sent it; see receiveFrom(). Stage spawner.
Result<> wantSenders(const UniqueFd& socket);

struct Received {
  std::size_t size = 0;  // 0: nobody has the other end any more
  pid_t sender = 0;      // as this process counts; 0 where it does not see the sender
};
/// One message, without waiting; allocates nothing. Descriptors that came are closed. Reason unavailable
/// where none is there.
Result<Received> receiveFrom(const UniqueFd& socket, std::span<char> bytes);

/// Waits for one message of one byte with at most so many descriptors, each CLOEXEC; for processes that must
/// not allocate. Their number, or -1 with errno: ECONNRESET where the other side is gone, EPROTO where it is
/// another message, whose descriptors are left open: for who ends then.
int receiveDescriptors(int socket, char expected, std::span<int> fds);

}  // namespace fallbackd::sys
