// SPDX-License-Identifier: Apache-2.0
// A hanging event loop: what reports it, and how soon.
#include "e2e_gtest.hpp"
#include "http.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// Stops one thread of a process; the others continue.
class HeldThread {
 public:
  explicit HeldThread(pid_t thread) : thread_(thread) {
    held_ = ::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) == 0 &&
            ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0 &&
            ::waitpid(thread, nullptr, __WALL) == thread;
  }
  HeldThread(const HeldThread&) = delete;
  HeldThread& operator=(const HeldThread&) = delete;
  ~HeldThread() {
    if (held_) ::ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
  }
  [[nodiscard]] bool held() const { return held_; }

 private:
  pid_t thread_;
  bool held_ = false;
};

TEST(Stall, ProbesMetricsAndLogReportItAndItsEnd) {
  E2E_TRY(const auto shop, Shop::open());
  const auto& daemon = *shop->daemon;
  const auto ask = [&](const std::string& path) {
    return httpGet("127.0.0.1", daemon.telemetryPort(), path, 10s).value_or(HttpAnswer{});
  };
  {
    const HeldThread loop(daemon.pid());
    ASSERT_TRUE(loop.held());
    ASSERT_TRUE(waitUntil(
        kCeiling, [&] { return daemon.logText().find("the event loop hangs") != std::string::npos; }));
    for (const char* path : {"/healthz", "/readyz"}) {
      const auto answer = ask(path);
      EXPECT_EQ(answer.status, 503U) << path;
      EXPECT_THAT(answer.body, HasSubstr("the daemon's event loop hangs for ")) << path;
    }
    const auto metrics = ask("/metrics");
    EXPECT_EQ(metrics.status, 200U);
    EXPECT_GE(sumOf(parseMetrics(metrics.body), "fallbackd_loop_stalls_total"), 1);
  }
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return ask("/healthz").status == 200; }));
  ASSERT_TRUE(waitUntil(
      kCeiling, [&] { return daemon.logText().find("the event loop responds again") != std::string::npos; }));
  EXPECT_THAT(daemon.logText(), HasSubstr("stack="));
}

}  // namespace
}  // namespace fallbackd::e2e
