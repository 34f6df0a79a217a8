// SPDX-License-Identifier: Apache-2.0
// What a daemon leaves behind if it dies between a launch and its journal entry.
#include "launch_fixture.hpp"
#include "refused_calls.hpp"

#include <cerrno>
#include <csignal>
#include <set>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace fallbackd::test {

constexpr const char* kOwner = "trusted.fallbackd.owner";

class Orphans : public LaunchTest {
 protected:
  /// A pod with kubelet's cgroup names: its leaves are found by their path.
  void SetUp() override {
    LaunchTest::SetUp();
    for (const auto& hierarchy : hierarchies) {
      const std::filesystem::path place = hierarchy.folderOf(sandbox->status().cgroupParent);
      makeCgroup(place / "kubepods");
      makeCgroup(place / "kubepods" / "podtest");
      pods_.push_back(place / "kubepods" / "podtest");
    }
    // Only below this test's own pod: the machine may have other pods.
    const auto& top = sandbox->status().cgroupParent;
    for (auto& hierarchy : hierarchies) {
      hierarchy.mountPoint = hierarchy.folderOf(top);
      hierarchy.root = (hierarchy.root == "/" ? "" : hierarchy.root) + top;
    }
    launcherWith(options());
  }
  void TearDown() override {
    for (const auto& pod : pods_) {
      ::rmdir(pod.c_str());
      ::rmdir(pod.parent_path().c_str());
    }
    LaunchTest::TearDown();
  }
  static void makeCgroup(const std::filesystem::path& path) {
    std::filesystem::create_directory(path);
    for (const char* name : {"cpuset.cpus", "cpuset.mems"}) {
      const auto value = contentOf(path.parent_path() / name);
      if (!value.empty()) writeText(path / name, value);
    }
  }
  launcher::LaunchRequest inPod(const std::string& container) {
    auto wanted = request({"wait"});
    wanted.sandbox.cgroupParent = "/kubepods/podtest";
    wanted.workload.match.container = container;
    return wanted;
  }
  /// Returns a value, for run().
  asio::awaitable<bool> discarded(launcher::ProcessRecord record) {
    co_await launcher->discard(std::move(record));
    co_return true;
  }
  /// The pid of a process in a leaf of ours, once it executes `program`.
  pid_t runIn(const std::filesystem::path& leaf, const std::filesystem::path& program) {
    const auto trees = launcher::CgroupTrees::open(hierarchies, options().runDir);
    EXPECT_TRUE(trees && trees->leaf(leaf) && trees->leaf(leaf)->make());
    makeCgroup(leaf);
    const pid_t child = ::fork();
    if (child == 0) {
      ::execl(program.c_str(), "sleep", "600", nullptr);
      ::_exit(1);
    }
    writeText(leaf / "cgroup.procs", std::to_string(child));
    const std::string exe = "/proc/" + std::to_string(child) + "/exe";
    std::error_code error;
    for (int i = 0; i < 1000 && std::filesystem::read_symlink(exe, error) != program; ++i)
      loop.run_for(std::chrono::milliseconds(10));
    return child;
  }
  std::vector<std::filesystem::path> pods_;
};

TEST_F(Orphans, AnUnclaimedFallbackIsReportedAndCanBeAdopted) {
  auto lost = launched(inPod("lost"));
  ASSERT_TRUE(lost != nullptr);
  const auto record = lost->record();
  lost.reset();  // like a killed daemon: the process keeps running
  const auto remains = run(launcher->collectOrphans({}));
  ASSERT_EQ(remains.running.size(), 1U);
  const auto& found = remains.running.front();
  EXPECT_EQ(found.podUid, "test");
  EXPECT_EQ(found.container, "lost");
  EXPECT_EQ(found.record.pid, record.pid);
  EXPECT_EQ(found.record.startTime, record.startTime);
  EXPECT_EQ(found.record.recoveryId, record.recoveryId) << "from the FIFO that it writes to";
  EXPECT_EQ(found.record.fifoDir, record.fifoDir);
  EXPECT_EQ(std::set<std::string>(found.record.cgroupLeaves.begin(), found.record.cgroupLeaves.end()),
            std::set<std::string>(record.cgroupLeaves.begin(), record.cgroupLeaves.end()));
  const auto inIt = launcher->isIn(found.record, sandbox->status());
  ASSERT_TRUE(inIt) << inIt.error().message();
  EXPECT_TRUE(*inIt);
  auto elsewhere = sandbox->status();
  elsewhere.pausePid = ::getpid();
  EXPECT_FALSE(launcher->isIn(found.record, elsewhere).value_or(true));
  auto adopted = run(launcher->adopt(found.record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  EXPECT_TRUE((*adopted)->network() != nullptr);
  EXPECT_EQ(launcher->lookAgain(found).record.pid, record.pid);
  stop(*adopted);
  EXPECT_EQ(launcher->lookAgain(found).record.pid, 0) << "it has ended";
}

/// With systemd's names a cgroup root of kubelet's own is a part of each slice's name; kind has one.
TEST_F(Orphans, AFallbackBelowKubeletsOwnCgroupRootIsFound) {
  const std::string top = "/node-kubepods.slice";
  const std::string pod = top + "/node-kubepods-podother.slice";
  for (const auto& hierarchy : hierarchies) {
    makeCgroup(hierarchy.mountPoint + top);
    makeCgroup(hierarchy.mountPoint + pod);
    pods_.emplace_back(hierarchy.mountPoint + pod);
  }
  auto wanted = inPod("lost");
  wanted.sandbox.cgroupParent = pod;
  auto lost = launched(std::move(wanted));
  ASSERT_TRUE(lost != nullptr);
  const auto record = lost->record();
  lost.reset();
  const auto remains = run(launcher->collectOrphans({}));
  ASSERT_EQ(remains.running.size(), 1U);
  EXPECT_EQ(remains.running.front().podUid, "other");
  EXPECT_EQ(remains.running.front().record.pid, record.pid);
  run(discarded(record));
}

/// On a busy node containers end all the time while a daemon starts.
TEST_F(Orphans, CgroupsThatVanishMeanwhileHideNoOthers) {
  auto lost = launched(inPod("lost"));
  ASSERT_TRUE(lost != nullptr);
  const auto record = lost->record();
  lost.reset();
  // The kernel lists them in arbitrary order; with many, some are likely to be on either side of the pod.
  std::vector<std::filesystem::path> vanishing;
  for (int i = 0; i < 16; ++i) {
    vanishing.push_back(pods_.front().parent_path() / ("vanishing-" + std::to_string(i)));
    std::filesystem::create_directory(vanishing.back());
  }
  const auto remains = onOwnThread([&]() -> launcher::Launcher::Remains {
    const auto vanished = [](const seccomp_data& call) {
      const auto path = pathOf(call);
      return path.find("vanishing-") != std::string::npos ? ENOENT : 0;
    };
    if (!decideCalls({SYS_openat}, vanished)) return {};
    return run(launcher->collectOrphans({}));
  });
  for (const auto& path : vanishing) std::filesystem::remove(path);
  ASSERT_EQ(remains.running.size(), 1U);
  EXPECT_EQ(remains.running.front().record.pid, record.pid);
  run(discarded(remains.running.front().record));
}

/// Only the spawner's own program indicates an unfinished launch.
TEST_F(Orphans, AnUnfinishedLaunchIsEnded) {
  const auto program = folder / "fallbackd-spawner";
  std::filesystem::copy_file("/bin/sleep", program);
  const auto leaf = pods_.front() / "fallback-half";
  const pid_t child = runIn(leaf, program);
  const auto remains = run(launcher->collectOrphans({}));
  EXPECT_TRUE(remains.running.empty()) << "it was never a fallback";
  EXPECT_GE(remains.removed, 1U);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

/// Whatever it executes: it runs beside a fallback and is never one itself.
TEST_F(Orphans, AProbeThatADaemonLeftIsEnded) {
  const auto program = folder / "checkout";
  std::filesystem::copy_file("/bin/sleep", program);
  const auto leaf = pods_.front() / "fallback-main.probe.1";
  const pid_t child = runIn(leaf, program);
  launcher::ProcessRecord record;
  record.recoveryId = "r1";
  record.pid = child;
  record.cgroupLeaves = {leaf};
  const auto adopted = run(launcher->adopt(record));
  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().reason, Reason::invalid);
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), 0) << "adopt() does not end it";
  const auto remains = run(launcher->collectOrphans({}));
  EXPECT_TRUE(remains.running.empty());
  EXPECT_GE(remains.removed, 1U);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

/// A fallback may execute another program from one of its volumes; it is still a fallback.
TEST_F(Orphans, AFallbackThatExecutedAnotherProgramIsReported) {
  const auto program = folder / "from-a-volume";
  std::filesystem::copy_file("/bin/sleep", program);
  const auto leaf = pods_.front() / "fallback-other";
  const pid_t child = runIn(leaf, program);
  const auto remains = run(launcher->collectOrphans({}));
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), 0) << "the running fallback was ended";
  EXPECT_EQ(remains.running.size(), 1U);
  for (const auto& one : remains.running) {
    EXPECT_EQ(one.container, "other");
    EXPECT_EQ(one.record.pid, child);
    EXPECT_FALSE(one.binary) << "the binary is unknown";
    run(discarded(one.record));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(Orphans, UnclaimedOnesAreEndedAndRemovedAndKeptOnesLiveOn) {
  auto kept = launched(inPod("kept"));
  auto lost = launched(inPod("lost"));
  ASSERT_TRUE(kept != nullptr && lost != nullptr);
  const auto lostRecord = lost->record();
  const auto keptRecord = kept->record();
  lost.reset();  // like a killed daemon: the process keeps running
  // A container of the pod, and a pod that is a node with its own fallbacks, are not ours.
  const auto nested = pods_.front() / "container" / "podinner" / "fallback-inner";
  std::filesystem::create_directories(nested);
  auto remains = run(launcher->collectOrphans({keptRecord}));
  ASSERT_EQ(remains.running.size(), 1U);
  run(discarded(remains.running.front().record));
  // It dies at once; its parent, the spawner, reaps it some time later.
  for (int i = 0; i < 1000 && ::kill(lostRecord.pid, 0) == 0; ++i)
    loop.run_for(std::chrono::milliseconds(10));
  EXPECT_NE(::kill(lostRecord.pid, 0), 0);
  for (const auto& leaf : lostRecord.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf)) << leaf;
  EXPECT_FALSE(std::filesystem::exists(lostRecord.fifoDir));
  EXPECT_EQ(::kill(keptRecord.pid, 0), 0);
  for (const auto& leaf : keptRecord.cgroupLeaves) EXPECT_TRUE(std::filesystem::exists(leaf)) << leaf;
  EXPECT_TRUE(std::filesystem::exists(nested));
  for (auto path = nested; path != pods_.front(); path = path.parent_path()) ::rmdir(path.c_str());
  remains = run(launcher->collectOrphans({keptRecord}));
  EXPECT_EQ(remains.removed, 0U);
  EXPECT_TRUE(remains.running.empty());
  stop(kept);
}

/// A leaf records its creator. A leaf of another daemon, or without a record, is not ended.
TEST_F(Orphans, LeavesOfOthersAreKeptAndReported) {
  auto other = options();
  other.runDir = folder / "other-run";
  launcherWith(other);
  auto theirs = launched(inPod("theirs"));
  ASSERT_NE(theirs, nullptr);
  const auto record = theirs->record();
  launcherWith(options());
  const auto orphans = run(launcher->collectOrphans({}));
  EXPECT_EQ(orphans.removed, 0U);
  std::set<std::string> foreign;
  for (const auto& one : orphans.foreign) {
    EXPECT_EQ(one.runDir, other.runDir);
    foreign.insert(one.leaf);
  }
  EXPECT_EQ(foreign, std::set<std::string>(record.cgroupLeaves.begin(), record.cgroupLeaves.end()));
  EXPECT_EQ(::kill(record.pid, 0), 0) << "another daemon's fallback was ended";

  for (const auto& leaf : record.cgroupLeaves) ASSERT_EQ(::removexattr(leaf.c_str(), kOwner), 0) << leaf;
  const auto unknown = run(launcher->collectOrphans({}));
  EXPECT_EQ(unknown.foreign.size(), record.cgroupLeaves.size());
  EXPECT_EQ(::kill(record.pid, 0), 0) << "a fallback of unknown origin was ended";

  // As seen from a node around this one.
  for (const auto& leaf : record.cgroupLeaves) {
    const std::string inner = "999999 " + std::string(options().runDir);
    ASSERT_EQ(::setxattr(leaf.c_str(), kOwner, inner.data(), inner.size(), 0), 0) << leaf;
  }
  const auto around = run(launcher->collectOrphans({}));
  EXPECT_TRUE(around.foreign.empty()) << "it belongs to a different node";
  EXPECT_EQ(around.removed, 0U);
  EXPECT_EQ(::kill(record.pid, 0), 0) << "a nested node's fallback was ended";
  stop(theirs);
}

/// Left by a launch that was interrupted before it put a process there.
TEST_F(Orphans, AnEmptyUnclaimedLeafIsRemoved) {
  const auto leaf = pods_.front() / "fallback-empty";
  makeCgroup(leaf);
  const auto orphans = run(launcher->collectOrphans({}));
  EXPECT_EQ(orphans.removed, 1U);
  EXPECT_TRUE(orphans.foreign.empty());
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

/// A fallback launched by an older release is marked as ours once it is adopted.
TEST_F(Orphans, AnAdoptedLeafIsMarkedAsOurs) {
  auto process = launched(inPod("older"));
  ASSERT_NE(process, nullptr);
  const auto record = process->record();
  for (const auto& leaf : record.cgroupLeaves) ASSERT_EQ(::removexattr(leaf.c_str(), kOwner), 0) << leaf;
  process.reset();
  auto adopted = run(launcher->adopt(record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  adopted->reset();
  const auto remains = run(launcher->collectOrphans({}));
  EXPECT_TRUE(remains.foreign.empty());
  ASSERT_EQ(remains.running.size(), 1U) << "it is recognised as our fallback";
  run(discarded(remains.running.front().record));
  for (const auto& leaf : record.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf)) << leaf;
}

}  // namespace fallbackd::test
