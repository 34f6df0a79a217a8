// SPDX-License-Identifier: Apache-2.0
// Pods of Jobs: their work is done once, whatever happens to the daemon, and only if a workload allows it.
#include "e2e_gtest.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

/// Prints a line and exits with 0.
const std::string kQuickWork = "  args: [--version]\n  readiness: {exec: {}}\n";
/// Works until SIGTERM, then exits with 0.
const std::string kLongWork = "  args: [--port=8080]\n  readiness: {tcp: {port: 8080}}\n";

class JobPods : public testing::Test {
 protected:
  /// A node whose registry refuses connections, with one workload.
  void open(const std::string& work, const std::string& policy) {
    E2E_TRY(shop_, Shop::open());
    auto options = shop_->daemonOptions(shop_->image());
    options.workloads =
        "- name: checkout\n"
        "  match: {namespace: shop, labels: {app: checkout}, container: checkout}\n"
        "  image: " +
        shop_->image() + "\n  binary: checkout@1.8.3\n" + work;
    if (!policy.empty()) options.workloads += "  restart: {initialDelay: 10ms, policy: " + policy + "}\n";
    E2E_CHECK(shop_->daemon->reload(options, kCeiling));
  }
  void startJob(const std::string& name) {
    auto spec = checkoutPod(name);
    labelAsJob(spec);
    E2E_TRY(pod_, shop_->kubelet->startPod(spec));
  }
  [[nodiscard]] bool reaches(const std::string& state) const {
    return waitUntil(kCeiling, [&] { return this->state() == state; });
  }
  [[nodiscard]] std::string state() const { return recoveryState(*shop_->daemon, pod_.spec.name); }
  [[nodiscard]] pid_t pid() const { return fallbackPid(*shop_->daemon, pod_.spec.name); }
  [[nodiscard]] double metric(const std::string& prefix, const std::string& part = "") const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, prefix, part) : -1;
  }
  /// Waits until the daemon has probed the dead registry again: everything that may start has started.
  [[nodiscard]] bool detectsAgain() const {
    const auto probes = [&] { return metric("fallbackd_probe_pulls_total", "unreachable"); };
    const auto before = probes();
    return waitUntil(kCeiling, [&] { return probes() >= before + 2; });
  }
  /// Lines that the program's runs wrote to the pod's log.
  [[nodiscard]] int linesOfWork() const {
    int lines = 0;
    std::error_code missing;
    for (const auto& file :
         std::filesystem::directory_iterator(pod_.logDirectory / "checkout-fallback", missing)) {
      std::ifstream log(file.path());
      for (std::string line; std::getline(log, line);) lines += line.ends_with(" stdout F shop-httpd 1.8.3");
    }
    return lines;
  }

  std::unique_ptr<Shop> shop_;
  Pod pod_;
};

class Jobs : public JobPods, public testing::WithParamInterface<std::string> {};

TEST_P(Jobs, CompletedWorkIsNotRepeated) {
  ASSERT_NO_FATAL_FAILURE(open(kQuickWork, GetParam()));
  ASSERT_NO_FATAL_FAILURE(startJob("nightly-0"));
  ASSERT_TRUE(reaches("completed")) << shop_->daemon->logText();
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return linesOfWork() == 1; }));
  ASSERT_TRUE(detectsAgain());
  EXPECT_EQ(state(), "completed");
  EXPECT_EQ(metric("fallbackd_recoveries_total", "outcome=\"completed\""), 1);

  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(detectsAgain());
  EXPECT_EQ(state(), "completed") << shop_->daemon->logText();
  E2E_TRY(const auto code, shop_->daemon->stop());
  EXPECT_EQ(code, 0);
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(detectsAgain());
  EXPECT_EQ(state(), "completed") << shop_->daemon->logText();
  EXPECT_EQ(linesOfWork(), 1);

  // The Job's next pod is a different one.
  const auto first = pod_;
  ASSERT_NO_FATAL_FAILURE(startJob("nightly-1"));
  ASSERT_TRUE(reaches("completed")) << shop_->daemon->logText();
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return linesOfWork() == 1; }));
  E2E_CHECK(shop_->kubelet->removePod(first));
  E2E_CHECK(shop_->kubelet->removePod(pod_));
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_journal_entries") == 0; }))
      << "what is known about a pod is forgotten with it";
}

TEST_P(Jobs, FailedWorkIsRetriedIfThePolicySaysSo) {
  ASSERT_NO_FATAL_FAILURE(open(kLongWork, GetParam()));
  ASSERT_NO_FATAL_FAILURE(startJob("nightly-0"));
  ASSERT_TRUE(reaches("ready")) << shop_->daemon->logText();
  const pid_t first = pid();
  ASSERT_GT(first, 0);
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  if (GetParam() == "Never") {
    ASSERT_TRUE(reaches("failed")) << shop_->daemon->logText();
    shop_->daemon->kill();
    E2E_CHECK(shop_->daemon->restart());
    ASSERT_TRUE(detectsAgain());
    EXPECT_EQ(state(), "failed");
    EXPECT_EQ(pid(), 0);
    return;
  }
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return pid() > 0 && pid() != first && state() == "ready"; }))
      << shop_->daemon->logText();
  // The daemon that adopts it sees it complete.
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(reaches("ready")) << shop_->daemon->logText();
  ASSERT_EQ(::kill(pid(), SIGTERM), 0);
  ASSERT_TRUE(reaches("completed")) << shop_->daemon->logText();
  ASSERT_TRUE(detectsAgain());
  EXPECT_EQ(state(), "completed");
  EXPECT_EQ(pid(), 0);
}

TEST_F(JobPods, AWorkloadWithoutAPolicyIgnoresPodsOfJobs) {
  ASSERT_NO_FATAL_FAILURE(open(kLongWork, ""));
  ASSERT_NO_FATAL_FAILURE(startJob("nightly-0"));
  E2E_TRY(const auto other, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
      << shop_->daemon->logText();
  ASSERT_TRUE(detectsAgain());
  EXPECT_EQ(state(), "");
  const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
  ASSERT_TRUE(answer);
  EXPECT_THAT(answer->body, testing::HasSubstr("web-0"));
  EXPECT_THAT(answer->body, testing::Not(testing::HasSubstr("nightly-0")));
  EXPECT_THAT(shop_->daemon->logText(),
              testing::HasSubstr("workload checkout matches pods of Jobs and does not cover them"));
}

INSTANTIATE_TEST_SUITE_P(Policy, Jobs, testing::Values("OnFailure", "Never"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fallbackd::e2e
