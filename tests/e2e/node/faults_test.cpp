// SPDX-License-Identifier: Apache-2.0
// What happens to whole machines: the clock jumps, a disk is full, memory runs out, containerd crashes.
#include "node/node_fixture.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using test::contentOf;
using testing::HasSubstr;

/// Shifts the machine's wall clock by some hours while this object exists.
class ShiftedClock {
 public:
  explicit ShiftedClock(int hours) : seconds_(hours * 3600) { set(seconds_); }
  ShiftedClock(const ShiftedClock&) = delete;
  ShiftedClock& operator=(const ShiftedClock&) = delete;
  ~ShiftedClock() { set(-seconds_); }

 private:
  static void set(int by) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += by;
    EXPECT_EQ(::clock_settime(CLOCK_REALTIME, &now), 0);
  }
  int seconds_;
};

/// Fills a disk completely.
class FullDisk {
 public:
  explicit FullDisk(const fs::path& folder) : file_(folder / "all-the-rest") {
    const sys::UniqueFd fd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    // In smaller and smaller pieces, until not a single block is left.
    for (off_t at = 0, piece = 1 << 30; piece >= 4096;) {
      if (::fallocate(fd.get(), 0, at, piece) == 0) {
        at += piece;
      } else {
        EXPECT_EQ(errno, ENOSPC);
        piece /= 2;
      }
    }
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() { fs::remove(file_); }

 private:
  fs::path file_;
};

TEST_F(Node, AClockThatJumpsDisturbsNoFallback) {
  Pod first;
  rescue("web-0", first);
  if (HasFatalFailure()) return;
  const pid_t pid = fallbackOf(first);
  for (const int hours : {5, -10}) {
    const ShiftedClock clock(hours);
    const auto when = "with a clock that was set by " + std::to_string(hours) + " hours";
    Pod next;
    rescue("web" + std::to_string(hours), next);
    if (HasFatalFailure()) return;
    expectInItsLeaf(first, pid, when);
    // The journal was written under a different clock.
    shop_->daemon->kill();
    E2E_CHECK(shop_->daemon->restart());
    ASSERT_TRUE(reaches(first.spec.name, "ready")) << when << shop_->daemon->logText();
    expectInItsLeaf(first, pid, when + ", after the daemon's death");
    E2E_CHECK(shop_->kubelet->removePod(next));
  }
  expectInItsLeaf(first, pid, "with the right clock again");
}

TEST_F(Node, ContainerdCrashesAndSystemdStartsItAgain) {
  Pod first;
  rescue("web-0", first);
  if (HasFatalFailure()) return;
  const pid_t pid = fallbackOf(first);
  const pid_t crashed = mainPidOf("containerd");
  ASSERT_GT(crashed, 1);
  // Go's runtime then writes all stacks and exits with code 2, as after a panic.
  ASSERT_EQ(::kill(crashed, SIGABRT), 0);
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const pid_t now = mainPidOf("containerd");
    return now > 1 && now != crashed;
  }));
  E2E_CHECK(shop_->node->restart());
  expectInItsLeaf(first, pid, "after containerd's crash");
  Pod next;
  rescue("web-1", next);
}

/// The disk of cache, state, pods and logs.
TEST_F(Node, AFullDiskStopsNoFallback) {
  Pod pod;
  rescue("web-0", pod);
  if (HasFatalFailure()) return;
  const pid_t pid = fallbackOf(pod);
  const FullDisk full(runDir());
  expectInItsLeaf(pod, pid, "on a full disk");
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(reaches(pod.spec.name, "ready")) << shop_->daemon->logText();
  expectInItsLeaf(pod, pid, "adopted on a full disk");
  // The pod loses its sandbox; a new fallback has to start in the next one.
  E2E_CHECK(shop_->kubelet->stopPod(pod));
  E2E_TRY(pod, shop_->kubelet->restartSandbox(pod));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    return recoveryState(*shop_->daemon, pod.spec.name) == "ready" && fallbackOf(pod) != pid;
  })) << shop_->daemon->logText();
  expectInItsLeaf(pod, fallbackOf(pod), "started on a full disk");
}

/// The kernel kills the fallback as it would kill the pod's container (oom_score_adj 999 of a burstable pod),
/// but not the daemon, which starts it again.
TEST_F(Node, AMachineWithoutMemoryKeepsItsDaemon) {
  Pod first;
  rescue("web-0", first);
  if (HasFatalFailure()) return;
  const pid_t pid = fallbackOf(first);
  const pid_t daemon = shop_->daemon->pid();
  // Keeps an endless line in memory. The daemon is small enough without the unit's OOMScoreAdjust.
  E2E_TRY(const auto ended, run({.argv = {"systemd-run", "--quiet", "--wait", "--unit=hog", "-p",
                                          "MemorySwapMax=0", "tail", "/dev/zero"},
                                 .env = {},
                                 .output = {}},
                                5 * kCeiling));
  EXPECT_NE(ended.code, 0);
  E2E_TRY(const auto kernel, runOk({.argv = {"dmesg"}, .env = {}, .output = {}}));
  ASSERT_THAT(kernel, HasSubstr("Out of memory: Killed process " + std::to_string(pid)));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const pid_t now = fallbackOf(first);
    return recoveryState(*shop_->daemon, first.spec.name) == "ready" && now > 0 && now != pid;
  })) << shop_->daemon->logText();
  expectInItsLeaf(first, fallbackOf(first), "after the machine ran out of memory");
  EXPECT_THAT(contentOf("/proc/" + std::to_string(daemon) + "/cmdline"), HasSubstr("fallbackd"));
  Pod next;
  rescue("web-1", next);
}

}  // namespace
}  // namespace fallbackd::e2e
