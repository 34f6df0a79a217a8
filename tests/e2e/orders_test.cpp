// SPDX-License-Identifier: Apache-2.0
// The orders of an operator: a pause of new recoveries, a drill, and mode observe.
#include "base/clock.hpp"
#include "e2e_gtest.hpp"
#include "http.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/log_links.hpp"
#include "wait.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class Orders : public testing::Test {
 protected:
  void open(const std::string& workloadExtra = "") {
    ShopOptions options;
    options.workloadExtra = workloadExtra;
    E2E_TRY(shop_, Shop::open(options));
  }
  void startPod(const std::string& name) {
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod(name)));
  }
  [[nodiscard]] Result<Output> ctl(std::vector<std::string> words) const {
    words.insert(words.begin(), binary("fallbackctl"));
    return run({.argv = std::move(words), .env = {}, .output = {}});
  }
  /// fallbackctl pause or resume, with the daemon's configuration.
  [[nodiscard]] Result<Output> order(std::vector<std::string> words) const {
    words.insert(words.end(), {"--config", shop_->daemon->configFile()});
    return ctl(std::move(words));
  }
  [[nodiscard]] std::string statusText() const {
    const auto output = ctl({"status", "--socket", shop_->daemon->controlSocket()});
    return output ? output->text : output.error().message();
  }
  [[nodiscard]] bool ready(const std::string& pod) const {
    return waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, pod) == "ready"; });
  }
  /// Whether status lists the pod among those whose fallback is withheld, with a line that contains `text`.
  [[nodiscard]] bool isWithheld(const std::string& pod, const std::string& text) const {
    return waitUntil(kCeiling, [&] {
      const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
      boost::json::error_code wrong;
      const auto root = answer ? boost::json::parse(answer->body, wrong) : boost::json::value();
      if (wrong || !root.is_object()) return false;
      for (const auto& one : root.as_object().at("withheld").as_array()) {
        if (one.at("pod").as_string() == pod && boost::json::serialize(one).find(text) != std::string::npos)
          return true;
      }
      return false;
    });
  }

  std::unique_ptr<Shop> shop_;
};

TEST_F(Orders, APauseStopsNewRecoveriesUntilItEnds) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(startPod("running"));
  ASSERT_TRUE(ready("running")) << shop_->daemon->logText();
  const auto process = fallbackPid(*shop_->daemon, "running");

  E2E_TRY(const auto paused, order({"pause", "--reason", "we look into it"}));
  ASSERT_EQ(paused.code, 0) << paused.text;
  EXPECT_THAT(paused.text, HasSubstr("we look into it"));
  EXPECT_THAT(paused.text, HasSubstr("fallbackd follows it"));
  ASSERT_NO_FATAL_FAILURE(startPod("late"));
  ASSERT_TRUE(isWithheld("late", R"("by":"pause")")) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "late"), "");
  EXPECT_EQ(fallbackPid(*shop_->daemon, "running"), process) << "running fallbacks continue";
  EXPECT_THAT(statusText(), HasSubstr("NEW RECOVERIES ARE paused since"));

  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(isWithheld("late", R"("by":"pause")")) << "the order outlives the daemon";
  EXPECT_EQ(fallbackPid(*shop_->daemon, "running"), process);

  E2E_TRY(const auto resumed, order({"resume"}));
  ASSERT_EQ(resumed.code, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("nothing is paused"));
  EXPECT_TRUE(ready("late")) << shop_->daemon->logText();
  EXPECT_THAT(statusText(), Not(HasSubstr("paused")));
}

TEST_F(Orders, APauseOfANamespaceAffectsOnlyThatNamespace) {
  ASSERT_NO_FATAL_FAILURE(open());
  E2E_TRY(const auto other, order({"pause", "--namespace", "bank"}));
  ASSERT_EQ(other.code, 0) << other.text;
  ASSERT_NO_FATAL_FAILURE(startPod("first"));
  EXPECT_TRUE(ready("first")) << shop_->daemon->logText();
  E2E_TRY(const auto own, order({"pause", "--namespace", "shop"}));
  ASSERT_EQ(own.code, 0) << own.text;
  ASSERT_NO_FATAL_FAILURE(startPod("second"));
  ASSERT_TRUE(isWithheld("second", R"("by":"pause")")) << shop_->daemon->logText();
  E2E_TRY(const auto resumed, order({"resume", "--namespace", "shop"}));
  ASSERT_EQ(resumed.code, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("namespace bank is paused"));
  EXPECT_TRUE(ready("second")) << shop_->daemon->logText();
}

TEST_F(Orders, AnUnreadableOrderPausesTheNode) {
  ASSERT_NO_FATAL_FAILURE(open());
  const auto file = shop_->daemon->configFile().parent_path() / "state" / "pause.yaml";
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << "node: yes please\n";
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    return statusText().find("NEW RECOVERIES ARE") != std::string::npos;
  })) << shop_->daemon->logText();
  EXPECT_THAT(statusText(), HasSubstr(file.string() + ":1:"));
  ASSERT_NO_FATAL_FAILURE(startPod("late"));
  ASSERT_TRUE(isWithheld("late", R"("by":"pause")")) << shop_->daemon->logText();
  E2E_TRY(const auto one, order({"resume", "--namespace", "shop"}));
  EXPECT_EQ(one.code, 1) << "the rest of the file is unknown";
  E2E_TRY(const auto resumed, order({"resume"}));
  ASSERT_EQ(resumed.code, 0) << resumed.text;
  EXPECT_TRUE(ready("late")) << shop_->daemon->logText();
}

TEST_F(Orders, AnInvalidOrderIsRefused) {
  ASSERT_NO_FATAL_FAILURE(open());
  for (const auto& words : std::vector<std::vector<std::string>>{{"pause", "--namespace", "Shop"},
                                                                 {"pause", "--reason", "two\nlines"},
                                                                 {"pause", "--reason", std::string(401, 'x')},
                                                                 {"pause", "everything"}}) {
    E2E_TRY(const auto output, order(words));
    EXPECT_EQ(output.code, 2) << output.text;
  }
  EXPECT_THAT(statusText(), Not(HasSubstr("paused")));
}

TEST_F(Orders, APauseWithoutADaemonIsWrittenAndReportsThat) {
  ASSERT_NO_FATAL_FAILURE(open());
  E2E_TRY(const auto code, shop_->daemon->stop());
  EXPECT_EQ(code, 0);
  E2E_TRY(const auto paused, order({"pause"}));
  EXPECT_EQ(paused.code, 1);
  EXPECT_THAT(paused.text, HasSubstr("the daemon does not confirm it"));
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_NO_FATAL_FAILURE(startPod("late"));
  EXPECT_TRUE(isWithheld("late", R"("by":"pause")")) << shop_->daemon->logText();
}

/// A pod as `fallbackctl drill pod` describes it.
PodSpec drillPod() {
  auto spec = checkoutPod("checkout-drill");
  spec.labels = {{"fallbackd.io/drill", "checkout-drill"}};
  return spec;
}

TEST_F(Orders, ADrillRescuesItsPodAndNoOtherOneUntilItIsHandedBack) {
  ASSERT_NO_FATAL_FAILURE(open());
  const auto links = shop_->daemon->configFile().parent_path() / "log-links";
  std::filesystem::create_directories(links);
  // A healthy registry; its image is on the node.
  E2E_CHECK(shop_->registry.start());
  E2E_CHECK(shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  ASSERT_TRUE(shop_->kubelet->pullImage(shop_->image()).ok());
  E2E_TRY(const auto pod, shop_->kubelet->startPod(drillPod()));
  ASSERT_NO_FATAL_FAILURE(startPod("real"));
  EXPECT_FALSE(shop_->kubelet->pullImage("fallbackd-drill.invalid/shop/checkout:1.8.3", "", 10s).ok());

  E2E_TRY(const auto begun, order({"drill", "start", "checkout", "--reason", "first day"}));
  ASSERT_EQ(begun.code, 0) << begun.text;
  EXPECT_THAT(begun.text, HasSubstr("fallbackctl drill pod checkout --node"));
  ASSERT_TRUE(ready("checkout-drill")) << shop_->daemon->logText();
  const auto process = fallbackPid(*shop_->daemon, "checkout-drill");
  EXPECT_THAT(httpGet(pod.ip, Shop::kPort, "/").value_or(HttpAnswer{}).status, 200);
  EXPECT_EQ(recoveryState(*shop_->daemon, "real"), "") << "its image is on the node";

  // Collectors find its log without a stand-in.
  const auto log = pod.logDirectory / "checkout-fallback" / "0.log";
  EXPECT_EQ(std::filesystem::read_symlink(
                links / sys::logLinkOf({"checkout-drill", "shop", "checkout", sys::idOfLog(log.string())})),
            log);

  // Status, explain and log call it a drill, and metrics count it separately.
  EXPECT_THAT(statusText(),
              HasSubstr("A DRILL of workload checkout holds for pod shop/checkout-drill until"));
  E2E_TRY(const auto told,
          ctl({"explain", "shop/checkout-drill", "--socket", shop_->daemon->controlSocket()}));
  EXPECT_THAT(told.text, HasSubstr("a drill"));
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("a drill begins"));
  E2E_TRY(const auto metrics, httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/metrics"));
  EXPECT_THAT(metrics.body, HasSubstr("fallbackd_drill 1"));
  EXPECT_THAT(metrics.body, HasSubstr("fallbackd_active_fallbacks{workload=\"fallbackd-drill\"} 1"));
  EXPECT_THAT(metrics.body, Not(HasSubstr("fallbackd_active_fallbacks{workload=\"checkout\"} 1")));
  EXPECT_THAT(metrics.body, Not(HasSubstr("fallbackd_registry_circuit_state{host=\"" +
                                          shop_->registry.address() + "\"} 2")));

  // After a kill the next daemon takes it over, and the order survives.
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(ready("checkout-drill")) << shop_->daemon->logText();
  EXPECT_EQ(fallbackPid(*shop_->daemon, "checkout-drill"), process);

  // Like `kubectl set image` with the real image.
  E2E_TRY(const auto container, shop_->kubelet->createContainer(pod, shop_->containerSpec()));
  E2E_CHECK(shop_->kubelet->startContainer(container));
  EXPECT_TRUE(waitUntil(kCeiling, [&] {
    return recoveryState(*shop_->daemon, "checkout-drill") == "handed_back";
  })) << shop_->daemon->logText();
  E2E_TRY(const auto ended, order({"drill", "stop"}));
  ASSERT_EQ(ended.code, 0) << ended.text;
  EXPECT_THAT(statusText(), Not(HasSubstr("DRILL")));
  EXPECT_EQ(recoveryState(*shop_->daemon, "real"), "");
}

TEST_F(Orders, ADrillEndsByItselfAndAnUnreadableOneIsIgnored) {
  ASSERT_NO_FATAL_FAILURE(open());
  const auto file = shop_->daemon->configFile().parent_path() / "state" / "drill.yaml";
  std::filesystem::create_directories(file.parent_path());
  const auto write = [&](const std::string& workload, std::chrono::seconds length) {
    const auto now = std::chrono::floor<std::chrono::seconds>(Clock::system().wall());
    std::ofstream(file) << "apiVersion: fallbackd.io/v1\nworkload: " << workload
                        << "\nnamespace: shop\npod: checkout-drill\nsince: " << rfc3339(now)
                        << "\nuntil: " << rfc3339(now + length) << "\n";
  };
  const auto says = [&](const std::string& text) {
    return waitUntil(kCeiling, [&] { return statusText().find(text) != std::string::npos; });
  };
  std::ofstream(file) << "everything: please\n";
  EXPECT_TRUE(says("a drill was ordered but does not hold: ") && says(file.string() + ":1:")) << statusText();
  write("cart", 600s);
  EXPECT_TRUE(says("no workload of the configuration has the name \"cart\"")) << statusText();
  E2E_TRY(const auto stopped, order({"drill", "stop"}));
  EXPECT_EQ(stopped.code, 0) << stopped.text;

  write("checkout", 600s);
  E2E_TRY(const auto pod, shop_->kubelet->startPod(drillPod()));
  ASSERT_TRUE(ready("checkout-drill")) << shop_->daemon->logText();
  const auto process = fallbackPid(*shop_->daemon, "checkout-drill");
  write("checkout", 2s);
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return statusText().find("DRILL") == std::string::npos; }));
  EXPECT_EQ(fallbackPid(*shop_->daemon, "checkout-drill"), process) << "it runs until its pod is deleted";
  E2E_CHECK(shop_->kubelet->removePod(pod));
  EXPECT_TRUE(waitUntil(kCeiling, [&] {
    return recoveryState(*shop_->daemon, "checkout-drill") == "pod_gone";
  })) << shop_->daemon->logText();
  // The next pod of that name does not belong to the drill.
  E2E_TRY(const auto later, shop_->kubelet->startPod(drillPod()));
  ASSERT_NO_FATAL_FAILURE(startPod("real"));
  ASSERT_TRUE(ready("real")) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "checkout-drill"), "pod_gone") << "no new recovery";
}

TEST_F(Orders, ObserveReportsWhatWouldHaveStarted) {
  ASSERT_NO_FATAL_FAILURE(open("  mode: observe\n"));
  ASSERT_NO_FATAL_FAILURE(startPod("web-0"));
  ASSERT_TRUE(isWithheld("web-0", "wouldStartAfterMs")) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "");
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("observed: a fallback would have been started"));
  EXPECT_THAT(statusText(), HasSubstr("checkout@1.8.3"));

  shop_->options.workloadExtra.clear();
  E2E_CHECK(shop_->daemon->rewriteConfig(shop_->daemonOptions(shop_->image())));
  EXPECT_TRUE(ready("web-0")) << shop_->daemon->logText();
}

}  // namespace
}  // namespace fallbackd::e2e
