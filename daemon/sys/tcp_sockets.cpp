// SPDX-License-Identifier: Apache-2.0
#include "sys/tcp_sockets.hpp"

#include "sys/process.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <linux/capability.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <set>
#include <string_view>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace fallbackd::sys {

namespace {

// Enough for the connections of any node; stops if the kernel keeps sending.
constexpr int kMaxMessages = 4096;
constexpr timeval kAnswerDeadline{1, 0};

struct DiagRequest {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

// The kernel's numbers (net/tcp_states.h), which linux/tcp.h does not give.
constexpr std::uint8_t kTcpEstablished = 1;
constexpr std::uint8_t kTcpSynSent = 2;
constexpr std::uint8_t kTcpListen = 10;

/// Dumps the sockets in these states, with their tcp_info.
DiagRequest requestFor(int family, std::uint32_t states) {
  DiagRequest request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = static_cast<__u8>(family);
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_ext = 1U << (INET_DIAG_INFO - 1);
  request.body.idiag_states = states;
  return request;
}

/// Part of a message at an offset, if it is there completely. Netlink data need not be aligned for the
/// structures in it.
template <class Part>
bool readAt(std::string_view message, std::size_t offset, Part& part) {
  if (offset > message.size() || message.size() - offset < sizeof part) return false;
  std::memcpy(&part, message.data() + offset, sizeof part);
  return true;
}

constexpr std::size_t aligned(std::size_t size) {
  return (size + NLMSG_ALIGNTO - 1) & ~std::size_t{NLMSG_ALIGNTO - 1};
}

std::string peerOf(const inet_diag_msg& socket) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (::inet_ntop(socket.idiag_family, &socket.id.idiag_dst, text.data(), text.size()) == nullptr) return {};
  const std::string address = text.data();
  const auto port = std::to_string(ntohs(socket.id.idiag_dport));
  if (socket.idiag_family == AF_INET) return address + ":" + port;
  // An IPv4 connection of a socket that speaks both.
  constexpr std::string_view kMapped = "::ffff:";
  if (address.starts_with(kMapped) && address.find('.') != std::string::npos) {
    return address.substr(kMapped.size()) + ":" + port;
  }
  return "[" + address + "]:" + port;
}

void addConnection(std::string_view payload, TcpConnections& all) {
  inet_diag_msg socket{};
  if (!readAt(payload, 0, socket)) return;
  rtattr attribute{};
  for (std::size_t at = aligned(sizeof socket); readAt(payload, at, attribute);
       at += aligned(attribute.rta_len)) {
    if (attribute.rta_len < sizeof attribute) return;
    if (attribute.rta_type != INET_DIAG_INFO) continue;
    const std::size_t info = at + aligned(sizeof attribute);
    TcpConnection one;
    std::uint32_t sinceReceived = 0;
    std::uint32_t sinceSent = 0;
    if (!readAt(payload, info + offsetof(tcp_info, tcpi_bytes_received), one.bytes) ||
        !readAt(payload, info + offsetof(tcp_info, tcpi_bytes_acked), one.acknowledged) ||
        !readAt(payload, info + offsetof(tcp_info, tcpi_last_data_recv), sinceReceived) ||
        !readAt(payload, info + offsetof(tcp_info, tcpi_last_data_sent), sinceSent)) {
      return;
    }
    one.unread = socket.idiag_rqueue;
    one.unacknowledged = socket.idiag_wqueue;
    one.state = socket.idiag_state == kTcpSynSent ? TcpConnection::State::connecting
                                                  : TcpConnection::State::established;
    one.sinceReceived = std::chrono::milliseconds(sinceReceived);
    one.sinceSent = std::chrono::milliseconds(sinceSent);
    one.peer = peerOf(socket);
    one.id.family = socket.idiag_family;
    static_assert(sizeof socket.id == sizeof one.id.id);
    std::memcpy(one.id.id.data(), &socket.id, sizeof socket.id);
    one.cookie = (std::uint64_t{socket.id.idiag_cookie[1]} << 32U) | socket.id.idiag_cookie[0];
    all[socket.idiag_inode] = std::move(one);
  }
}

/// False once the dump is complete.
Result<bool> readMessages(Stage stage, std::string_view answer,
                          const std::function<void(std::string_view)>& take) {
  nlmsghdr header{};
  for (std::size_t at = 0; readAt(answer, at, header); at += aligned(header.nlmsg_len)) {
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > answer.size() - at) break;
    if (header.nlmsg_type == NLMSG_DONE) return false;
    const auto payload = answer.substr(at + sizeof header, header.nlmsg_len - sizeof header);
    if (header.nlmsg_type == NLMSG_ERROR) {
      nlmsgerr error{};
      readAt(payload, 0, error);
      return fail(stage, Reason::system, "sock_diag", -error.error);
    }
    take(payload);
  }
  return true;
}

/// The kernel's answer to a request that has no other: its errno, or 0.
Result<int> readAcknowledgement(Stage stage, std::string_view answer) {
  nlmsghdr header{};
  nlmsgerr error{};
  if (!readAt(answer, 0, header) || header.nlmsg_type != NLMSG_ERROR ||
      !readAt(answer, sizeof header, error)) {
    return fail(stage, Reason::protocol, "sock_diag: no acknowledgement");
  }
  return -error.error;
}

Reason reasonOf(int refusal) {
  switch (refusal) {
    case ENOENT:
      return Reason::not_found;
    case EPERM:
    case EACCES:
      return Reason::not_permitted;
    case EOPNOTSUPP:
    case EINVAL:  // a kernel that does not know the request
      return Reason::unavailable;
    default:
      return Reason::system;
  }
}

/// The inodes of the sockets that a process has open.
Result<std::set<std::uint64_t>> socketsOf(Stage stage, pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  constexpr std::string_view kPrefix = "socket:[";
  std::set<std::uint64_t> inodes;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    std::error_code closed;  // closed since it was listed
    const std::string link = std::filesystem::read_symlink(entry->path(), closed).string();
    if (link.starts_with(kPrefix)) inodes.insert(std::strtoull(link.c_str() + kPrefix.size(), nullptr, 10));
    entry.increment(error);
  }
  if (error) return fail(stage, Reason::system, "read " + folder, error.value());
  return inodes;
}

/// 0, or the errno of what failed. Runs on a thread that ends afterwards, since it stays in the other
/// namespace.
int openInNamespace(pid_t pid, UniqueFd& netlink) {
  const std::string path = "/proc/" + std::to_string(pid) + "/ns/net";
  const NamespaceFd net(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!net || ::setns(net.get(), CLONE_NEWNET) != 0) return errno;
  netlink = UniqueFd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  return netlink ? 0 : errno;
}

}  // namespace

Result<TcpDiagnosis> TcpDiagnosis::open(Stage stage, pid_t pid) {
  UniqueFd netlink;
  int error = 0;
  try {
    std::thread([&] { error = openInNamespace(pid, netlink); }).join();
  } catch (const std::system_error& failure) {
    return failErrno(stage, "start a thread for sock_diag", failure.code().value());
  }
  if (error != 0) return fail(stage, Reason::system, "sock_diag socket", error);
  if (::setsockopt(netlink.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerDeadline, sizeof kAnswerDeadline) != 0) {
    return failErrno(stage, "sock_diag socket");
  }
  return TcpDiagnosis(stage, std::move(netlink));
}

Result<> TcpDiagnosis::dump(int family, std::uint32_t states,
                            const std::function<void(std::string_view)>& take) const {
  const auto request = requestFor(family, states);
  if (::send(netlink_.get(), &request, sizeof request, 0) < 0) {
    return failErrno(stage_, "sock_diag");
  }
  std::string buffer(32 << 10, '\0');
  for (int message = 0; message < kMaxMessages; ++message) {
    const auto length = ::recv(netlink_.get(), buffer.data(), buffer.size(), 0);
    if (length <= 0) return fail(stage_, Reason::system, "sock_diag", length < 0 ? errno : EIO);
    const std::string_view answer(buffer.data(), static_cast<std::size_t>(length));
    FB_TRY(const bool more, readMessages(stage_, answer, take));
    if (!more) return {};
  }
  return fail(stage_, Reason::system, "sock_diag sends without end");
}

Result<TcpConnections> TcpDiagnosis::receivedBy(pid_t pid) const {
  TcpConnections all;
  constexpr std::uint32_t kStates = (1U << kTcpEstablished) | (1U << kTcpSynSent);
  const auto add = [&](std::string_view body) { addConnection(body, all); };
  FB_CHECK(dump(AF_INET, kStates, add));
  FB_CHECK(dump(AF_INET6, kStates, add));
  FB_TRY(const auto own, socketsOf(stage_, pid));
  std::erase_if(all, [&](const auto& one) { return !own.contains(one.first); });
  return all;
}

Result<std::set<std::uint64_t>> TcpDiagnosis::listenersOn(std::uint16_t port) const {
  std::set<std::uint64_t> inodes;
  const auto add = [&](std::string_view body) {
    inet_diag_msg socket{};
    if (readAt(body, 0, socket) && ntohs(socket.id.idiag_sport) == port) inodes.insert(socket.idiag_inode);
  };
  FB_CHECK(dump(AF_INET, 1U << kTcpListen, add));
  FB_CHECK(dump(AF_INET6, 1U << kTcpListen, add));
  return inodes;
}

Result<> TcpDiagnosis::destroy(const TcpSocketId& socket) const {
  DiagRequest request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DESTROY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.body.sdiag_family = socket.family;
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_states = ~0U;
  std::memcpy(&request.body.id, socket.id.data(), sizeof request.body.id);
  if (::send(netlink_.get(), &request, sizeof request, 0) < 0) return failErrno(stage_, "SOCK_DESTROY");
  std::array<char, 1024> buffer{};
  const auto length = ::recv(netlink_.get(), buffer.data(), buffer.size(), 0);
  if (length <= 0) return fail(stage_, Reason::system, "SOCK_DESTROY", length < 0 ? errno : EIO);
  FB_TRY(const int refusal, readAcknowledgement(stage_, {buffer.data(), static_cast<std::size_t>(length)}));
  if (refusal == 0) return {};
  return fail(stage_, reasonOf(refusal), "SOCK_DESTROY", refusal);
}

Result<> TcpDiagnosis::canDestroy() const {
  // A connection that cannot be: from and to nowhere. The kernel looks for it before it asks for the
  // privilege.
  TcpSocketId nowhere;
  nowhere.family = AF_INET;
  const auto answer = destroy(nowhere);
  if (!answer && answer.error().reason != Reason::not_found) return answer;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return failErrno(stage_, "capget");
  if ((sets[0].effective >> CAP_NET_ADMIN & 1U) == 0) {
    return fail(stage_, Reason::not_permitted, "CAP_NET_ADMIN is missing");
  }
  return {};
}

Result<pid_t> listenerOf(Stage stage, const std::string& socketPath) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socketPath.size() >= sizeof address.sun_path) {
    return fail(stage, Reason::invalid, socketPath + ": too long for a socket path");
  }
  std::memcpy(address.sun_path, socketPath.data(), socketPath.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                       sizeof address) != 0) {
    return failErrno(stage, "connect to " + socketPath);
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return failErrno(stage, "SO_PEERCRED of " + socketPath);
  }
  // 0: it is in a pid namespace that ours cannot see.
  if (peer.pid == 0) return fail(stage, Reason::not_found, "process behind " + socketPath);
  return peer.pid;
}

}  // namespace fallbackd::sys
