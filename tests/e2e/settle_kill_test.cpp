// SPDX-License-Identifier: Apache-2.0
// Kills the daemon with SIGKILL at random moments of a settled pod's life, under kubelet's rules on the real
// containerd: trigger, launch, stand-in, adoption, a fallback's crash, the image's return and the hand-back,
// a drain, a deletion. Nothing is doubled, nothing is left. SETTLE_KILLS sets the length, SETTLE_SEED repeats
// a run (scripts/report settle).
#include "content_of.hpp"
#include "no_doubles.hpp"
#include "settle_fixture.hpp"
#include "settle_part.hpp"
#include "times_in.hpp"
#include "traces.hpp"
#include "wait.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using model::PodStatus;

// The daemon dies at most this long after the beginning of a part of a life: longer than the part takes.
constexpr auto kLaunching = 800ms;
constexpr auto kCrashing = 300ms;
constexpr auto kReturning = 2500ms;
constexpr auto kDraining = 1500ms;
constexpr auto kDeleting = 400ms;
constexpr auto kMaxDown = 200ms;  // until the next daemon starts, at most
constexpr auto kGrace = 3s;
// A stand-in's fallback may end while no daemon runs; the next daemon has to start and to notice that.
constexpr auto kAlone = 10s;
// A stand-in may start while kubelet creates the real container, and is then removed at once, or by the next
// daemon.
constexpr auto kBeside = 10s;
constexpr const char* kCutOff = "failed to create shim task: context canceled";

class SettleKill : public SettleNode {
 protected:
  void SetUp() override {
    std::printf("  seed %u\n", seed_);
    ASSERT_NO_FATAL_FAILURE(open(0ms, "  restart: {initialDelay: 50ms}\n", {"--drain=1"}, 0.1));
    ASSERT_NO_FATAL_FAILURE(bringImage());
    ASSERT_NO_FATAL_FAILURE(outage());
    // What the first pod of a node leaves permanently: the parents of its cgroup.
    ASSERT_NO_FATAL_FAILURE(settled("first"));
    kubelet_->remove("first", kGrace);
    ASSERT_TRUE(kubelet_->waitUntilGone("first", kCeiling));
  }

  bool happens(double share) { return std::bernoulli_distribution(share)(random_); }
  /// The test tries all moments, so any of them is fine.
  void passUpTo(std::chrono::microseconds most) {
    std::this_thread::sleep_for(
        std::chrono::microseconds(std::uniform_int_distribution<std::int64_t>(0, most.count())(random_)));
  }
  /// Kills the daemon within this time from now, and starts a new one soon after.
  void kill(const std::string& during, std::chrono::microseconds within) {
    passUpTo(within);
    shop_->daemon->kill();
    ++kills_[during];
    ++killed_;
    passUpTo(kMaxDown);
    E2E_CHECK(shop_->daemon->launch());
  }
  void outage() {
    E2E_CHECK(shop_->registry.stop());
    E2E_CHECK(shop_->kubelet->removeImage(shop_->image()));
  }

  void oneLife(const std::string& name) {
    add(name);
    ASSERT_NO_FATAL_FAILURE(kill("launch", kLaunching));
    if (happens(0.2)) {
      kubelet_->remove(name, kGrace);
      ASSERT_NO_FATAL_FAILURE(kill("deletion during the launch", kDeleting));
    } else {
      ASSERT_TRUE(readyWith(name, kStandIn)) << said(name);
      if (happens(0.4)) {
        ASSERT_NO_FATAL_FAILURE(crash(name));
      }
      if (happens(0.5)) {
        ASSERT_NO_FATAL_FAILURE(imageReturns(name));
      } else {
        kubelet_->remove(name, kGrace);
        ASSERT_NO_FATAL_FAILURE(kill("drain", kDraining));
      }
    }
    ASSERT_TRUE(kubelet_->waitUntilGone(name, kCeiling)) << said(name);
  }
  void crash(const std::string& name) {
    const auto before = fallbacksOf(uidOf(name));
    ASSERT_EQ(before.size(), 1U) << said(name);
    ASSERT_EQ(::kill(*before.begin(), SIGKILL), 0);
    ASSERT_NO_FATAL_FAILURE(kill("crash of the fallback", kCrashing));
    ASSERT_TRUE(waitUntil(kCeiling, [&] {
      const auto now = fallbacksOf(uidOf(name));
      return now.size() == 1 && now != before;
    })) << said(name);
    ASSERT_TRUE(readyWith(name, kStandIn)) << said(name);
  }
  void imageReturns(const std::string& name) {
    E2E_CHECK(shop_->registry.start());
    ASSERT_NO_FATAL_FAILURE(kill("hand-back", kReturning));
    ASSERT_TRUE(readyWith(name, shop_->image())) << said(name);
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return fallbacksOf(uidOf(name)).empty(); })) << said(name);
    kubelet_->remove(name, kGrace);
    ASSERT_NO_FATAL_FAILURE(kill("deletion of the real container", kDeleting));
    ASSERT_TRUE(kubelet_->waitUntilGone(name, kCeiling)) << said(name);
    ASSERT_NO_FATAL_FAILURE(outage());
  }

  /// The traces of a daemon without pods that has finished its first look.
  Traces restedTraces() {
    shop_->daemon->kill();
    EXPECT_TRUE(shop_->daemon->restart());
    Traces now = tracesOf(*shop_->daemon);
    waitUntil(5s, [&] {
      std::this_thread::sleep_for(50ms);  // two measurements, not an event
      const auto again = tracesOf(*shop_->daemon);
      return std::exchange(now, again) == again;
    });
    return now;
  }

  /// Shims of removed pods that containerd 2.1 leaves permanently: one for each start of a stand-in that the
  /// daemon's death cut off (docs/containerd.md). Any other shim is a leak.
  std::size_t takeContainerdsShims(Traces& traces) {
    const auto cutOff = test::timesIn(test::contentOf(shop_->node->log()), kCutOff);
    const auto shims = traces.find("processes: containerd-shim");
    if (shims == traces.end() || shims->second > cutOff) return 0;
    const auto count = shims->second;
    traces.erase(shims);
    return count;
  }

  const unsigned seed_ = numberOr("SETTLE_SEED", std::random_device()());
  std::mt19937 random_{seed_};
  std::map<std::string, unsigned> kills_;
  unsigned killed_ = 0;
};

TEST_F(SettleKill, NothingIsDoubledAndNothingIsLeft) {
  const unsigned wanted = numberOr("SETTLE_KILLS", 20U);
  const auto before = restedTraces();
  NoDoubles watch(*shop_->node);
  for (unsigned life = 0; killed_ < wanted; ++life) {
    ASSERT_NO_FATAL_FAILURE(oneLife("life-" + std::to_string(life)));
  }
  Traces after = restedTraces();
  const auto left = leftovers();
  std::size_t shims = 0;
  waitUntil(20s, [&] {
    after = tracesOf(*shop_->daemon);
    shims = takeContainerdsShims(after);
    return after == before;
  });
  const auto seen = watch.seen();
  for (const auto& [during, times] : kills_) std::printf("  %-44s %6u\n", during.c_str(), times);
  std::printf("  %-44s %6.0f\n", "a stand-in without a fallback, ms at most",
              std::chrono::duration<double, std::milli>(seen.longestAlone).count());
  std::printf("  %-44s %6.0f\n", "a stand-in beside the real container, ms at most",
              std::chrono::duration<double, std::milli>(seen.longestBeside).count());
  const auto doubled = seen.doubledContainers.size() + seen.doubledFallbacks.size();
  const auto stays =
      static_cast<std::size_t>(std::count(left.begin(), left.end(), '\n')) + (after == before ? 0U : 1U);
  std::printf("kill -9: %u moments, %zu doubled, %zu left, %zu shims left by containerd\n", killed_, doubled,
              stays, shims);
  EXPECT_EQ(left, "") << shop_->daemon->logText();
  EXPECT_THAT(seen.doubledContainers, testing::IsEmpty()) << shop_->daemon->logText();
  EXPECT_THAT(seen.doubledFallbacks, testing::IsEmpty()) << shop_->daemon->logText();
  EXPECT_LT(seen.longestAlone, kAlone);
  EXPECT_LT(seen.longestBeside, kBeside);
  EXPECT_GT(seen.looks, killed_) << "it watched";
  EXPECT_EQ(before, after) << "something leaks";
  writePart(
      "kills",
      {{"part", "kills"},
       {"seed", seed_},
       {"moments", killed_},
       {"doubled", doubled},
       {"left", stays},
       {"containerdShims", shims},
       {"aloneMs", std::chrono::duration_cast<std::chrono::milliseconds>(seen.longestAlone).count()},
       {"besideMs", std::chrono::duration_cast<std::chrono::milliseconds>(seen.longestBeside).count()}});
}

}  // namespace
}  // namespace fallbackd::e2e
