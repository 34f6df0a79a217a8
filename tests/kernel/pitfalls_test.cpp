// SPDX-License-Identifier: Apache-2.0
// One test for each guard against known pitfalls of kernels and C libraries that has no test elsewhere.
// tests/kernel/pitfalls lists all of them.
#include "base/strings.hpp"
#include "launch_fixture.hpp"

#include <fcntl.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::HasSubstr;
using ::testing::Not;

class Pitfalls : public LaunchTest {
 protected:
  void TearDown() override {
    if (stderr_) static_cast<void>(captured());
    LaunchTest::TearDown();
  }
  /// A launcher whose spawner contains a shim; captures the shim's output from now on.
  void useSpawner(const std::string& name, bool unifiedOnly = false) {
    auto other = options();
    other.spawnerProgram = FALLBACKD_TEST_SPAWNERS "/" + name;
    if (unifiedOnly) {
      std::erase_if(*other.cgroups, [](const auto& hierarchy) { return !hierarchy.unified; });
    }
    // gtest's own capture needs a writable /tmp.
    const sys::UniqueFd file(
        ::open((folder / "stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    stderr_ = sys::UniqueFd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
    ::dup2(file.get(), STDERR_FILENO);
    launcherWith(other);
  }
  /// The output since then; stops capturing.
  std::string captured() {
    ::dup2(stderr_.get(), STDERR_FILENO);
    stderr_.reset();
    return contentOf(folder / "stderr");
  }

 private:
  sys::UniqueFd stderr_;
};

/// CLONE_INTO_CGROUP: EBUSY if the folder may not contain processes, EINVAL before 5.7.
TEST_F(Pitfalls, ACgroupThatCloneRefusesIsJoinedByMoving) {
  if (std::none_of(hierarchies.begin(), hierarchies.end(), [](const auto& one) { return one.unified; })) {
    GTEST_SKIP() << "no cgroup2 is mounted";
  }
#ifdef FALLBACKD_SANITIZED
  GTEST_SKIP() << "a sanitized spawner with wrapped calls does not start its children";
#endif
  useSpawner("spawner-busy-cgroup", true);
  const auto process = launched(request({"wait"}));
  EXPECT_THAT(captured(), HasSubstr("shim: busy"));
  ASSERT_NE(process, nullptr);
  ASSERT_EQ(process->record().cgroupLeaves.size(), 1U);
  EXPECT_EQ(trim(contentOf(process->record().cgroupLeaves.front() + "/cgroup.procs")),
            std::to_string(process->record().pid));
  stop(process);
}

/// After pivot_root, and again in the working directory (CVE-2024-21626).
TEST_F(Pitfalls, AWorkingDirectoryOutsideTheRootIsDetected) {
#ifdef FALLBACKD_SANITIZED
  GTEST_SKIP() << "a sanitized spawner with wrapped calls does not start its children";
#endif
  for (const auto& [spawner, step] : {std::pair{"spawner-lost-cwd-1", "be inside the new root"},
                                      std::pair{"spawner-lost-cwd-2", "enter the working directory"}}) {
    useSpawner(spawner);
    const auto process = launch(request({"wait"}));
    static_cast<void>(captured());
    ASSERT_FALSE(process) << spawner;
    EXPECT_EQ(process.error().stage, Stage::rootfs);
    EXPECT_THAT(process.error().message(), HasSubstr(step));
  }
}

/// A bare clone3 leaves the C library's thread data stale, and another thread's lock may be held forever.
/// From clone to execveat only system calls are allowed.
TEST_F(Pitfalls, TheChildNeitherAllocatesNorLocksNorRaises) {
#ifdef FALLBACKD_SANITIZED
  GTEST_SKIP() << "the sanitizers replace the allocator";
#else
  useSpawner("spawner-strict");
  makeVolume("empty-dir", "scratch");
  auto wanted = request({"wait"});
  wanted.workload.workingDir = "/var/lib/shop";
  wanted.workload.volumes = {{config::Volume::Kind::empty_dir, "scratch", "/scratch", "", false}};
  const auto process = launch(std::move(wanted));
  auto failing = request({"wait"});
  failing.workload.healthCheck.args = {"--health-check=fail"};
  const auto unhealthy = launch(std::move(failing));
  const auto said = captured();
  EXPECT_THAT(said, HasSubstr("shim: strict"));
  EXPECT_THAT(said, Not(HasSubstr("the child calls")));
  ASSERT_TRUE(process) << process.error().message();
  stop(*process);
  ASSERT_FALSE(unhealthy);
  EXPECT_EQ(unhealthy.error().stage, Stage::health_check) << unhealthy.error().message();
#endif
}

/// gRPC does not survive a fork, so the process that forks has neither gRPC nor a second thread.
TEST_F(Pitfalls, TheSpawnerHasOneThreadAndNoGrpc) {
  const std::string proc = "/proc/" + std::to_string(launcher->spawner().pid());
#ifndef FALLBACKD_SANITIZED  // TSan has its own thread
  EXPECT_THAT(contentOf(proc + "/status"), HasSubstr("Threads:\t1\n"));
#endif
  EXPECT_EQ(std::filesystem::read_symlink(proc + "/exe"), std::filesystem::canonical(FALLBACKD_TEST_SPAWNER));
  const auto maps = contentOf(proc + "/maps");
  EXPECT_THAT(maps, HasSubstr("fallbackd-spawner"));
  for (const char* library : {"libgrpc", "libprotobuf", "libssl", "libcrypto"}) {
    EXPECT_THAT(maps, Not(HasSubstr(library)));
  }
}

/// Until execveat the waiting process is a copy of the spawner, with the data of other launches.
TEST_F(Pitfalls, AHealthCheckCannotLookIntoTheSpawnersMemory) {
  auto wanted = request({"wait"});
  wanted.workload.healthCheck.args = {"--health-check=peek"};
  const auto process = launch(std::move(wanted));
  EXPECT_TRUE(process) << process.error().message();
  if (process) stop(*process);
}

/// libseccomp merges rules for the same call, so each value is tested by making the call.
TEST_F(Pitfalls, TheFilterHoldsForEveryFlagAndFamily) {
  const auto process = launched(request({"filter"}));
  ASSERT_NE(process, nullptr);
  const ProbeOutput seen(logWith(process, " F end\n"));
  stop(process);
  const auto refused = seen.all("refused");
  EXPECT_EQ(refused.size(), 7U + 21U + 1U + 4U + 4U);
  for (const auto& line : refused) EXPECT_TRUE(line.ends_with(" " + std::to_string(EPERM))) << line;
  EXPECT_GE(seen.all("allowed").size(), 12U);
  for (const auto& line : seen.all("allowed")) EXPECT_TRUE(line.ends_with(" 0")) << line;
}

/// Masks are made from the root's own /dev/null, on a file system that nothing else uses.
TEST_F(Pitfalls, MasksAreTheRootsOwnNullDevice) {
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const std::string root = "/proc/" + std::to_string(process->record().pid) + "/root";
  struct stat null {};
  ASSERT_EQ(::stat((root + "/dev/null").c_str(), &null), 0);
  struct stat hosts {};
  ASSERT_EQ(::stat("/dev/null", &hosts), 0);
  EXPECT_NE(null.st_dev, hosts.st_dev) << "the host's /dev/null";
  int masked = 0;
  for (const char* path : {"/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/latency_stats"}) {
    struct stat info {};
    if (::stat((root + path).c_str(), &info) != 0) continue;
    ++masked;
    EXPECT_EQ(info.st_dev, null.st_dev) << path;
    EXPECT_EQ(info.st_ino, null.st_ino) << path;
  }
  EXPECT_GT(masked, 0);
  stop(process);
}

}  // namespace fallbackd::test
