// SPDX-License-Identifier: Apache-2.0
// Guards of the spawner that no other test covers: each test fails without its guard.
#include "base/strings.hpp"
#include "launch_fixture.hpp"
#include "sys/tracee.hpp"

#include <csignal>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <set>
#include <sstream>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

namespace {

std::set<int> descriptorsOf(pid_t pid) {
  std::set<int> numbers;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    numbers.insert(std::stoi(entry.path().filename()));
  }
  return numbers;
}

/// The result of prctl(PR_GET_DUMPABLE) in another process, which ptrace makes call it; -1 on failure.
long dumpableOf(pid_t pid) {
  const auto stopped = [pid] {
    int status = 0;
    return ::waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
  };
  if (::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) != 0) return -1;
  if (::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr) != 0 || !stopped()) return -1;
  const auto before = sys::registersOf(pid);
  if (!before) return -1;
  const auto code = sys::plantCall(pid, before->next());
  long dumpable = -1;
  if (code && sys::setRegisters(pid, before->calling(SYS_prctl, PR_GET_DUMPABLE)) && sys::resume(pid, 0) &&
      stopped()) {
    const auto after = sys::registersOf(pid);
    if (after) dumpable = after->result();
  }
  if (code) static_cast<void>(sys::putBack(pid, before->next(), *code));
  static_cast<void>(sys::setRegisters(pid, *before));
  static_cast<void>(sys::stopTracing(pid));
  return dumpable;
}

}  // namespace

class Guards : public LaunchTest {
 protected:
  /// For scripts/report reach.
  static void shows(const std::string& attack) {
    RecordProperty("item", "13");
    RecordProperty("attack", attack);
  }

  /// The spawner's children, once there are this many.
  std::vector<pid_t> children(std::size_t count) {
    const std::string spawner = std::to_string(launcher->spawner().pid());
    std::vector<pid_t> found;
    for (const auto deadline = Monotonic::now() + 10s;
         found.size() != count && Monotonic::now() < deadline;) {
      loop.run_one_for(5ms);
      std::istringstream list(contentOf("/proc/" + spawner + "/task/" + spawner + "/children"));
      found.clear();
      for (pid_t pid = 0; list >> pid;) found.push_back(pid);
    }
    EXPECT_EQ(found.size(), count);
    return found;
  }

  /// A launch with a hanging health check: the processes of its leaf, once there are two. The first one
  /// waits.
  std::vector<pid_t> duringHealthCheck(launcher::LaunchRequest wanted) {
    wanted.workload.healthCheck.args = {"--health-check=hang"};
    wanted.workload.healthCheck.timeout = 30s;
    const std::string leaf = sandbox->cgroups().front() + "/fallback-" + wanted.workload.match.container;
    asio::co_spawn(
        loop, launcher->launch(std::move(wanted)),
        [&](std::exception_ptr, Result<ProcessPtr> result) { outcome.emplace(std::move(result)); });
    std::vector<pid_t> pids;
    for (const auto deadline = Monotonic::now() + 10s; pids.size() < 2 && Monotonic::now() < deadline;) {
      loop.run_one_for(5ms);
      std::istringstream list(contentOf(leaf + "/cgroup.procs"));
      pids.clear();
      for (pid_t pid = 0; list >> pid;) pids.push_back(pid);
      // Only once the health check is executed: until then both run the same program.
      const auto exe = [](pid_t pid) {
        std::error_code error;
        return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", error).string();
      };
      if (pids.size() == 2 && exe(pids[0]) == exe(pids[1])) pids.clear();
    }
    EXPECT_EQ(pids.size(), 2U);
    return pids;
  }

  void endLaunch() {
    ::kill(launcher->spawner().pid(), SIGKILL);
    while (!outcome) loop.run_one();
  }

  std::optional<Result<ProcessPtr>> outcome;
};

TEST_F(Guards, SpawnerAndSpareAreNotDumpable) {
  shows("Root without capabilities traces the spawner and the process that waits for a launch");
  const auto ordinary = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (ordinary == 0) {
    for (;;) ::pause();
  }
  EXPECT_EQ(dumpableOf(ordinary), 1) << "the test itself works";
  EXPECT_EQ(dumpableOf(launcher->spawner().pid()), 0);
  for (const pid_t spare : children(1)) EXPECT_EQ(dumpableOf(spare), 0);
  ::kill(ordinary, SIGKILL);
  ::waitpid(ordinary, nullptr, 0);
}

/// A file in /proc belongs to the process's user if the process is dumpable, otherwise to root.
TEST_F(Guards, TheProcessThatWaitsForItsHealthCheckIsNotDumpable) {
  shows("A health check looks into the process that waits for it");
  auto wanted = request({"wait"});
  wanted.workload.user = {1234, 1234, {}};
  const auto processes = duringHealthCheck(std::move(wanted));
  ASSERT_EQ(processes.size(), 2U);
  struct stat waits {};
  struct stat runs {};
  ASSERT_EQ(::stat(("/proc/" + std::to_string(processes[0]) + "/environ").c_str(), &waits), 0);
  ASSERT_EQ(::stat(("/proc/" + std::to_string(processes[1]) + "/environ").c_str(), &runs), 0);
  EXPECT_EQ(waits.st_uid, 0U);
  EXPECT_EQ(runs.st_uid, 1234U) << "the test itself works";
  endLaunch();
}

TEST_F(Guards, ASpareHasOnlyItsTwoSockets) {
  shows("A spare keeps descriptors of the spawner");
  const auto spare = children(1);
  ASSERT_EQ(spare.size(), 1U);
  std::set<int> numbers;
  for (const auto deadline = Monotonic::now() + 10s; numbers.size() != 5 && Monotonic::now() < deadline;) {
    loop.run_one_for(5ms);  // it has just been started
    numbers = descriptorsOf(spare.front());
  }
  EXPECT_EQ(numbers.size(), 5U) << ::testing::PrintToString(numbers) << ": the standard ones and two sockets";
}

TEST_F(Guards, TheSpawnerHasNoDescriptorOfTheDaemon) {
  shows("A library of the daemon leaves a descriptor open, and the spawner keeps it");
  const sys::UniqueFd leaky(::memfd_create("leaky", 0));  // without CLOEXEC
  launcherWith(options());
  const auto linksOf = [](pid_t pid) {
    std::string links;
    for (const int fd : descriptorsOf(pid)) {
      std::error_code gone;
      const auto link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
      links += std::filesystem::read_symlink(link, gone).string() + "\n";
    }
    return links;
  };
  EXPECT_THAT(linksOf(::getpid()), HasSubstr("leaky")) << "the test would see nothing";
  EXPECT_THAT(linksOf(launcher->spawner().pid()), Not(HasSubstr("leaky")));
}

TEST_F(Guards, TheSecureBitsAreSetAndLocked) {
  shows("A fallback sets secure bits so that uid 0 or an ambient capability takes effect again");
  const auto process = launched(request({"world"}));
  ASSERT_NE(process, nullptr);
  const auto log = logWith(process, "securebits");
  stop(process);
  constexpr int kBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
                        SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                        SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  EXPECT_THAT(log, HasSubstr("securebits\t" + std::to_string(kBits) + "\n"));
}

TEST_F(Guards, TheProcessThatWaitsForItsHealthCheckHasOnlyItsOwnDescriptors) {
  shows("A launch keeps descriptors of the node until execveat");
  const auto processes = duringHealthCheck(request({"wait"}));
  ASSERT_EQ(processes.size(), 2U);
  EXPECT_THAT(descriptorsOf(processes[0]), ElementsAre(0, 1, 2, 3, 4, 5))
      << "5 is the pidfd of the health check";
  EXPECT_THAT(descriptorsOf(processes[1]), ElementsAre(0, 1, 2));
  endLaunch();
}

TEST_F(Guards, TheDaemonsSessionKeyringIsNotInherited) {
  shows("A fallback searches the daemon's session keyring");
  ASSERT_GE(::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr), 0);
  ASSERT_GE(::syscall(SYS_add_key, "user", "fallbackd-test", "secret", 6, KEY_SPEC_SESSION_KEYRING), 0);
  launcherWith(options());  // the spawner inherits it
  auto wanted = request({"escape", "session-key"});
  wanted.workload.user = {0, 0, {}};
  wanted.workload.security.seccomp.type = config::SecurityProfile::Type::unconfined;  // the default filter
  // also forbids it
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  const ProbeOutput seen(logWith(process, " F end\n"));
  stop(process);
  EXPECT_EQ(seen.one("escaped"), "");
  EXPECT_NE(seen.one("refused"), "");
}

/// A check that may trace must not share a PID namespace with the waiting process, which shares the memory of
/// a root process.
TEST_F(Guards, AHealthCheckThatMayTraceHasItsOwnPidNamespace) {
  shows("A health check with SYS_PTRACE traces the process that waits for it");
  auto wanted = request({"report"});
  wanted.workload.security.capabilities = 1ULL << CAP_SYS_PTRACE;
  wanted.workload.healthCheck.args = {"--health-check=who"};
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  const auto log = logWith(process, " F end\n");
  stop(process);
  EXPECT_THAT(log, HasSubstr("health pid 1 uid")) << "it has its own PID namespace";
  EXPECT_EQ(ProbeOutput(log).one("pid"), "1");
}

}  // namespace fallbackd::test
