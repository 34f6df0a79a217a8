// SPDX-License-Identifier: Apache-2.0
// fallbackd as a Type=notify unit: its messages to the service manager, received on a socket of the test.
#include "daemon.hpp"
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "sys/fd.hpp"
#include "wait.hpp"

#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

class NotifySocket {
 public:
  NotifySocket() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    bound_ = ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  [[nodiscard]] bool bound() const { return bound_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The next message, or "" if none arrives.
  [[nodiscard]] std::string next() const {
    pollfd polled{fd_.get(), POLLIN, 0};
    if (::poll(&polled, 1, 20'000) != 1) return "";
    std::array<char, 512> bytes{};
    const auto size = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  }

 private:
  std::string path_ = makeRunDir("notify") / "n.sock";
  sys::UniqueFd fd_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  bool bound_ = false;
};

TEST(Systemd, TheManagerHearsOfStartWatchdogAndStop) {
  const NotifySocket manager;
  ASSERT_TRUE(manager.bound());
  E2E_TRY(const auto signer, Signer::make());
  const auto folder = makeRunDir("unit");
  std::ofstream(folder / "fallbackd.yaml")
      << "apiVersion: fallbackd.io/v1\ncontainerd: {socket: " << (folder / "none.sock").string()
      << "}\ncache: {path: " << signer.cacheDir().string() << ", keys: " << signer.keysDir().string()
      << ", state: " << (folder / "state").string() << "}\nlauncher: {runDir: " << (folder / "run").string()
      << "}\ntelemetry: {listen: \"off\", socket: " << (folder / "ctl.sock").string() << "}\nworkloads: []\n";
  // It is ready without containerd: neither depends on the other.
  E2E_TRY(auto daemon,
          ChildProcess::start({.argv = {binary("fallbackd"), "--config", folder / "fallbackd.yaml"},
                               .env = {{"NOTIFY_SOCKET", manager.path()}, {"WATCHDOG_USEC", "200000"}},
                               .output = logFile("fallbackd")}));
  std::string first = manager.next();
  while (first == "WATCHDOG=1") first = manager.next();
  EXPECT_EQ(first, "READY=1");
  EXPECT_EQ(manager.next(), "WATCHDOG=1");
  EXPECT_EQ(manager.next(), "WATCHDOG=1");
  daemon.signal(SIGTERM);
  std::string last = manager.next();
  while (last == "WATCHDOG=1") last = manager.next();
  EXPECT_EQ(last, "STOPPING=1");
  E2E_TRY(const auto code, daemon.wait(20s));
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace fallbackd::e2e
