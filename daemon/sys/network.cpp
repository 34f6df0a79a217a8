// SPDX-License-Identifier: Apache-2.0
#include "sys/network.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace fallbackd::sys {

namespace {

// Reserved for documentation (RFC 5737, RFC 3849): only a default route leads there.
constexpr const char* kFarAway4 = "192.0.2.1";
constexpr const char* kFarAway6 = "2001:db8::1";
constexpr std::uint16_t kDiscard = 9;

/// The local address of a connected datagram socket: the kernel only looks up the route, nothing is sent.
std::string sourceTowards(const UniqueFd& socket, const sockaddr* far, socklen_t size) {
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  if (::connect(socket.get(), far, size) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0) {
    return {};
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* address = own.ss_family == AF_INET
                            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(&own)->sin_addr)
                            : &reinterpret_cast<sockaddr_in6*>(&own)->sin6_addr;
  return ::inet_ntop(own.ss_family, address, text.data(), text.size()) == nullptr ? "" : text.data();
}

}  // namespace

Result<UniqueFd> socketIn(Stage stage, const NamespaceFd& network, int domain, int type) {
  int made = -1;
  int error = 0;
  const char* what = "enter a network namespace";
  const auto make = [&] {
    if (::setns(network.get(), CLONE_NEWNET) == 0) {
      what = "make a socket in a network namespace";
      made = ::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    error = errno;
  };
  try {
    std::thread(make).join();
  } catch (const std::system_error& failure) {
    return failErrno(stage, "start a thread for a socket", failure.code().value());
  }
  if (made < 0) return failErrno(stage, what, error);
  return UniqueFd(made);
}

Result<> passOnWaitingConnections(Stage stage, const NamespaceFd& network) {
  int error = 0;
  const auto set = [&] {
    if (::setns(network.get(), CLONE_NEWNET) != 0) {
      error = errno;
      return;
    }
    // A separate /proc, since a container's /proc/sys is read-only. Below sys/net a thread sees the
    // settings of its own network.
    const UniqueFd kind(::fsopen("proc", FSOPEN_CLOEXEC));
    if (!kind || ::fsconfig(kind.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
      error = errno;
      return;
    }
    const UniqueFd proc(::fsmount(kind.get(), FSMOUNT_CLOEXEC, 0));
    const UniqueFd file(::openat(proc.get(), "sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), "1", 1) != 1) error = errno;
  };
  try {
    std::thread(set).join();
  } catch (const std::system_error& failure) {
    error = failure.code().value();
  }
  if (error != 0) return failErrno(stage, "set tcp_migrate_req", error);
  return {};
}

Result<std::vector<std::string>> addressesIn(Stage stage, const NamespaceFd& network) {
  std::vector<std::string> addresses;
  sockaddr_in far4{};
  far4.sin_family = AF_INET;
  far4.sin_port = htons(kDiscard);
  ::inet_pton(AF_INET, kFarAway4, &far4.sin_addr);
  FB_TRY(const auto four, socketIn(stage, network, AF_INET, SOCK_DGRAM));
  auto address = sourceTowards(four, reinterpret_cast<const sockaddr*>(&far4), sizeof far4);
  if (!address.empty()) addresses.push_back(std::move(address));
  sockaddr_in6 far6{};
  far6.sin6_family = AF_INET6;
  far6.sin6_port = htons(kDiscard);
  ::inet_pton(AF_INET6, kFarAway6, &far6.sin6_addr);
  const auto six = socketIn(stage, network, AF_INET6, SOCK_DGRAM);
  if (!six) return addresses;  // the kernel has no IPv6
  address = sourceTowards(*six, reinterpret_cast<const sockaddr*>(&far6), sizeof far6);
  if (!address.empty()) addresses.push_back(std::move(address));
  return addresses;
}

}  // namespace fallbackd::sys
