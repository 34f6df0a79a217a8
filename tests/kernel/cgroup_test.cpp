// SPDX-License-Identifier: Apache-2.0
// The leaf below the pod's cgroup.
#include "base/strings.hpp"
#include "launch_fixture.hpp"

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using namespace std::chrono_literals;

class Leaf : public LaunchTest {
 protected:
  [[nodiscard]] const sys::CgroupHierarchy* hierarchyOf(std::string_view controller) const {
    for (const auto& hierarchy : hierarchies) {
      if (hierarchy.has(controller)) return &hierarchy;
    }
    return nullptr;
  }
};

/// It is in the pod's own cgroup where nothing is limited or counted, and never in the daemon's.
TEST_F(Leaf, IsBelowThePodWhereverThatMatters) {
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const auto& pod = sandbox->status().cgroupParent;
  const auto lines = contentOf("/proc/" + std::to_string(process->record().pid) + "/cgroup");
  std::size_t leaves = 0;
  for (const auto line : split(trim(lines), '\n')) {
    const auto controllers = line.substr(line.find(':') + 1);
    const auto is = [&](std::string_view name) { return controllers.starts_with(name); };
    const bool own = is(":") || is("memory:") || is("pids:") || is("cpu:") || is("cpu,") || is("cpuacct:");
    EXPECT_TRUE(line.ends_with(own ? pod + "/fallback-app1" : pod)) << line;
    leaves += own ? 1 : 0;
  }
  EXPECT_GE(leaves, 1U);
  EXPECT_EQ(process->record().cgroupLeaves.size(), leaves);
  stop(process);
}

TEST_F(Leaf, IsItsOwnRootFromInside) {
  for (const auto& line : reportOf(request({"report"})).all("cgroup"))
    EXPECT_TRUE(line.ends_with(":/")) << line;
}

TEST_F(Leaf, HasTheWorkloadsLimits) {
  auto wanted = request({"wait"});
  wanted.workload.resources = {64ULL << 20, 0.5, 77};
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  const auto value = [&](std::string_view controller, const std::string& v1, const std::string& v2) {
    const auto* legacy = hierarchyOf(controller);
    for (const auto& hierarchy : hierarchies) {
      if (legacy != nullptr ? &hierarchy != legacy : !hierarchy.unified) continue;
      const auto path =
          hierarchy.folderOf(sandbox->status().cgroupParent) + "/fallback-app1/" + (legacy ? v1 : v2);
      return std::string(trim(contentOf(path)));
    }
    return std::string("no such controller");
  };
  EXPECT_EQ(value("memory", "memory.limit_in_bytes", "memory.max"), std::to_string(64ULL << 20));
  EXPECT_EQ(value("pids", "pids.max", "pids.max"), "77");
  const auto cpu = value("cpu", "cpu.cfs_quota_us", "cpu.max");
  EXPECT_TRUE(cpu == "50000" || cpu == "50000 100000") << cpu;
  stop(process);
}

TEST_F(Leaf, ProcessesInAnOldLeafEndBeforeTheNewLaunch) {
  const auto wanted = request({"wait"});
  const auto first = launched(wanted);
  ASSERT_NE(first, nullptr);
  // The same container again without stopping the first, as after an early crash of the daemon.
  auto again = wanted;
  again.recoveryId = "again";
  const auto second = launched(again);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(run(first->exited()).value, SIGKILL);
  EXPECT_EQ(trim(contentOf(second->record().cgroupLeaves.front() + "/cgroup.procs")),
            std::to_string(second->record().pid));
  stop(second);
  stop(first);
}

TEST_F(Leaf, UnifiedHierarchyAlone) {
  std::vector<sys::CgroupHierarchy> unified;
  for (const auto& hierarchy : hierarchies) {
    if (hierarchy.unified) unified.push_back(hierarchy);
  }
  if (unified.empty()) GTEST_SKIP() << "no cgroup2 is mounted";
  auto only = options();
  only.cgroups = unified;
  launcherWith(only);
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  ASSERT_EQ(process->record().cgroupLeaves.size(), 1U);
  EXPECT_EQ(trim(contentOf(process->record().cgroupLeaves.front() + "/cgroup.procs")),
            std::to_string(process->record().pid));
  stop(process);
}

TEST_F(Leaf, PodWithoutACgroupIsAClearError) {
  auto wanted = request({"wait"});
  wanted.sandbox.cgroupParent = "/kubepods/no-such-pod";
  const auto process = launch(std::move(wanted));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().stage, Stage::cgroup);
  EXPECT_EQ(process.error().reason, Reason::not_found);
  EXPECT_THAT(process.error().message(), HasSubstr("/kubepods/no-such-pod"));
}

}  // namespace fallbackd::test
