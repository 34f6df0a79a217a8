// SPDX-License-Identifier: Apache-2.0
// A hostile program, as the workload, tries each way out of the pod, as an ordinary user and as uid 0. Each
// is refused, and the test checks from outside that nothing was touched. ESCAPE_JSON names a folder for the
// table of scripts/report isolation.
#include "base/strings.hpp"
#include "launch_fixture.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <set>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::HasSubstr;
using ::testing::Not;

namespace {

constexpr uid_t kUser = 65532;

/// Writes one row of the table.
void record(const std::string& way, const std::string& asUser, bool refused, const std::string& says) {
  const char* const folder = std::getenv("ESCAPE_JSON");
  if (folder == nullptr) return;
  static int number = 0;
  const auto name = std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + "-" +
                    std::to_string(++number) + ".json";
  std::string file = name;
  std::replace(file.begin(), file.end(), '/', '-');
  std::ofstream(std::filesystem::path(folder) / file) << boost::json::serialize(
      boost::json::object{{"way", way}, {"user", asUser}, {"refused", refused}, {"says", says}});
}

/// A listening socket of the host: a path, or an abstract name.
sys::UniqueFd listenAt(const std::string& name, bool abstract) {
  sys::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + (abstract ? 1 : 0), sizeof address.sun_path - 2);
  const auto size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 1 : 0));
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size), 0) << name;
  EXPECT_EQ(::listen(fd.get(), 8), 0);
  return fd;
}

bool somebodyKnocked(const sys::UniqueFd& listener) {
  pollfd polled{listener.get(), POLLIN, 0};
  return ::poll(&polled, 1, 0) > 0;
}

}  // namespace

class EscapeTest : public LaunchTest {
 protected:
  void SetUp() override {
    LaunchTest::SetUp();
    if (folder.empty()) return;
    writeText(precious(), "precious\n");
    bystander_ = launched(request({"wait"}));
    executable_ = contentOf("/proc/self/fd/" + std::to_string(probe->get()));
    spawner_ = launcher->spawner().pid();
  }
  void TearDown() override {
    if (bystander_ != nullptr) stop(bystander_);
    bystander_.reset();
    LaunchTest::TearDown();
  }

  /// A file of the host that nobody in a pod may read or change.
  [[nodiscard]] std::filesystem::path precious() const { return folder / "precious"; }

  /// Launches the probe for one way and checks its report. Its row is always written.
  void expectRefused(const std::string& title, launcher::LaunchRequest wanted) {
    const auto asUser = "uid " + std::to_string(wanted.workload.user.uid);
    const auto process = launched(std::move(wanted));
    ASSERT_NE(process, nullptr);
    const ProbeOutput seen(logWith(process, " F end\n"));
    stop(process);
    const auto escaped = seen.one("escaped");
    EXPECT_EQ(escaped, "") << title << " as " << asUser;
    record(title, asUser, escaped.empty(), escaped.empty() ? seen.one("refused") : escaped);
    expectNothingTouched();
  }

  void expectNothingTouched() {
    EXPECT_EQ(contentOf(precious()), "precious\n");
    EXPECT_EQ(contentOf("/proc/self/fd/" + std::to_string(probe->get())), executable_) << "the binary";
    ASSERT_NE(bystander_, nullptr);
    EXPECT_EQ(::kill(bystander_->record().pid, 0), 0) << "another fallback";
    EXPECT_EQ(launcher->spawner().pid(), spawner_);
    EXPECT_EQ(launcher->spawner().restarts(), 0U);
    for (const auto& cgroup : sandbox->cgroups()) {
      for (const auto& entry : std::filesystem::directory_iterator(cgroup)) {
        if (!entry.is_directory()) continue;
        EXPECT_EQ(entry.path().filename(), "fallback-app1") << "a new cgroup";
      }
    }
  }

  std::string executable_;
  pid_t spawner_ = 0;
  ProcessPtr bystander_;
};

struct Way {
  const char* name;  // the probe's name for it
  const char* title;
};

class Escape : public EscapeTest, public ::testing::WithParamInterface<Way> {
 protected:
  /// The probe's arguments; prepares what the way needs.
  std::vector<std::string> arguments() {
    const std::string name = GetParam().name;
    if (name == "ptrace") {
      return {std::to_string(::getpid()), std::to_string(spawner_), std::to_string(sandbox->pause()),
              std::to_string(bystander_->record().pid)};
    }
    if (name == "sockets") {
      const std::string abstract = "fallbackd-escape-" + std::to_string(::getpid());
      listeners_.push_back(listenAt(folder / "host.sock", false));
      listeners_.push_back(listenAt(abstract, true));
      return {folder / "host.sock", abstract};
    }
    if (name == "volume-links") {
      const auto volume = makeVolume("empty-dir", "scratch");
      std::vector<std::string> paths;
      for (const auto& target : {precious().string(), "../../../../../../../.." + precious().string(),
                                 std::string("/etc/shadow"), std::string("/proc/1/root/etc/shadow")}) {
        const auto link = "evil" + std::to_string(paths.size());
        std::filesystem::create_symlink(target, volume / link);
        paths.push_back("/scratch/" + link);
      }
      return paths;
    }
    if (name == "keyrings") {
      // The daemon's own session keyring, with a key in it: the process must not inherit it.
      ::syscall(SYS_add_key, "user", "fallbackd-test", "secret", 6, -3);
    }
    return {};
  }

  std::vector<sys::UniqueFd> listeners_;
};

TEST_P(Escape, IsRefused) {
  std::vector<std::string> args{"escape", GetParam().name};
  for (auto& argument : arguments()) args.push_back(std::move(argument));
  for (const uid_t uid : {kUser, uid_t{0}}) {
    auto wanted = request(args);
    wanted.workload.user = {uid, uid, {}};
    if (GetParam().name == std::string("volume-links")) {
      wanted.workload.volumes = {{config::Volume::Kind::empty_dir, "scratch", "/scratch", "", false}};
    }
    expectRefused(GetParam().title, std::move(wanted));
  }
  for (const auto& listener : listeners_) EXPECT_FALSE(somebodyKnocked(listener));
  listeners_.clear();
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Escape,
    ::testing::Values(Way{"descriptors", "descriptors of the daemon or the spawner"},
                      Way{"proc-root", "/proc/1/root and other processes in /proc"},
                      Way{"self-exe", "overwriting /proc/self/exe (CVE-2019-5736)"},
                      Way{"cwd", "a working directory outside (CVE-2024-21626)"},
                      Way{"mknod", "devices by mknod"},
                      Way{"mount", "mount, bind, remount, unmounting masks, pivot_root, chroot"},
                      Way{"namespaces", "new namespaces, and back into others by setns"},
                      Way{"ptrace", "ptrace, memory, pidfd and signals of daemon, spawner, pause"},
                      Way{"kill", "kill(-1)"},
                      Way{"sockets", "unix sockets of the host, by path and abstract"},
                      Way{"keyrings", "keyrings of the daemon"},
                      Way{"cgroups", "cgroup files, release_agent, cgroup mounts"},
                      Way{"kernel-files", "writing /proc/sys, sysrq, core_pattern, the root"},
                      Way{"masks", "/dev/null as the masks' source (CVE-2025-31133)"},
                      Way{"terminals", "TIOCSTI and other terminals"},
                      Way{"surface", "bpf, perf, userfaultfd, io_uring, modules, x32, i386"},
                      Way{"privileges", "setuid, setgroups, capset, raw sockets"},
                      Way{"limits", "raising limits, priority, oom_score_adj"},
                      Way{"volume-links", "a volume's symlinks to the host, followed inside"},
                      Way{"logs", "the log FIFO's name"}),
    [](const auto& way) {
      std::string name = way.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST_F(EscapeTest, AHealthCheckHasNoDescriptors) {
  auto wanted = request({"wait"});
  wanted.workload.healthCheck.args = {"--health-check=descriptors"};
  const auto process = launch(std::move(wanted));
  EXPECT_TRUE(process) << process.error().message();
  record("descriptors, seen by the health check", "uid 65532", process.has_value(),
         process ? "descriptors 3 to 4095: Bad file descriptor" : process.error().message());
  if (process) stop(*process);
}

/// CVE-2024-21626 by way of the configuration: it names the folder through a leaked descriptor.
TEST_F(EscapeTest, AWorkingDirectoryThroughADescriptorIsRefused) {
  std::string says;
  for (const char* path : {"/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/fd/7/../../..", "/proc/self/cwd",
                           "/proc/1/root", "/proc/self/root", "/dev/fd/3"}) {
    auto wanted = request({"escape", "cwd"});
    wanted.workload.workingDir = path;
    const auto process = launch(std::move(wanted));
    if (process) {
      // The name was harmless if the process is inside.
      EXPECT_EQ(ProbeOutput(logWith(*process, " F end\n")).one("escaped"), "") << path;
      stop(*process);
      continue;
    }
    EXPECT_EQ(process.error().stage, Stage::rootfs) << process.error().message();
    if (says.empty()) says = process.error().message();
  }
  EXPECT_FALSE(says.empty()) << "none of the paths was refused";
  record("a working directory through /proc/self/fd/N (CVE-2024-21626)", "uid 65532", !says.empty(), says);
  expectNothingTouched();
}

/// CVE-2026-8052: an attacker who can write to the FIFOs' folder replaces a FIFO by a symlink while no daemon
/// runs.
TEST_F(EscapeTest, ALogFifoSwappedForASymlinkIsNotFollowed) {
  auto process = launched(request({"term"}));
  ASSERT_NE(process, nullptr);
  logWith(process, "up");
  const auto record_ = process->record();
  process.reset();
  for (const char* name : {"stdout", "stderr"}) {
    std::filesystem::remove(record_.fifoDir + "/" + name);
    std::filesystem::create_symlink(precious(), record_.fifoDir + "/" + name);
  }
  auto adopted = run(launcher->adopt(record_));
  ASSERT_TRUE(adopted) << "the process matters more than its output";
  run((*adopted)->stop(std::chrono::seconds(10)));
  EXPECT_THAT(contentOf(record_.logFile), Not(HasSubstr("precious")));
  const bool untouched = contentOf(precious()) == "precious\n";
  record("a log FIFO swapped for a symlink, at adoption (CVE-2026-8052)", "root in the FIFOs' folder",
         untouched, "not a FIFO: the output is not copied, the target stays");
  expectNothingTouched();
}

TEST_F(EscapeTest, FifosAreNotCreatedThroughASymlinkedFolder) {
  auto wanted = request({"wait"});
  std::filesystem::create_directories(folder / "victim");
  writeText(folder / "victim" / "stdout", "precious\n");
  std::filesystem::create_directories(folder / "run" / "recoveries");
  std::filesystem::create_directory_symlink(folder / "victim",
                                            folder / "run" / "recoveries" / wanted.recoveryId);
  const auto process = launch(std::move(wanted));
  if (process) stop(*process);  // it replaced the link with its own folder
  EXPECT_EQ(contentOf(folder / "victim" / "stdout"), "precious\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "victim"), {}), 1);
  record("the FIFOs' folder swapped for a symlink (CVE-2026-8052)", "root in the run folder",
         contentOf(folder / "victim" / "stdout") == "precious\n",
         process ? "the link is replaced with a folder" : process.error().message());
}

TEST_F(EscapeTest, ALogFileThatIsALinkIsRefused) {
  for (const bool symbolic : {true, false}) {
    auto wanted = request({"wait"});
    const std::filesystem::path logs =
        wanted.sandbox.logDirectory + "/" + wanted.workload.match.container + "-fallback";
    std::filesystem::create_directories(logs);
    if (symbolic) {
      std::filesystem::create_symlink(precious(), logs / "0.log");
    } else {
      std::filesystem::create_hard_link(precious(), logs / "0.log");
    }
    const auto process = launch(std::move(wanted));
    ASSERT_FALSE(process) << symbolic;
    EXPECT_EQ(process.error().stage, Stage::logs);
    record(symbolic ? "a log file that is a symlink" : "a log file that is a hard link",
           "a pod with its log folder", true, process.error().message());
    expectNothingTouched();
  }
}

TEST_F(EscapeTest, ASubPathThatLeadsOutIsRefused) {
  const auto volume = makeVolume("empty-dir", "scratch");
  writeText(folder / "victim" / "file", "precious\n");
  std::filesystem::create_symlink("../../../../../../../.." + (folder / "victim").string(), volume / "out");
  std::filesystem::create_symlink(folder, volume / "top");
  for (const char* subPath : {"out", "out/file", "top", "top/victim"}) {
    auto wanted = request({"wait"});
    wanted.workload.volumes = {{config::Volume::Kind::empty_dir, "scratch", "/scratch", subPath, false}};
    const auto process = launch(std::move(wanted));
    ASSERT_FALSE(process) << subPath;
    EXPECT_EQ(process.error().reason, Reason::unsafe_path) << subPath;
    record("a volume's sub-path that leads out: " + std::string(subPath), "a pod with its volume", true,
           process.error().message());
  }
}

}  // namespace fallbackd::test
