// SPDX-License-Identifier: Apache-2.0
// The spawner as a process: its death, its replacement, many concurrent launches.
#include "base/strings.hpp"
#include "launch_fixture.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <set>
#include <sstream>
#include <stop_token>
#include <string>
#include <sys/resource.h>
#include <thread>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <gmock/gmock.h>

namespace fallbackd::test {

using namespace std::chrono_literals;

class SpawnerProcess : public LaunchTest {
 protected:
  /// The spawner's children except `without`, once there are this many: running processes, and the spare for
  /// the next launch.
  std::set<pid_t> children(std::size_t count, const std::set<pid_t>& without = {}) {
    const std::string spawner = std::to_string(launcher->spawner().pid());
    std::set<pid_t> found;
    const auto deadline = Monotonic::now() + 10s;
    do {
      loop.run_one_for(5ms);
      std::istringstream list(contentOf("/proc/" + spawner + "/task/" + spawner + "/children"));
      found.clear();
      for (pid_t pid = 0; list >> pid;) found.insert(pid);
    } while ((found.size() != count ||
              std::any_of(without.begin(), without.end(), [&](pid_t pid) { return found.contains(pid); })) &&
             Monotonic::now() < deadline);
    return found;
  }
};

TEST_F(SpawnerProcess, SeesNoFilesOfTheHost) {
  const std::string proc = "/proc/" + std::to_string(launcher->spawner().pid());
  const auto mounts = contentOf(proc + "/mountinfo");
  EXPECT_EQ(split(mounts, '\n').size(), 2U) << mounts;  // one line
  EXPECT_NE(mounts.find(" / / ro,"), std::string::npos) << mounts;
  EXPECT_EQ(contentOf(proc + "/environ"), "");
}

/// Without its descriptor a process cannot be reported.
TEST_F(SpawnerProcess, WithoutADescriptorForTheProcessItSaysSo) {
  const pid_t spawner = launcher->spawner().pid();
  const auto open = [&] {
    std::set<int> numbers;
    for (const auto& one : std::filesystem::directory_iterator("/proc/" + std::to_string(spawner) + "/fd"))
      numbers.insert(std::stoi(one.path().filename().string()));
    return numbers;
  };
  // Three of its own, its socket, signals and events, and the reports of the spare, which is complete then.
  ASSERT_EQ(children(1).size(), 1U);
  ASSERT_TRUE(e2e::waitUntil(10s, [&] { return open().size() == 7; }));
  loop.restart();
  loop.poll();
  rlim_t lowest = 0;
  for (const auto numbers = open(); numbers.contains(static_cast<int>(lowest));) ++lowest;
  rlimit before{};
  ASSERT_EQ(::prlimit(spawner, RLIMIT_NOFILE, nullptr, &before), 0);
  const rlimit few{lowest, before.rlim_max};
  ASSERT_EQ(::prlimit(spawner, RLIMIT_NOFILE, &few, nullptr), 0);
  const auto refused = refusal(request({"wait"}));
  ASSERT_EQ(::prlimit(spawner, RLIMIT_NOFILE, &before, nullptr), 0);
  EXPECT_EQ(refused.errnum, EMFILE) << refused.message();
  EXPECT_THAT(refused.message(), ::testing::HasSubstr("hold process"));
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  stop(process);
}

TEST_F(SpawnerProcess, IsReplacedAndItsProcessesKeepRunning) {
  const auto first = launched(request({"wait"}));
  ASSERT_NE(first, nullptr);
  // For root the kernel does not clear what it clears for others.
  auto asRoot = request({"term"});
  asRoot.workload.user = {0, 0, {}};
  const auto root = launched(std::move(asRoot));
  ASSERT_NE(root, nullptr);
  logWith(root, "up");
  const pid_t before = launcher->spawner().pid();
  ::kill(before, SIGKILL);
  while (launcher->spawner().restarts() == 0) loop.run_one();
  const auto second = launched(request({"wait"}));
  ASSERT_NE(second, nullptr);
  EXPECT_NE(launcher->spawner().pid(), before);
  EXPECT_EQ(launcher->spawner().restarts(), 1U);
  // They have lost their parent; the daemon still notices their ends and reads their exit status.
  EXPECT_EQ(::kill(first->record().pid, 0), 0);
  EXPECT_NE(stop(first).kind, launcher::ExitStatus::Kind::exited);
  stop(root, std::chrono::seconds(10));
  EXPECT_THAT(contentOf(root->record().logFile), ::testing::HasSubstr("stdout F bye"))
      << "it got its SIGTERM";
  EXPECT_EQ(stop(second).value, SIGKILL);
}

TEST_F(SpawnerProcess, EachLaunchUsesTheSpareAndANewOneIsStarted) {
  const auto before = children(1);
  ASSERT_EQ(before.size(), 1U);
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  auto after = children(2, before);  // a new one replaces the used one
  EXPECT_EQ(after.size(), 2U);
  EXPECT_EQ(after.count(process->record().pid), 1U);
  EXPECT_EQ(after.count(*before.begin()), 0U);
  stop(process);
}

TEST_F(SpawnerProcess, IsNotWokenByAProcessThatANeighbourStopsAndContinues) {
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  ASSERT_EQ(children(2).size(), 2U);
  std::jthread neighbour([pid = process->record().pid](const std::stop_token& over) {
    while (!over.stop_requested()) {
      for (const int signal : {SIGSTOP, SIGCONT}) {
        ::kill(pid, signal);
        std::this_thread::sleep_for(1ms);  // until it has stopped: SIGCONT would cancel a pending stop
      }
    }
  });
  const auto other = launched(request({"wait"}));
  ASSERT_NE(other, nullptr);
  // The spawner cleans up when nothing has happened for a while.
  EXPECT_EQ(children(3).size(), 3U) << "two processes and a new spare, not the used one";
  neighbour.request_stop();
  neighbour.join();
  stop(process);
  stop(other);
}

TEST_F(SpawnerProcess, ALaunchNeedsNoLiveSpare) {
  const auto spare = children(1);
  ASSERT_EQ(spare.size(), 1U);
  ::kill(*spare.begin(), SIGKILL);
  EXPECT_TRUE(children(0).empty()) << "it is not restarted before it is needed";
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(launcher->spawner().restarts(), 0U);
  stop(process);
}

TEST_F(SpawnerProcess, AFailedLaunchLeavesNoProcess) {
  auto wanted = request({"wait"});
  wanted.workload.healthCheck.args = {"--health-check=fail"};
  EXPECT_FALSE(launch(std::move(wanted)));
  EXPECT_EQ(children(1).size(), 1U);
}

/// The new process builds its root while the daemon prepares the rest. If the daemon's part fails, the
/// process already exists.
TEST_F(SpawnerProcess, AProcessWithoutAnEntryEnds) {
  const auto before = children(1);
  auto wanted = request({"wait"});
  std::filesystem::create_directories(wanted.sandbox.logDirectory);
  std::filesystem::create_directory_symlink(
      folder / "elsewhere",
      wanted.sandbox.logDirectory + "/" + wanted.workload.match.container + "-fallback");
  const std::string leaf = sandbox->cgroups().front() + "/fallback-" + wanted.workload.match.container;
  const auto process = launch(std::move(wanted));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().stage, Stage::logs) << process.error().message();
  EXPECT_EQ(children(1, before).size(), 1U) << "the used spare or the process still exists";
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

TEST_F(SpawnerProcess, LaunchInFlightFailsAndLeavesNothing) {
  auto wanted = request({"wait"});
  wanted.workload.healthCheck.args = {"--health-check=hang"};
  wanted.workload.healthCheck.timeout = 30s;
  std::optional<Result<ProcessPtr>> outcome;
  asio::co_spawn(loop, launcher->launch(wanted),
                 [&](std::exception_ptr, Result<ProcessPtr> result) { outcome.emplace(std::move(result)); });
  const std::string leaf = sandbox->cgroups().front() + "/fallback-" + wanted.workload.match.container;
  // Waits until the health check runs: then pid 1 and pid 2 of the launch are in the leaf.
  const auto deadline = Monotonic::now() + 10s;
  while (split(contentOf(leaf + "/cgroup.procs"), '\n').size() < 3 && Monotonic::now() < deadline) {
    loop.run_one_for(5ms);
  }
  ::kill(launcher->spawner().pid(), SIGKILL);
  while (!outcome) loop.run_one();
  ASSERT_FALSE(*outcome);
  EXPECT_EQ(outcome->error().reason, Reason::spawner_gone) << outcome->error().message();
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

TEST_F(SpawnerProcess, CancelledLaunchIsAbortedAndLeavesNothing) {
  auto wanted = request({"wait"});
  wanted.workload.healthCheck.args = {"--health-check=hang"};
  wanted.workload.healthCheck.timeout = 30s;
  asio::cancellation_signal cancel;
  bool ended = false;
  asio::co_spawn(
      loop, launcher->launch(wanted),
      asio::bind_cancellation_slot(
          cancel.slot(), [&](std::exception_ptr error, Result<ProcessPtr>) { ended = error != nullptr; }));
  const std::string leaf = sandbox->cgroups().front() + "/fallback-" + wanted.workload.match.container;
  const auto deadline = Monotonic::now() + 10s;
  while (split(contentOf(leaf + "/cgroup.procs"), '\n').size() < 3 && Monotonic::now() < deadline) {
    loop.run_one_for(5ms);
  }
  cancel.emit(asio::cancellation_type::terminal);
  while ((!ended || std::filesystem::exists(leaf)) && Monotonic::now() < deadline) loop.run_one_for(5ms);
  EXPECT_TRUE(ended);
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

TEST_F(SpawnerProcess, FiftyLaunchesAtOnce) {
  constexpr std::size_t kMany = 50;
  std::vector<Result<ProcessPtr>> outcomes;
  for (std::size_t i = 0; i < kMany; ++i) {
    asio::co_spawn(
        loop, launcher->launch(request({"wait"})),
        [&](std::exception_ptr, Result<ProcessPtr> result) { outcomes.push_back(std::move(result)); });
  }
  const auto began = Monotonic::now();
  while (outcomes.size() < kMany) loop.run_one();
  RecordProperty("milliseconds", std::to_string(toMillis(Monotonic::now() - began)));
  std::set<pid_t> pids;
  for (auto& outcome : outcomes) {
    ASSERT_TRUE(outcome) << outcome.error().message();
    pids.insert((*outcome)->record().pid);
  }
  EXPECT_EQ(pids.size(), kMany);
  for (auto& outcome : outcomes) stop(*outcome);
}

TEST_F(SpawnerProcess, AnIdThatIsAPathIsRefused) {
  for (const char* id : {"../x", "", "a/b", "."}) {
    auto wanted = request({"wait"});
    wanted.recoveryId = id;
    const auto error = refusal(std::move(wanted));
    EXPECT_EQ(error.stage, Stage::spawner) << id;
    EXPECT_EQ(error.reason, Reason::invalid) << id;
  }
}

TEST_F(SpawnerProcess, MissingProgramIsAClearError) {
  auto other = options();
  other.spawnerProgram = "/nonexistent/fallbackd-spawner";
  launcher::LocalLauncher broken(loop.get_executor(), other, {});
  const auto started = broken.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().stage, Stage::spawner);
  EXPECT_EQ(started.error().errnum, ENOENT);
}

TEST_F(SpawnerProcess, TooLargeAnEnvironmentIsRefused) {
  auto wanted = request({"wait"});
  wanted.workload.env["BIG"] = std::string(300000, 'x');
  const auto process = launch(std::move(wanted));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().reason, Reason::too_large);
}

}  // namespace fallbackd::test
