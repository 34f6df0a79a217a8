// SPDX-License-Identifier: Apache-2.0
// The messages to systemd, with a test socket in its place.
#include "app/notify.hpp"

#include "few_descriptors.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::app {
namespace {

using namespace std::chrono_literals;

struct ServiceManagerTest : testing::Test {
  ServiceManagerTest() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const auto path = folder.path() + "/notify";
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    manager.emplace(ServiceManager::fromEnvironment());
  }
  /// The next message; empty if none has arrived.
  [[nodiscard]] std::string heard() const {
    std::array<char, 256> text{};
    const auto length = ::recv(socket.get(), text.data(), text.size(), MSG_DONTWAIT);
    return length > 0 ? std::string(text.data(), static_cast<std::size_t>(length)) : std::string();
  }
  void insist() {
    boost::asio::co_spawn(loop, manager->insist("READY=1"), [this](std::exception_ptr) { said = true; });
    loop.restart();
    loop.poll();
  }

  test::TempFolder folder;
  sys::UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  std::optional<ServiceManager> manager;
  bool said = false;
};

TEST_F(ServiceManagerTest, ReadyIsSentOnce) {
  insist();
  EXPECT_TRUE(said);
  EXPECT_EQ(heard(), "READY=1");
  EXPECT_EQ(heard(), "");
}

/// systemd is busy and its socket is full.
TEST_F(ServiceManagerTest, ReadyIsRetriedUntilTheSocketHasRoom) {
  int full = 0;
  while (manager->tell("WATCHDOG=1")) ++full;
  ASSERT_GT(full, 0);
  insist();
  clock.advance(loop, 1min);
  EXPECT_FALSE(said);
  while (!heard().empty()) {
  }
  clock.advance(loop, 10s);
  EXPECT_TRUE(said);
  EXPECT_EQ(heard(), "READY=1");
}

TEST_F(ServiceManagerTest, ReadyIsSentOnceADescriptorIsFree) {
  const boost::asio::steady_timer first(loop);  // the loop has opened its own descriptors
  {
    const test::FewDescriptors none;
    insist();
    clock.advance(loop, 1s);
    EXPECT_FALSE(said);
  }
  clock.advance(loop, 10s);
  EXPECT_TRUE(said);
  EXPECT_EQ(heard(), "READY=1");
}

TEST_F(ServiceManagerTest, SendsNothingWithoutAManager) {
  manager.emplace(ServiceManager::fromEnvironment());  // the variable is no longer set
  insist();
  EXPECT_TRUE(said);
  EXPECT_EQ(heard(), "");
}

}  // namespace
}  // namespace fallbackd::app
