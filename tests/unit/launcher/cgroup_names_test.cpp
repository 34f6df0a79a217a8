// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.hpp"

#include <gmock/gmock.h>

namespace fallbackd::sys {
namespace {

using ::testing::ElementsAre;

TEST(CgroupParent, CgroupfsPathIsUnchanged) {
  EXPECT_EQ(expandCgroupParent("/kubepods/burstable/pod1-2").value(), "/kubepods/burstable/pod1-2");
  EXPECT_EQ(expandCgroupParent("/kubepods/pod1/").value(), "/kubepods/pod1");
  EXPECT_EQ(expandCgroupParent("kubepods/pod1").value(), "/kubepods/pod1");
}

TEST(CgroupParent, SystemdSliceIsNested) {
  EXPECT_EQ(expandCgroupParent("kubepods-burstable-pod12_3.slice").value(),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_3.slice");
  EXPECT_EQ(expandCgroupParent("kubepods.slice").value(), "/kubepods.slice");
  EXPECT_EQ(expandCgroupParent("-.slice").value(), "/");
}

TEST(CgroupParent, ExpandedSlicePathIsUnchanged) {
  EXPECT_EQ(expandCgroupParent("/kubepods.slice/kubepods-pod1.slice").value(),
            "/kubepods.slice/kubepods-pod1.slice");
}

TEST(CgroupParent, NamesThatLeadElsewhereAreRefused) {
  for (const char* name :
       {"", "..", "/kubepods/../../etc", "/a/./b", "-a.slice", "a-.slice", "a--b.slice", ".slice"}) {
    const auto path = expandCgroupParent(name);
    ASSERT_FALSE(path) << name;
    EXPECT_EQ(path.error().reason, Reason::invalid) << name;
  }
}

TEST(CgroupMounts, HybridMachine) {
  const auto found = parseCgroupMounts(
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
      "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
      "42 31 0:29 / /other/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "43 31 0:1 / /tmp rw - tmpfs tmpfs rw,cpu\n");
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].mountPoint, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_THAT(found[0].controllers, ElementsAre("cpu", "cpuacct"));
  EXPECT_FALSE(found[0].unified);
  EXPECT_THAT(found[1].controllers, ElementsAre("name=systemd"));
  EXPECT_TRUE(found[2].unified);
  EXPECT_TRUE(found[2].controllers.empty());
}

TEST(CgroupMounts, SpaceInAPathIsUnescaped) {
  const auto found = parseCgroupMounts("41 31 0:38 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].folderOf("/kubepods"), "/my cgroups/kubepods");
}

TEST(CgroupMounts, DamagedLinesAreSkipped) {
  EXPECT_TRUE(parseCgroupMounts("").empty());
  EXPECT_TRUE(parseCgroupMounts("- cgroup2\nx\n41 31 0:38 / /a rw - cgroup2\n").empty());
}

TEST(CgroupMounts, FolderBelowAMountThatShowsPartOfTheTree) {
  CgroupHierarchy part{"/sys/fs/cgroup", "/kubepods", {}, true};
  EXPECT_EQ(part.folderOf("/kubepods/pod1"), "/sys/fs/cgroup/pod1");
  EXPECT_EQ(part.folderOf("/kubepods"), "/sys/fs/cgroup");
  EXPECT_EQ(part.folderOf("/kubepods-other/pod1"), "/sys/fs/cgroup/kubepods-other/pod1");
}

}  // namespace
}  // namespace fallbackd::sys
