// SPDX-License-Identifier: Apache-2.0
// containerd crashes repeatedly while pods fail: every pod is recovered exactly once.
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <csignal>
#include <map>
#include <thread>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

constexpr int kCrashes = 10;
constexpr int kPodsBetween = 3;

struct Outcomes {
  int ready = 0;
  int other = 0;
};

class ContainerdCrash : public testing::Test {
 protected:
  void SetUp() override { E2E_TRY(shop_, Shop::open()); }

  void startPods(int crash) {
    for (int i = 0; i < kPodsBetween; ++i) {
      const auto name = "web-" + std::to_string(crash) + "-" + std::to_string(i);
      // A restarted containerd may fail on its own leftovers ("failed to rename": a snapshot's folder already
      // exists). kubelet retries.
      auto started = shop_->kubelet->startPod(checkoutPod(name));
      for (int again = 0; !started && again < 5; ++again) {
        started = shop_->kubelet->startPod(checkoutPod(name));
      }
      E2E_TRY(auto pod, std::move(started));
      pods_.push_back(std::move(pod));
    }
  }
  /// Kills containerd during the start of a sandbox, each time a little later. kubelet gives up that sandbox.
  void crashDuringStart(int crash) {
    const pid_t pid = shop_->node->pid();
    std::thread killer([pid, crash] {
      std::this_thread::sleep_for(crash * 5ms);
      ::kill(pid, SIGKILL);
    });
    const auto name = "lost-" + std::to_string(crash);
    const auto lost = shop_->kubelet->startPod(checkoutPod(name));
    killer.join();
    shop_->node->kill();
    E2E_CHECK(shop_->node->restart());
    if (lost) {
      pods_.push_back(*lost);
    } else {
      lost_.push_back(name);
    }
  }
  [[nodiscard]] std::map<std::string, Outcomes> outcomes() const {
    std::map<std::string, Outcomes> all;
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    if (!answer || answer->status != 200) return all;
    const auto root = boost::json::parse(answer->body);
    for (const auto& one : root.at("recoveries").as_array()) {
      auto& pod = all[std::string(one.at("pod").as_string())];
      ++(one.at("state").as_string() == "ready" ? pod.ready : pod.other);
    }
    return all;
  }
  [[nodiscard]] bool allReady() const {
    auto all = outcomes();
    return std::all_of(pods_.begin(), pods_.end(),
                       [&](const auto& pod) { return all[pod.spec.name].ready == 1; });
  }

  std::unique_ptr<Shop> shop_;
  std::vector<Pod> pods_;
  std::vector<std::string> lost_;
};

/// Processes in the fallback's cgroup, by the pids of one hierarchy.
std::size_t processesIn(const Pod& pod) {
  std::size_t most = 0;
  for (const auto& cgroup : pod.cgroups) {
    const auto procs = sys::readFile(Stage::cli, cgroup / "fallback-checkout" / "cgroup.procs", 1 << 16);
    if (procs)
      most = std::max<std::size_t>(most,
                                   static_cast<std::size_t>(std::count(procs->begin(), procs->end(), '\n')));
  }
  return most;
}

TEST_F(ContainerdCrash, TenTimesDuringAStreamOfFailingPods) {
  for (int crash = 0; crash < kCrashes; ++crash) {
    ASSERT_NO_FATAL_FAILURE(startPods(crash));
    if (crash % 2 == 0) {
      // The last pods' recoveries are still in progress.
      shop_->node->kill();
      E2E_CHECK(shop_->node->restart());
    } else {
      ASSERT_NO_FATAL_FAILURE(crashDuringStart(crash));
    }
  }
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return allReady(); })) << shop_->daemon->logText();
  auto all = outcomes();
  for (const auto& pod : pods_) {
    EXPECT_EQ(all[pod.spec.name].ready, 1) << pod.spec.name;
    EXPECT_EQ(all[pod.spec.name].other, 0) << pod.spec.name << " needed more than one recovery";
    // The program is pid 1 of its PID namespace and has no children.
    EXPECT_EQ(processesIn(pod), 1U) << pod.spec.name;
    EXPECT_TRUE(httpGet(pod.ip, Shop::kPort, "/")) << pod.spec.name;
  }
  std::printf("  %d crashes, %zu pods recovered, %zu sandboxes lost with containerd\n", kCrashes,
              pods_.size(), lost_.size());
}

TEST_F(ContainerdCrash, TheDaemonStartsBeforeContainerd) {
  shop_->daemon->kill();
  shop_->node->kill();
  E2E_CHECK(shop_->daemon->launch());
  // Status, readiness and the log name the socket that does not answer, and the reason.
  const auto socket = shop_->node->socket();
  const auto trouble = "does not answer at " + socket + ": ";
  const auto names = [&](const char* path) {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), path);
    return answer && answer->body.find(trouble) != std::string::npos;
  };
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return names("/readyz"); }));
  const auto said =
      run({.argv = {binary("fallbackctl"), "status", "--socket", shop_->daemon->controlSocket()},
           .env = {},
           .output = {}});
  EXPECT_TRUE(said && said->text.find("containerd " + trouble) != std::string::npos)
      << (said ? said->text : said.error().message());
  EXPECT_TRUE(waitUntil(kCeiling, [&] {
    const auto log = shop_->daemon->logText();
    const auto line = log.find("containerd does not answer;");
    return line != std::string::npos && log.find(socket, line) != std::string::npos;
  })) << shop_->daemon->logText();
  EXPECT_TRUE(waitUntil(kCeiling, [&] {
    return shop_->daemon->logText().find("containerd is not reachable") != std::string::npos;
  }));
  E2E_CHECK(shop_->node->restart());
  const Stopwatch watch;
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  EXPECT_TRUE(httpGetOk(pod.ip, Shop::kPort, "/", kCeiling)) << shop_->daemon->logText();
  std::printf("  first pod served %.0f ms after containerd was back\n", watch.millis());
}

}  // namespace
}  // namespace fallbackd::e2e
