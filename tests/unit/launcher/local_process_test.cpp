// SPDX-License-Identifier: Apache-2.0
// The status of a fallback that ended, reported in time, late, or never.
#include "launcher/local_process.hpp"

#include "fake_runtime.hpp"
#include "refused_calls.hpp"
#include "sys/process.hpp"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Kind = ExitStatus::Kind;

class Told : public ::testing::Test {
 protected:
  /// Creates a process that has ended but was not reaped: the kernel does not report its status.
  void SetUp() override {
    pid_ = ::fork();
    if (pid_ == 0) ::_exit(3);
    siginfo_t ended{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOWAIT), 0);
    auto held = sys::openPidFd(Stage::run, pid_);
    ASSERT_TRUE(held) << held.error().message();
    ProcessRecord record;
    record.recoveryId = "r1";
    record.pid = pid_;
    process_.emplace(loop.get_executor(), Grounds{}, std::move(record), LaunchTimes{}, std::move(*held),
                     notice, nullptr);
  }
  void TearDown() override { ::waitpid(pid_, nullptr, 0); }

  asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  std::shared_ptr<ExitNotice> notice = std::make_shared<ExitNotice>(loop.get_executor());
  std::optional<LocalProcess> process_;
  pid_t pid_ = 0;
};

TEST_F(Told, ALateStatusReachesItsWaiters) {
  EXPECT_EQ(test::runToEnd(loop, process_->exited()).kind, Kind::unknown);
  std::optional<ExitStatus> told;
  asio::co_spawn(loop, process_->exitedAndTold(),
                 [&](const std::exception_ptr&, ExitStatus status) { told = status; });
  clock.advance(loop, 5s);
  EXPECT_FALSE(told);
  notice->status = ExitStatus{Kind::exited, 3};
  notice->known.set();
  ASSERT_TRUE(test::runUntil(loop, [&] { return told.has_value(); }));
  EXPECT_EQ(told->kind, Kind::exited);
  EXPECT_EQ(told->value, 3);
  EXPECT_EQ(test::runToEnd(loop, process_->exited()).value, 3) << "later queries get the status, too";
}

TEST_F(Told, TheWaitForAStatusIsLimited) {
  const auto before = clock.now();
  EXPECT_EQ(test::runToEnd(loop, process_->exitedAndTold()).kind, Kind::unknown);
  EXPECT_GT(clock.now() - before, 5s);
  EXPECT_LT(clock.now() - before, 12s);
}

TEST_F(Told, AStatusInTimeIsNotWaitedForAnyLonger) {
  notice->status = ExitStatus{Kind::signaled, SIGKILL};
  notice->known.set();
  EXPECT_EQ(test::runToEnd(loop, process_->exited()).value, SIGKILL);
  EXPECT_EQ(test::runToEnd(loop, process_->exitedAndTold()).value, SIGKILL);
}

TEST_F(Told, ItsEndIsSeenOnceThereIsADescriptorToWaitWith) {
  notice->status = ExitStatus{Kind::exited, 3};
  notice->known.set();
  const auto status = test::onOwnThread([&]() -> ExitStatus {
    const auto full = [left = 3](const seccomp_data& call) mutable {
      return call.args[1] == F_DUPFD_CLOEXEC && left-- > 0 ? EMFILE : 0;
    };
    if (!test::decideCalls({SYS_fcntl}, full)) return {};
    return test::runToEnd(loop, process_->exited());
  });
  EXPECT_EQ(status.kind, Kind::exited);
  EXPECT_EQ(status.value, 3);
}

}  // namespace
}  // namespace fallbackd::launcher
