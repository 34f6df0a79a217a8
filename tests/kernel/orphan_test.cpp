// What a daemon leaves that dies between a launch and its journal.
#include "launch_fixture.hpp"

#include <csignal>
#include <set>
#include <sys/stat.h>
#include <sys/xattr.h>

namespace fallbackd::test {

constexpr const char* kOwner = "trusted.fallbackd.owner";

class Orphans : public LaunchTest {
 protected:
  /// A pod as kubelet names its cgroups, for leaves that are found by their place.
  void SetUp() override {
    LaunchTest::SetUp();
    for (const auto& hierarchy : hierarchies) {
      const std::filesystem::path place = hierarchy.folderOf(sandbox->status().cgroupParent);
      makeCgroup(place / "kubepods");
      makeCgroup(place / "kubepods" / "podtest");
      pods_.push_back(place / "kubepods" / "podtest");
    }
    // Only below this test's own pod: the machine may have others.
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
  std::vector<std::filesystem::path> pods_;
};

TEST_F(Orphans, AreEndedAndRemovedAndTheKeptLiveOn) {
  auto kept = launched(inPod("kept"));
  auto lost = launched(inPod("lost"));
  ASSERT_TRUE(kept != nullptr && lost != nullptr);
  const auto lostRecord = lost->record();
  const auto keptRecord = kept->record();
  lost.reset();  // as a daemon that is killed: the process runs on
  // A container of the pod, and a pod that is a node with fallbacks of its own, are none of our business.
  const auto nested = pods_.front() / "container" / "podinner" / "fallback-inner";
  std::filesystem::create_directories(nested);
  EXPECT_GE(run(launcher->collectOrphans({keptRecord})).collected, 2U);
  // Dead at once; buried when the spawner, its parent, has had its turn.
  for (int i = 0; i < 1000 && ::kill(lostRecord.pid, 0) == 0; ++i)
    loop.run_for(std::chrono::milliseconds(10));
  EXPECT_NE(::kill(lostRecord.pid, 0), 0);
  for (const auto& leaf : lostRecord.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf)) << leaf;
  EXPECT_FALSE(std::filesystem::exists(lostRecord.fifoDir));
  EXPECT_EQ(::kill(keptRecord.pid, 0), 0);
  for (const auto& leaf : keptRecord.cgroupLeaves) EXPECT_TRUE(std::filesystem::exists(leaf)) << leaf;
  EXPECT_TRUE(std::filesystem::exists(nested));
  for (auto path = nested; path != pods_.front(); path = path.parent_path()) ::rmdir(path.c_str());
  EXPECT_EQ(run(launcher->collectOrphans({keptRecord})).collected, 0U);
  stop(kept);
}

/// Who made a leaf is written in it. What another daemon made, or nobody knows who, is not ended.
TEST_F(Orphans, LeavesOfOthersAreKeptAndNamed) {
  auto other = options();
  other.runDir = folder / "other-run";
  launcherWith(other);
  auto theirs = launched(inPod("theirs"));
  ASSERT_NE(theirs, nullptr);
  const auto record = theirs->record();
  launcherWith(options());
  const auto orphans = run(launcher->collectOrphans({}));
  EXPECT_EQ(orphans.collected, 0U);
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
  EXPECT_EQ(::kill(record.pid, 0), 0) << "a fallback of nobody knows whom was ended";

  // As seen from a node around this one.
  for (const auto& leaf : record.cgroupLeaves) {
    const std::string inner = "999999 " + std::string(options().runDir);
    ASSERT_EQ(::setxattr(leaf.c_str(), kOwner, inner.data(), inner.size(), 0), 0) << leaf;
  }
  const auto around = run(launcher->collectOrphans({}));
  EXPECT_TRUE(around.foreign.empty()) << "that is another node's business";
  EXPECT_EQ(around.collected, 0U);
  EXPECT_EQ(::kill(record.pid, 0), 0) << "an inner node's fallback was ended";
  stop(theirs);
}

/// From a launch that was cut off before anything was in it.
TEST_F(Orphans, AnEmptyLeafOfNobodyGoes) {
  const auto leaf = pods_.front() / "fallback-empty";
  makeCgroup(leaf);
  const auto orphans = run(launcher->collectOrphans({}));
  EXPECT_EQ(orphans.collected, 1U);
  EXPECT_TRUE(orphans.foreign.empty());
  EXPECT_FALSE(std::filesystem::exists(leaf));
}

/// A fallback that an older release made is ours once it was adopted.
TEST_F(Orphans, AnAdoptedLeafIsMarkedAsOurs) {
  auto process = launched(inPod("older"));
  ASSERT_NE(process, nullptr);
  const auto record = process->record();
  for (const auto& leaf : record.cgroupLeaves) ASSERT_EQ(::removexattr(leaf.c_str(), kOwner), 0) << leaf;
  process.reset();
  auto adopted = run(launcher->adopt(record));
  ASSERT_TRUE(adopted) << adopted.error().message();
  adopted->reset();
  EXPECT_GE(run(launcher->collectOrphans({})).collected, record.cgroupLeaves.size());
  for (const auto& leaf : record.cgroupLeaves) EXPECT_FALSE(std::filesystem::exists(leaf)) << leaf;
}

}  // namespace fallbackd::test
