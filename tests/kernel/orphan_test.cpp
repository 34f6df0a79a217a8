// What a daemon leaves that dies between a launch and its journal.
#include "launch_fixture.hpp"

#include <csignal>
#include <sys/stat.h>

namespace fallbackd::test {

class Orphans : public LaunchTest {
 protected:
  /// A pod as kubelet names its cgroups, for leaves that are found by their place.
  void SetUp() override {
    LaunchTest::SetUp();
    for (const auto& hierarchy : hierarchies) {
      const std::filesystem::path top = hierarchy.folderOf(sandbox->status().cgroupParent);
      makeCgroup(top / "kubepods");
      makeCgroup(top / "kubepods" / "podtest");
      pods_.push_back(top / "kubepods" / "podtest");
    }
    // Only below this test's own pod: the machine may have others.
    for (auto& hierarchy : hierarchies)
      hierarchy.mountPoint = hierarchy.folderOf(sandbox->status().cgroupParent);
    for (auto& hierarchy : hierarchies) hierarchy.root = "/";
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

}  // namespace fallbackd::test
