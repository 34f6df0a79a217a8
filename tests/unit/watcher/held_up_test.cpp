// SPDX-License-Identifier: Apache-2.0
#include "watcher/held_up.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;

constexpr Stamp kPodStart{1h};

StalledPull stalledPullOf(const std::string& image, const std::string& podNamespace, Stamp since,
                          Scope scope = {}) {
  return {image, "r.silent", podNamespace, "pod", "main", since, std::move(scope)};
}

const StalledPull* blockingPull(const StalledPulls& pulls, const Blocked& blocked) {
  const auto* found = pulls.blocking(blocked);
  return found == nullptr ? nullptr : &found->second;
}

TEST(StalledPulls, TheOneThatStalledFirstBlocksEveryOtherImage) {
  StalledPulls pulls;
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.x/web:1"}), nullptr);
  EXPECT_TRUE(pulls.add({"s1", "main"}, stalledPullOf("r.silent/b:1", "shop", kPodStart + 5s)));
  EXPECT_TRUE(pulls.add({"s2", "main"}, stalledPullOf("r.silent/a:1", "shop", kPodStart)));
  ASSERT_NE(blockingPull(pulls, {"shop", "r.x/web:1"}), nullptr);
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.x/web:1"})->image, "r.silent/a:1");
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.silent/a:1"})->image, "r.silent/b:1")
      << "an image does not block itself";
  EXPECT_TRUE(pulls.remove({"s2", "main"}));
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.silent/b:1"}), nullptr);
}

TEST(StalledPulls, AnotherVerdictOfTheSamePullDoesNotMakeItYounger) {
  StalledPulls pulls;
  pulls.add({"s1", "main"}, stalledPullOf("r.silent/a:1", "shop", kPodStart));
  EXPECT_FALSE(pulls.add({"s1", "main"}, stalledPullOf("r.silent/a:1", "shop", kPodStart + 13s)));
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.x/web:1"})->since, kPodStart);
}

TEST(StalledPulls, AVerdictOfOneNamespaceBlocksNoOther) {
  StalledPulls pulls;
  pulls.add({"s1", "main"}, stalledPullOf("r.silent/a:1", "evil", kPodStart, "evil"));
  pulls.add({"s2", "main"}, stalledPullOf("r.silent/b:1", "evil", kPodStart, "evil"));
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.x/web:1"}), nullptr);
  EXPECT_NE(blockingPull(pulls, {"evil", "r.x/web:1"}), nullptr);
  auto elsewhere = stalledPullOf("r.other/a:1", "cart", kPodStart, "cart");
  elsewhere.registry = "r.other";
  pulls.add({"s3", "main"}, elsewhere);
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.x/web:1"}), nullptr) << "they are about different registries";
  pulls.add({"s4", "main"}, stalledPullOf("r.silent/c:1", "cart", kPodStart, "cart"));
  EXPECT_NE(blockingPull(pulls, {"shop", "r.x/web:1"}), nullptr)
      << "two namespaces found the same registry silent";
}

TEST(StalledPulls, OneThatBeganLaterDoesNotExplainWhatWasMissingBefore) {
  StalledPulls pulls;
  pulls.add({"s1", "main"}, stalledPullOf("r.silent/a:1", "shop", kPodStart + 5s));
  EXPECT_NE(blockingPull(pulls, {"shop", "r.x/web:1", {}, kPodStart + 6s}), nullptr);
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.x/web:1", {}, kPodStart + 5s}), nullptr);
}

TEST(StalledPulls, AVerdictOfTheNodeBlocksEveryNamespace) {
  StalledPulls pulls;
  pulls.add({"s1", "main"}, stalledPullOf("r.silent/a:1", "shop", kPodStart));
  EXPECT_NE(blockingPull(pulls, {"evil", "r.x/web:1"}), nullptr);
}

TEST(StalledPulls, AContainerThatNeedsNoPullWaitsForThoseOfItsOwnPodOnly) {
  StalledPulls pulls;
  pulls.add({"s1", "main"}, stalledPullOf("r.silent/a:1", "shop", kPodStart));
  EXPECT_EQ(blockingPull(pulls, {"shop", "r.x/web:1", "s2"}), nullptr);
  EXPECT_NE(blockingPull(pulls, {"shop", "r.x/web:1", "s1"}), nullptr);
}

/// kubelet was measured to pull 0, 15, 43 and 92 s after the sandbox: at the first sync after each back-off.
TEST(BackOff, IsKnownWhereKubeletCannotHavePulledSince) {
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart), kPodStart + 10s);
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 9s), kPodStart + 10s);
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 27s), kPodStart + 30s);
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 65s), kPodStart + 70s);
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 140s), kPodStart + 150s);
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 250s), kPodStart + 310s);
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 500s), kPodStart + 610s) << "the limit is 300 s";
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 800s), kPodStart + 910s);
}

TEST(BackOff, IsNotKnownWhereTheNextPullMayHaveCome) {
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart - 1s), std::nullopt)
      << "the failure was before kubelet could pull";
  for (const auto seconds : {10s, 15s, 25s, 30s, 43s, 71s, 92s, 151s, 200s, 311s, 380s}) {
    EXPECT_EQ(backOffUntil(kPodStart, kPodStart + seconds), std::nullopt) << seconds.count();
  }
  EXPECT_EQ(backOffUntil(kPodStart, kPodStart + 24h), std::nullopt)
      << "by then kubelet may be at any point of its back-off";
}

/// Whatever the delay of kubelet's loop, kubelet does not pull before the returned time.
TEST(BackOff, HoldsForEveryDelayOfKubeletsLoop) {
  for (const auto delay : {0s, 1s, 5s, 11s, 15s}) {
    std::vector<Stamp> attempts{kPodStart};
    for (Monotonic::duration pause = 10s; attempts.size() < 40;
         pause = std::min<Monotonic::duration>(2 * pause, 300s)) {
      attempts.push_back(attempts.back() + pause + delay);
    }
    for (auto failed = kPodStart; failed < kPodStart + 2h; failed += 500ms) {
      const auto until = backOffUntil(kPodStart, failed);
      if (!until) continue;
      for (const auto& attempt : attempts) {
        EXPECT_FALSE(attempt > failed && attempt < *until)
            << "delay " << delay.count() << ": pulled " << (attempt - kPodStart) / 1s << " s after the start";
      }
    }
  }
}

}  // namespace
}  // namespace fallbackd::watcher
