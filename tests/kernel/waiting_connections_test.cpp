// SPDX-License-Identifier: Apache-2.0
// Two programs share a port: connections that wait at the one that ends are served by the other.
#include "shell.hpp"
#include "sys/network.hpp"
#include "sys/process.hpp"

#include <array>
#include <fcntl.h>
#include <functional>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::sys {
namespace {

constexpr int kConnections = 40;
constexpr std::uint16_t kSharedPort = 8080;

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kSharedPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

UniqueFd listenShared() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int one = 1;
  const auto address = loopback();
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  if (::listen(fd.get(), kConnections) != 0) return {};
  return fd;
}

/// How many connections that wait at two sockets are reset when the first socket is closed; -1: the network
/// was not created.
int resetOnes(const std::function<bool()>& before) {
  int count = -1;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0 || test::shell("ip link set lo up").code != 0 || !before()) return;
    UniqueFd first = listenShared();
    const UniqueFd second = listenShared();
    const auto address = loopback();
    std::vector<UniqueFd> clients;
    for (int i = 0; i < kConnections; ++i) {
      clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(clients.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return;
    }
    first.reset();
    count = 0;
    for (const auto& one : clients) {
      pollfd polled{one.get(), POLLIN, 0};
      if (::poll(&polled, 1, 0) == 1 && (polled.revents & (POLLERR | POLLHUP)) != 0) ++count;
    }
  }).join();
  return count;
}

TEST(WaitingConnections, AreResetByDefault) {
  EXPECT_GT(resetOnes([] { return true; }), 0) << "otherwise the sysctl need not be set";
}

TEST(WaitingConnections, GoToTheOtherProgram) {
  EXPECT_EQ(resetOnes([] {
              const auto network = openNamespace(Stage::hand_back, ::gettid(), "net");
              const auto set = passOnWaitingConnections(Stage::hand_back, *network);
              EXPECT_TRUE(set) << set.error().message();
              return set.has_value();
            }),
            0);
}

}  // namespace
}  // namespace fallbackd::sys
