// SPDX-License-Identifier: Apache-2.0
// What the container runtime reports about the pause process, or that it does not answer.
#include "launcher/pause_check.hpp"

#include "fake_clock.hpp"
#include "run_until.hpp"
#include "sys/process.hpp"

#include <memory>
#include <optional>
#include <string>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

namespace asio = boost::asio;

class PauseCheckTest : public testing::Test {
 protected:
  /// Confirms the pause process, which is this program.
  Result<> confirm(Result<pid_t> answer) {
    const VerifyPause verify = [answer](std::string) -> asio::awaitable<Result<pid_t>> { co_return answer; };
    LauncherParts parts(loop.get_executor(), LauncherOptions{}, verify);
    cri::SandboxStatus status;
    status.sandbox.id = "s1";
    status.pausePid = ::getpid();
    const auto pause = sys::openPidFd(Stage::sandbox, status.pausePid);
    PauseCheck check;
    check.ask(parts, status.sandbox.id);
    std::optional<Result<>> result;
    asio::co_spawn(loop, check.confirm(status, *pause),
                   [&](const std::exception_ptr&, Result<> outcome) { result = std::move(outcome); });
    EXPECT_TRUE(test::runUntil(loop, [&] { return result.has_value(); }));
    return result.value_or(fail(Stage::sandbox, Reason::internal, "it does not end"));
  }

  asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
};

TEST_F(PauseCheckTest, TheSameProcessIsConfirmed) {
  EXPECT_TRUE(confirm(::getpid()));
}

TEST_F(PauseCheckTest, AnotherProcessOrNoSandboxIsAChange) {
  EXPECT_EQ(confirm(::getpid() + 1).error().reason, Reason::sandbox_changed);
  EXPECT_EQ(confirm(fail(Stage::sandbox, Reason::not_found, "s1")).error().reason, Reason::sandbox_changed);
}

TEST_F(PauseCheckTest, SilenceDoesNotCountAsAChange) {
  for (const auto reason : {Reason::unavailable, Reason::timeout, Reason::cancelled, Reason::protocol}) {
    const auto confirmed = confirm(fail(Stage::containerd, reason, "PodSandboxStatus"));
    ASSERT_FALSE(confirmed);
    EXPECT_EQ(confirmed.error().stage, Stage::containerd) << confirmed.error().message();
    EXPECT_EQ(confirmed.error().reason, reason);
  }
}

}  // namespace
}  // namespace fallbackd::launcher
