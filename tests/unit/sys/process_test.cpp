// SPDX-License-Identifier: Apache-2.0
// Whether a process has ended, on a machine that does not always answer.
#include "sys/process.hpp"

#include "refused_calls.hpp"

#include <cerrno>
#include <csignal>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <gtest/gtest.h>

namespace fallbackd::sys {
namespace {

using test::onOwnThread;
using test::pollCalls;

/// A process that waits until it is killed.
class Waiting : public ::testing::Test {
 protected:
  void SetUp() override {
    pid_ = ::fork();
    if (pid_ == 0) {
      for (;;) ::pause();
    }
    auto opened = openPidFd(Stage::run, pid_);
    ASSERT_TRUE(opened) << opened.error().message();
    process_ = std::move(*opened);
  }
  void TearDown() override { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

  pid_t pid_ = 0;
  PidFd process_;
};

TEST_F(Waiting, HasEndedOnceItWasKilled) {
  EXPECT_FALSE(hasEnded(Stage::run, process_).value_or(true));
  kill();
  EXPECT_TRUE(hasEnded(Stage::run, process_).value_or(false));
}

TEST_F(Waiting, HasNotEndedBecauseASignalInterrupts) {
  const auto interrupted = onOwnThread([&]() -> Result<bool> {
    if (!test::refuseFirstCalls(3, pollCalls(), EINTR))
      return fail(Stage::run, Reason::internal, "no filter");
    return hasEnded(Stage::run, process_);
  });
  ASSERT_TRUE(interrupted) << interrupted.error().message();
  EXPECT_FALSE(*interrupted);
}

TEST_F(Waiting, HasNotEndedBecauseTheKernelCannotTell) {
  const auto unknown = onOwnThread([&]() -> Result<bool> {
    if (!test::refuseCalls(pollCalls(), ENOMEM)) return fail(Stage::run, Reason::internal, "no filter");
    return hasEnded(Stage::run, process_);
  });
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().errnum, ENOMEM) << unknown.error().message();
}

TEST(NoProcess, IsNotOneThatEnded) {
  const auto unknown = hasEnded(Stage::run, PidFd());
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().reason, Reason::invalid);
}

TEST_F(Waiting, MayHaveAsManyFilesOpenAsItWasGiven) {
  const rlimit few{256, 512};
  ASSERT_EQ(::prlimit(pid_, RLIMIT_NOFILE, &few, nullptr), 0);
  const auto limits = openFileLimitsOf(Stage::run, pid_);
  ASSERT_TRUE(limits) << limits.error().message();
  EXPECT_EQ(limits->soft, 256U);
  EXPECT_EQ(limits->hard, 512U);
}

}  // namespace
}  // namespace fallbackd::sys
