// SPDX-License-Identifier: Apache-2.0
// Functions that briefly need a thread, on a machine that cannot start one.
#include "refused_calls.hpp"
#include "sys/network.hpp"
#include "sys/process.hpp"
#include "sys/tcp_sockets.hpp"

#include <cerrno>
#include <functional>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::sys {
namespace {

TEST(WithoutThreads, OnlyWhatNeedsOneFails) {
  const auto network = openNamespace(Stage::readiness, ::getpid(), "net");
  ASSERT_TRUE(network) << network.error().message();
  const std::vector<std::function<Error()>> all{
      [] { return TcpDiagnosis::open(Stage::readiness, ::getpid()).error(); },
      [&] { return socketIn(Stage::readiness, *network, AF_INET, SOCK_STREAM).error(); },
      [&] { return passOnWaitingConnections(Stage::readiness, *network).error(); },
  };
  for (const auto& one : all) {
    const auto error = test::onOwnThread([&]() -> Error {
      if (!test::refuseCalls(test::cloneCalls(), EAGAIN)) return {Stage::readiness, Reason::internal};
      return one();
    });
    EXPECT_EQ(error.errnum, EAGAIN) << error.message();
  }
}

}  // namespace
}  // namespace fallbackd::sys
