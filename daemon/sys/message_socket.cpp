// SPDX-License-Identifier: Apache-2.0
#include "sys/message_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/uio.h>

namespace fallbackd::sys {

namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(kMaxMessageFds * sizeof(int));

/// Buffers for one message with descriptors. Must not move: the header points into it.
struct Incoming {
  explicit Incoming(std::span<char> bytes) : part{bytes.data(), bytes.size()} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;

  iovec part;
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  msghdr header{};
};

std::vector<UniqueFd> takeFds(msghdr& header) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<std::array<UniqueFd, 2>> makeMessageSockets() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return failErrno(Stage::spawner, "make a socket pair");
  }
  return std::array<UniqueFd, 2>{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<> sendMessage(const UniqueFd& socket, std::span<const char> bytes, std::span<const int> fds,
                     bool dontWait) {
  if (bytes.size() > kMaxMessageBytes || fds.size() > kMaxMessageFds) {
    return fail(Stage::spawner, Reason::too_large,
                "a message of " + std::to_string(bytes.size()) + " bytes and " + std::to_string(fds.size()) +
                    " descriptors");
  }
  std::string copy(bytes.begin(), bytes.end());  // iovec wants it writable, though sendmsg only reads
  iovec part{copy.data(), copy.size()};
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(socket.get(), &header, MSG_NOSIGNAL | (dontWait ? MSG_DONTWAIT : 0));
    if (sent >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return fail(Stage::spawner, Reason::unavailable, "the socket is full", errno);
    if (errno == EPIPE || errno == ECONNRESET) {
      return fail(Stage::spawner, Reason::spawner_gone, "send a message", errno);
    }
    return failErrno(Stage::spawner, "send a message");
  }
}

Result<Message> receiveMessage(const UniqueFd& socket, bool dontWait) {
  // Not on the heap: the kernel would provide freshly zeroed pages for every message.
  static thread_local std::array<char, kMaxMessageBytes> buffer;
  Message message;
  Incoming room(buffer);
  auto& header = room.header;
  for (;;) {
    const ssize_t got = ::recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC | (dontWait ? MSG_DONTWAIT : 0));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return fail(Stage::spawner, Reason::unavailable, "no message");
    if (got < 0 && errno != ECONNRESET) return failErrno(Stage::spawner, "receive a message");
    const auto size = static_cast<std::size_t>(std::max<ssize_t>(got, 0));
    message.bytes.assign(buffer.data(), size);
    ::explicit_bzero(buffer.data(), size);  // it may have held a workload's secrets
    break;
  }
  message.fds = takeFds(header);
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return fail(Stage::spawner, Reason::protocol, "a message was truncated");
  }
  return message;
}

Result<> wantSenders(const UniqueFd& socket) {
  const int yes = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0) {
    return failErrno(Stage::spawner, "enable SO_PASSCRED");
  }
  return {};
}

Result<Received> receiveFrom(const UniqueFd& socket, std::span<char> bytes) {
  Incoming room(bytes);
  auto& header = room.header;
  ssize_t got = -1;
  do {
    got = ::recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return fail(Stage::spawner, Reason::unavailable, "no message");
  if (got < 0 && errno != ECONNRESET) return failErrno(Stage::spawner, "receive a message");
  Received received;
  received.size = static_cast<std::size_t>(std::max<ssize_t>(got, 0));
  takeFds(header);
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_CREDENTIALS) continue;
    ucred credentials{};
    std::memcpy(&credentials, CMSG_DATA(part), sizeof credentials);
    received.sender = credentials.pid;
  }
  return received;
}

int receiveDescriptors(int socket, char expected, std::span<int> fds) {
  char byte = 0;
  Incoming room(std::span(&byte, 1));
  auto& header = room.header;
  ssize_t got = -1;
  do {
    got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -1;
  if (got == 0) {
    errno = ECONNRESET;
    return -1;
  }
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  const std::size_t bytes = rights == nullptr ? 0 : rights->cmsg_len - CMSG_LEN(0);
  if (byte != expected || rights == nullptr || rights->cmsg_type != SCM_RIGHTS || bytes > fds.size_bytes() ||
      (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    errno = EPROTO;
    return -1;
  }
  std::memcpy(fds.data(), CMSG_DATA(rights), bytes);
  return static_cast<int>(bytes / sizeof(int));
}

}  // namespace fallbackd::sys
