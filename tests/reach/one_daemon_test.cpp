// SPDX-License-Identifier: Apache-2.0
// What a daemon ends when it starts although it does not own it.
#include "cgroups.hpp"
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/process.hpp"
#include "wait.hpp"

#include <csignal>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

class OneDaemon : public testing::Test {
 protected:
  void SetUp() override { E2E_TRY(shop_, Shop::open()); }
  std::unique_ptr<Shop> shop_;
};

TEST_F(OneDaemon, ASecondDaemonDoesNotEndTheFirstsFallbacks) {
  RecordProperty("item", "9");
  RecordProperty("attack", "a second daemon is started with its own run folder");
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
      << shop_->daemon->logText();
  const pid_t pid = fallbackPid(*shop_->daemon, "web-0");
  E2E_TRY(const auto process, sys::openPidFd(Stage::cli, pid));

  // Ready or refused: in both cases it has looked at the existing leaves.
  const auto second = Daemon::start(shop_->daemonOptions(shop_->image()));
  EXPECT_FALSE(second) << "two daemons run on one node";
  EXPECT_FALSE(sys::hasEnded(Stage::cli, process).value_or(true))
      << "the second daemon ended the first's fallback";
  EXPECT_TRUE(httpGet(pod.ip, Shop::kPort, "/")) << "the pod does not serve";
  EXPECT_EQ(fallbackPid(*shop_->daemon, "web-0"), pid) << "the fallback was ended and started again";
  if (second) return;
  const auto said = second.error().message();
  EXPECT_THAT(said, HasSubstr("process " + std::to_string(shop_->daemon->pid())));
  EXPECT_THAT(said, HasSubstr(shop_->daemon->runFolder().string()));
  EXPECT_THAT(said, HasSubstr(shop_->daemon->configFile().string()));
}

/// The lock does not outlive its holder: after a crash the node's next daemon starts.
TEST_F(OneDaemon, TheNextDaemonAfterACrashAdopts) {
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
      << shop_->daemon->logText();
  const pid_t pid = fallbackPid(*shop_->daemon, "web-0");
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return fallbackPid(*shop_->daemon, "web-0") == pid; }))
      << shop_->daemon->logText();
}

/// A node inside a container of this one (kind, a virtual cluster) has its pods in this node's tree.
TEST_F(OneDaemon, AStartDoesNotEndFallbacksOfANestedNode) {
  RecordProperty("item", "9");
  RecordProperty("attack", "a nested node runs a fallback while the daemon starts");
  shop_->daemon->kill();
  E2E_TRY(auto inside, ChildProcess::start({.argv = {"sleep", "600"}, .env = {}, .output = {}}));
  E2E_TRY(const auto hierarchies, cgroupHierarchies());
  const std::string leaf = "/inner/kubepods/podinner/fallback-checkout";
  for (const auto& hierarchy : hierarchies) {
    E2E_CHECK(makeCgroup(hierarchy, hierarchy.mountPoint.string() + leaf));
    E2E_CHECK(writeCgroupFile(hierarchy.mountPoint.string() + leaf + "/cgroup.procs",
                              std::to_string(inside.pid())));
  }
  E2E_CHECK(shop_->daemon->restart());
  // It has looked at all leaves before it watches for pods.
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
      << shop_->daemon->logText();
  EXPECT_TRUE(inside.running()) << "the daemon ended a process of a nested node";
}

}  // namespace
}  // namespace fallbackd::e2e
