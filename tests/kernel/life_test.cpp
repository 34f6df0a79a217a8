// SPDX-License-Identifier: Apache-2.0
// From the start to the end: exits, signals, stopping, logs, adoption.
#include "launch_fixture.hpp"
#include "refused_calls.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using launcher::ExitStatus;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using namespace std::chrono_literals;

class Life : public LaunchTest {};

TEST_F(Life, ExitCodeAndSignalAreDistinguished) {
  const auto exits = launched(request({"exit", "42"}));
  const auto crashes = launched(request({"crash"}));
  ASSERT_TRUE(exits != nullptr && crashes != nullptr);
  const auto code = run(exits->exited());
  EXPECT_EQ(code.kind, ExitStatus::Kind::exited);
  EXPECT_EQ(code.value, 42);
  EXPECT_EQ(code.toString(), "exit code 42");
  const auto signal = run(crashes->exited());
  EXPECT_EQ(signal.kind, ExitStatus::Kind::signaled);
  EXPECT_EQ(signal.value, SIGILL);
  EXPECT_FALSE(signal.oomKilled);
  EXPECT_EQ(run(exits->exited()).value, 42);  // may be called again
  stop(exits);
  stop(crashes);
}

TEST_F(Life, AProgramThatExitsAtOnceCountsAsStarted) {
  // An exiting process leaves its v1 cgroup before it has ended.
  for (int i = 0; i < 40; ++i) {
    const auto process = launched(request({"exit", "42"}));
    ASSERT_NE(process, nullptr) << "launch " << i;
    EXPECT_EQ(run(process->exited()).value, 42);
    stop(process);
  }
}

TEST_F(Life, TerminatesByItselfWithinTheGrace) {
  const auto process = launched(request({"term"}));
  ASSERT_NE(process, nullptr);
  logWith(process, "up");
  const auto began = Monotonic::now();
  const auto status = stop(process, 10s);
  EXPECT_EQ(status.kind, ExitStatus::Kind::exited);
  EXPECT_EQ(status.value, 0);
  EXPECT_LT(Monotonic::now() - began, 5s);
  EXPECT_THAT(contentOf(process->record().logFile), HasSubstr("stdout F bye"));
}

TEST_F(Life, IsKilledAfterTheGraceAndNothingIsLeft) {
  const auto process = launched(request({"wait"}));  // pid 1 without a handler ignores SIGTERM
  ASSERT_NE(process, nullptr);
  const auto record = process->record();
  for (const auto& leaf : record.cgroupLeaves) EXPECT_TRUE(std::filesystem::exists(leaf));
  const auto began = Monotonic::now();
  const auto status = stop(process, 150ms);
  EXPECT_GE(Monotonic::now() - began, 150ms);
  EXPECT_EQ(status.kind, ExitStatus::Kind::signaled);
  EXPECT_EQ(status.value, SIGKILL);
  for (const auto& leaf : record.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf));
  EXPECT_FALSE(std::filesystem::exists(record.fifoDir));
  EXPECT_EQ(::kill(record.pid, 0), -1);
  EXPECT_EQ(stop(process).value, SIGKILL);  // a second stop does no harm
}

TEST_F(Life, LogLinesAreInCriFormat) {
  auto wanted = request({"partial"});
  wanted.restartCount = 3;
  const auto process = launched(wanted);
  ASSERT_NE(process, nullptr);
  run(process->exited());
  stop(process);
  EXPECT_THAT(process->record().logFile, HasSubstr("/app1-fallback/3.log"));
  const auto log = contentOf(process->record().logFile);
  EXPECT_THAT(log, HasSubstr(" stdout P no newline\n"));
  EXPECT_THAT(log, HasSubstr(" stderr F to stderr\n"));
  EXPECT_THAT(log.substr(0, 31), MatchesRegex("20..-..-..T..:..:..\\..........Z "));
}

TEST_F(Life, LogFolderThatIsASymlinkIsRefused) {
  const auto wanted = request({"wait"});
  std::filesystem::create_directories(folder / "elsewhere");
  std::filesystem::create_directories(wanted.sandbox.logDirectory);
  std::filesystem::create_directory_symlink(folder / "elsewhere",
                                            wanted.sandbox.logDirectory + "/app1-fallback");
  const auto process = launch(wanted);
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().stage, Stage::logs);
  EXPECT_EQ(process.error().reason, Reason::unsafe_path);
  EXPECT_TRUE(std::filesystem::is_empty(folder / "elsewhere"));
}

TEST_F(Life, WithoutALogFolderTheOutputIsDiscardedWithoutBlocking) {
  auto wanted = request({"lines", "400000"});  // several times what a FIFO holds
  wanted.sandbox.logDirectory.clear();
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(process->record().logFile, "");
  const std::string stat = "/proc/" + std::to_string(process->record().pid) + "/syscall";
  // Once all output was read it is in pause(2), system call 34.
  const auto deadline = Monotonic::now() + 20s;
  while (!contentOf(stat).starts_with("34 ") && Monotonic::now() < deadline) loop.run_one_for(10ms);
  EXPECT_TRUE(contentOf(stat).starts_with("34 "));
  stop(process);
}

TEST_F(Life, OutOfMemoryIsReported) {
  auto wanted = request({"hog"});
  wanted.workload.resources.memoryBytes = 32ULL << 20;
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  const auto status = run(process->exited());
  EXPECT_EQ(status.kind, ExitStatus::Kind::signaled);
  EXPECT_TRUE(status.oomKilled) << status.toString();
  stop(process);
}

TEST_F(Life, IsAdoptedByTheNextDaemon) {
  auto process = launched(request({"term"}));
  ASSERT_NE(process, nullptr);
  logWith(process, "up");
  const auto record = process->record();
  process.reset();
  launcher.reset();  // the daemon and its spawner are gone
  EXPECT_EQ(::kill(record.pid, 0), 0);

  launcherWith(options());
  auto adopted = run(launcher->adopt(record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  const auto status = stop(*adopted, 10s);
  EXPECT_NE(status.kind, ExitStatus::Kind::signaled);
  EXPECT_THAT(contentOf(record.logFile), HasSubstr("stdout F bye"));  // written by the second daemon's pump
  for (const auto& leaf : record.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf));
}

/// The daemon that launched it could not read its start time.
TEST_F(Life, AProcessWhoseStartTimeIsNotRecordedIsAdopted) {
  auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const auto known = process->record().startTime;
  auto record = process->record();
  record.startTime = 0;
  process.reset();
  auto adopted = run(launcher->adopt(record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  EXPECT_EQ(::kill(record.pid, 0), 0) << "a healthy fallback was killed";
  EXPECT_EQ((*adopted)->record().startTime, known) << "now it is known";
  stop(*adopted);
}

TEST_F(Life, AFailingKernelCallEndsNothing) {
  auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const auto record = process->record();
  process.reset();
  auto unknown = onOwnThread([&]() -> Result<ProcessPtr> {
    if (!refuseCalls(pollCalls(), ENOMEM)) return fail(Stage::run, Reason::internal, "no filter");
    return run(launcher->adopt(record));
  });
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().errnum, ENOMEM) << unknown.error().message();
  EXPECT_EQ(::kill(record.pid, 0), 0) << "a healthy fallback was killed";
  const auto refused = onOwnThread([&]() -> Error {
    if (!refuseCalls(pollCalls(), ENOMEM)) return {Stage::run, Reason::internal, 0, "no filter"};
    return refusal(request({"wait"}));
  });
  EXPECT_EQ(refused.reason, Reason::system) << refused.message();
  EXPECT_EQ(refused.errnum, ENOMEM) << "the sandbox exists: " << refused.message();
  auto adopted = run(launcher->adopt(record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  stop(*adopted);
}

/// The program already runs: killing it would be worse than waiting for a descriptor.
TEST_F(Life, WithoutADescriptorAStartedProcessIsExaminedLater) {
  std::atomic<int> refused = 0;
  const auto process = onOwnThread([&]() -> ProcessPtr {
    const auto full = [&refused,
                       pause = "/proc/" + std::to_string(sandbox->pause())](const seccomp_data& call) {
      const auto path = pathOf(call);
      const bool examines =
          path.starts_with("/proc/") && path.ends_with("/cgroup") && !path.starts_with(pause);
      return examines && refused < 3 && ++refused > 0 ? EMFILE : 0;
    };
    return decideCalls({SYS_openat}, full) ? launched(request({"wait"})) : nullptr;
  });
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(refused, 3);
  stop(process);
}

TEST_F(Life, WithoutADescriptorALeafIsEndedLater) {
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const auto record = process->record();
  std::atomic<int> refused = 0;
  onOwnThread([&] {
    const auto full = [&refused](const seccomp_data& call) {
      const auto path = pathOf(call);
      return path.find("fallbackd-test") != std::string::npos && refused < 3 && ++refused > 0 ? EMFILE : 0;
    };
    if (decideCalls({SYS_openat, SYS_openat2}, full)) stop(process);
    return 0;
  });
  EXPECT_EQ(refused, 3);
  for (const auto& leaf : record.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf)) << leaf;
}

TEST_F(Life, AnotherProcessWithTheSamePidIsNotAdopted) {
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  auto record = process->record();
  stop(process);
  record.pid = ::getpid();  // it runs, but is a different process
  const auto adopted = run(launcher->adopt(record));
  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().reason, Reason::not_found);
}

TEST_F(Life, ADeadProcessIsNotAdoptedAndItsRemainsAreRemoved) {
  auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const auto record = process->record();
  ::kill(record.pid, SIGKILL);
  run(process->exited());
  process.reset();
  const auto adopted = run(launcher->adopt(record));
  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().reason, Reason::not_found);
  for (const auto& leaf : record.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf));
  EXPECT_FALSE(std::filesystem::exists(record.fifoDir));
}

TEST_F(Life, RecordsThatNameOtherFoldersAreRefused) {
  launcher::ProcessRecord record;
  record.recoveryId = "r1";
  record.pid = 999999;
  const auto victim = folder / "victim";
  writeText(victim / "fallback-x" / "precious", "precious\n");
  record.fifoDir = victim;
  EXPECT_EQ(run(launcher->adopt(record)).error().reason, Reason::invalid);
  record.recoveryId = "../../victim";
  record.fifoDir = (folder / "run/recoveries/../../victim").string();
  EXPECT_EQ(run(launcher->adopt(record)).error().reason, Reason::invalid);
  record.recoveryId = "r1";
  record.fifoDir = (folder / "run/recoveries/r1").string();
  record.cgroupLeaves = {(victim / "fallback-x").string()};
  EXPECT_EQ(run(launcher->adopt(record)).error().reason, Reason::invalid);
  record.cgroupLeaves = {hierarchies.front().mountPoint + "/.." + (victim / "fallback-x").string()};
  EXPECT_EQ(run(launcher->adopt(record)).error().reason, Reason::invalid);
  EXPECT_EQ(contentOf(victim / "fallback-x" / "precious"), "precious\n");
  record.cgroupLeaves = {hierarchies.front().mountPoint + "/kubepods"};
  EXPECT_EQ(run(launcher->adopt(record)).error().reason, Reason::invalid);
}

}  // namespace fallbackd::test
