// SPDX-License-Identifier: Apache-2.0
// What only a node can show: the containerd that systemd runs, pods with cgroups made by systemd, the
// security module that the kernel enforces. Not isolated: it runs in a machine of scripts/node, which it may
// break, and skips everything anywhere else. scripts/report nodes runs it.
#include "node/node_fixture.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using test::contentOf;
using testing::HasSubstr;

constexpr const char* kProfile = "cri-containerd.apparmor.d";
constexpr const char* kProfiles = "/sys/kernel/security/apparmor/profiles";

/// From the kernel: AppArmor's profile or SELinux's context.
std::string labelOf(pid_t pid) {
  const auto attributes = "/proc/" + std::to_string(pid) + "/attr";
  auto label = contentOf(attributes + "/apparmor/current");
  if (label.empty()) label = contentOf(attributes + "/current");
  return label.substr(0, label.find_first_of(std::string("\n\0", 2)));
}

bool isLoaded(const std::string& profile) {
  return contentOf(kProfiles).find(profile + " (") != std::string::npos;
}

TEST_F(Node, TheLeafIsBelowThePodsOwnCgroup) {
  Pod pod;
  rescue("web-0", pod);
  if (HasFatalFailure()) return;
  expectInItsLeaf(pod, fallbackOf(pod), "at first");
  const auto membership = contentOf("/proc/" + std::to_string(fallbackOf(pod)) + "/cgroup");
  EXPECT_THAT(membership, HasSubstr((systemdMakesCgroups() ? podSlice(pod.spec.uid) : "pod" + pod.spec.uid) +
                                    "/" + kLeaf + "\n"));
}

/// systemd does not know the leaf, and must leave it alone whatever it does with the units around it.
TEST_F(Node, TheLeafOutlivesWhatSystemdDoes) {
  if (!systemdMakesCgroups()) GTEST_SKIP() << "containerd makes the pods' cgroups here";
  Pod pod;
  rescue("web-0", pod);
  if (HasFatalFailure()) return;
  const pid_t pid = fallbackOf(pod);
  const auto slice = podSlice(pod.spec.uid);
  expectInItsLeaf(pod, pid, "at first");
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"daemon-reload"},
           {"daemon-reexec"},
           // As kubelet does when it resizes a pod or changes the node's allocatable resources.
           {"set-property", "--runtime", slice, "MemoryMax=512M", "CPUWeight=50"},
           {"set-property", "--runtime", "kubepods.slice", "MemoryMax=1G"},
           {"daemon-reload"},
           {"restart", "containerd"}}) {
    E2E_CHECK(systemctl(arguments));
    if (arguments.front() == "restart") E2E_CHECK(shop_->node->restart());
    expectInItsLeaf(pod, pid, "after systemctl " + join(arguments, " "));
  }
  // Other units come and go in the slice, with and without controllers of their own.
  for (const char* property : {"TasksAccounting=yes", "Delegate=yes", "TasksAccounting=no"}) {
    E2E_CHECK(runOk({.argv = {"systemd-run", "--quiet", "--wait", "--slice=" + slice, "-p", property, "true"},
                     .env = {},
                     .output = {}}));
    expectInItsLeaf(pod, pid, std::string("after a unit in the slice with ") + property);
  }
}

TEST_F(Node, TheLeafGoesWithThePod) {
  Pod pod;
  rescue("web-0", pod);
  if (HasFatalFailure()) return;
  const auto fallback = "/proc/" + std::to_string(fallbackOf(pod));
  E2E_CHECK(shop_->kubelet->removePod(pod));
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return !fs::exists(fallback); }));
  EXPECT_TRUE(waitUntil(kCeiling, [&] {
    return std::none_of(pod.cgroups.begin(), pod.cgroups.end(),
                        [](const auto& one) { return fs::exists(one); });
  }));
  E2E_TRY(const auto failed, systemctl({"--failed", "--plain", "--no-legend"}));
  EXPECT_THAT(failed, testing::Not(HasSubstr("kubepods")));
}

/// The fallback is confined like the container, and the leaf is removed at the hand-back while the pod stays.
TEST_F(Node, TheFallbackIsLabelledLikeTheContainer) {
  runBystander();
  Pod pod;
  rescue("web-0", pod);
  if (HasFatalFailure()) return;
  const auto label = labelOf(fallbackOf(pod));
  std::string id;
  import(shop_->image());
  runContainer(pod, shop_->image(), id);
  if (HasFatalFailure()) return;
  ASSERT_TRUE(reaches(pod.spec.name, "handed_back")) << shop_->daemon->logText();
  EXPECT_EQ(label, labelOf(processOf(id)));
  if (fs::exists(kProfiles)) {
    EXPECT_EQ(label, std::string(kProfile) + " (enforce)");
  }
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return leavesOf(pod).empty(); }));
  EXPECT_TRUE(fs::exists(pod.cgroups.front()));
}

/// An outage may begin before any container ran on a new node: then the default profile is not loaded yet.
TEST_F(Node, AFallbackRunsWithoutALoadedDefaultProfile) {
  if (!fs::exists(kProfiles)) GTEST_SKIP() << "this node has no AppArmor";
  if (isLoaded(kProfile)) {
    std::ofstream("/sys/kernel/security/apparmor/.remove") << kProfile;
    ASSERT_FALSE(isLoaded(kProfile));
  }
  Pod pod;
  rescue("web-0", pod);
  if (HasFatalFailure()) return;
  const bool confined = labelOf(fallbackOf(pod)) == std::string(kProfile) + " (enforce)";
  if (!confined) {
    EXPECT_THAT(shop_->daemon->logText(), HasSubstr("default profile is not loaded"));
  }
}

/// The journal, the socket and the logs' FIFOs are below /run, where no program may be started.
TEST_F(Node, TheNextDaemonAdoptsTheFallback) {
  Pod pod;
  rescue("web-0", pod);
  if (HasFatalFailure()) return;
  const pid_t pid = fallbackOf(pod);
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(reaches(pod.spec.name, "ready")) << shop_->daemon->logText();
  expectInItsLeaf(pod, pid, "after the daemon's death");
}

}  // namespace
}  // namespace fallbackd::e2e

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (GTEST_FLAG_GET(list_tests) || !fallbackd::e2e::onANode()) return RUN_ALL_TESTS();
  std::string folder = "/scratch/run.XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return 125;
  fallbackd::e2e::setRunDir(folder);
  return RUN_ALL_TESTS();
}
