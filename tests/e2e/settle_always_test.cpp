// SPDX-License-Identifier: Apache-2.0
// imagePullPolicy Always: after a stand-in kubelet pulls again, unless its back-off from failed pulls is
// still active. With kubelet's real times.
#include "http.hpp"
#include "settle_fixture.hpp"
#include "wait.hpp"

#include <chrono>
#include <mutex>
#include <optional>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

class SettleAlways : public SettleNode {
 protected:
  /// Measures from the moment when the pod was no longer Ready until it was again; empty: it always was.
  void follow() {
    kubelet_->subscribe([this](const model::PodStatus& pod) {
      const std::lock_guard lock(mutex_);
      if (wasReady_ && !pod.ready && !gapBegan_) gapBegan_ = Monotonic::now();
      if (pod.ready && gapBegan_ && !gap_) gap_ = Monotonic::now() - *gapBegan_;
      wasReady_ = wasReady_ || pod.ready;
    });
  }
  [[nodiscard]] Monotonic::duration gap() {
    const std::lock_guard lock(mutex_);
    return gap_.value_or(Monotonic::duration(0));
  }
  [[nodiscard]] bool statusSays(const std::string& text) const {
    return waitUntil(kCeiling, [&] {
      const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
      return answer && answer->body.find(text) != std::string::npos;
    });
  }

 private:
  std::mutex mutex_;
  bool wasReady_ = false;                   // guarded by mutex_
  std::optional<Stamp> gapBegan_;           // guarded by mutex_
  std::optional<Monotonic::duration> gap_;  // guarded by mutex_
};

TEST_F(SettleAlways, ThePodIsAwayForARelistAndNotForKubeletsBackOff) {
  ASSERT_NO_FATAL_FAILURE(
      open(0ms, "  detection: {imagePullPolicy: Always}\n  handBack: {when: now}\n", {"--graceful"}, 1.0));
  follow();
  ASSERT_NO_FATAL_FAILURE(settled("web-0", model::PullPolicy::always));
  ASSERT_NO_FATAL_FAILURE(bringImage());
  EXPECT_TRUE(statusSays("may refuse to until")) << shop_->daemon->logText();
  ASSERT_TRUE(readyWith("web-0", shop_->image(), 90s)) << shop_->daemon->logText();
  const model::Times times;
  EXPECT_LT(gap(), times.pullBackOff / 2) << "a relist takes " << times.relist.count() << " ms";
  EXPECT_EQ(kubelet_->events().of("web-0", "Pulling").size(), 2U) << "once in vain, once for the container";
}

}  // namespace
}  // namespace fallbackd::e2e
