// SPDX-License-Identifier: Apache-2.0
// A present image does not mean a started container: kubelet pulls one image at a time, and a hanging pull
// delays all others. On the real containerd, with a silent registry whose pulls are not ended
// (detection.unstick: false; see unstick_test).
#include "e2e_gtest.hpp"
#include "fault_registry.hpp"
#include "run_dir.hpp"
#include "serial_puller.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// Longer than any successful step takes, and shorter than the hanging pull, which is how long a pod would
// otherwise be dark.
constexpr auto kBeforeThePullEnds = 30s;

namespace json = boost::json;

class NotStarted : public testing::Test {
 protected:
  void open() {
    E2E_TRY(shop_, Shop::open());
    E2E_CHECK(shop_->registry.start());
    E2E_TRY(const auto pushed,
            shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
    E2E_CHECK(shop_->node->speak("http", shop_->registry.address()));
    const Image image{.reference = "cart",
                      .files = {{"bin/cart", testProgram("shop-httpd-1.8.3")}},
                      .entrypoint = {"/bin/cart"},
                      .env = {}};
    E2E_TRY(silent_, FaultRegistry::start(image, {.silent = true}));
    E2E_CHECK(shop_->node->speak("http", silent_->address()));
    auto options = shop_->daemonOptions(shop_->image());
    options.extra = "detection: {reprobeInterval: 1s, unstick: false}\n";
    options.workloads +=
        "- name: cart\n"
        "  match: {namespace: shop, labels: {app: cart}, container: cart}\n"
        "  image: " +
        hungImage() +
        "\n"
        "  binary: checkout@1.8.3\n"
        "  args: [--port=8080]\n"
        "  user: {uid: 65532, gid: 65533}\n"
        "  readiness: {tcp: {port: 8080}}\n";
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    ASSERT_TRUE(
        waitUntil(kBeforeThePullEnds, [&] { return status().at("workloads").as_array().size() == 2; }));
  }
  [[nodiscard]] std::string hungImage() const { return silent_->address() + "/shop/cart:1.8.3"; }
  static PodSpec cartPod(const std::string& name) {
    PodSpec spec;
    spec.name = name;
    spec.namespaceName = "shop";
    spec.labels = {{"app", "cart"}};
    return spec;
  }
  [[nodiscard]] ContainerSpec cartContainer() const {
    auto spec = checkoutContainer(hungImage());
    spec.name = "cart";
    return spec;
  }
  [[nodiscard]] json::object status() const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    return answer ? json::parse(answer->body).as_object() : json::object{{"workloads", json::array{}}};
  }
  /// The newest recovery of the pod.
  [[nodiscard]] json::object recoveryOf(const std::string& pod) const {
    const auto now = status();
    for (const auto& one : now.at("recoveries").as_array()) {
      if (one.at("pod").as_string() == pod) return one.as_object();
    }
    return {};
  }
  [[nodiscard]] std::string explain(const std::string& pod) const {
    const auto output =
        runOk({.argv = {binary("fallbackctl"), "explain", pod, "--socket", shop_->daemon->controlSocket()},
               .env = {},
               .output = {}});
    return output ? *output : output.error().message();
  }
  [[nodiscard]] double metric(const std::string& name) const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, name) : -1;
  }

  std::unique_ptr<Shop> shop_;
  std::unique_ptr<FaultRegistry> silent_;
};

TEST_F(NotStarted, BehindAHungPullTheFallbackServesUntilTheContainerComes) {
  ASSERT_NO_FATAL_FAILURE(open());
  SerialPuller puller(*shop_->kubelet);
  E2E_TRY(const auto hung, shop_->kubelet->startPod(cartPod("cart-0")));
  E2E_CHECK(puller.start(hung, cartContainer()));
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  // The daemon's own pull may fetch the image before this line is reached.
  puller.queue(pod, shop_->containerSpec());
  const auto answer = httpGetOk(pod.ip, Shop::kPort, "/", kBeforeThePullEnds);
  ASSERT_TRUE(answer) << "web-0 is dark while another pull hangs: " << explain("web-0");
  EXPECT_THAT(answer->body, HasSubstr("role=fallback"));
  ASSERT_TRUE(
      waitUntil(kBeforeThePullEnds, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }));
  const auto recovery = recoveryOf("web-0");
  EXPECT_EQ(recovery.at("cause").as_string(), "not_started");
  EXPECT_THAT(std::string(recovery.at("causeText").as_string()),
              HasSubstr("behind the pull of " + hungImage() + " for pod shop/cart-0"));
  const auto explained = explain("web-0");
  for (const auto& part :
       {hungImage(), std::string("pod shop/cart-0: registry "), silent_->address() + " has stalled since 2"})
    EXPECT_THAT(explained, HasSubstr(part));
  EXPECT_GE(recovery.at("sinceWaitingMs").at("detected").to_number<double>(), 3000) << "startTimeout is 3 s";
  EXPECT_EQ(puller.containerOf("web-0"), "") << "the hanging pull did not hang";
  EXPECT_EQ(metric("fallbackd_not_started_containers{held_up_by=\"pull\"}"), 1);

  silent_.reset();  // its connections end, and with them the hanging pull
  ASSERT_TRUE(waitUntil(kBeforeThePullEnds, [&] { return !puller.containerOf("web-0").empty(); }));
  ASSERT_TRUE(
      waitUntil(kBeforeThePullEnds, [&] { return recoveryState(*shop_->daemon, "web-0") == "handed_back"; }));
  ASSERT_TRUE(waitUntil(kBeforeThePullEnds, [&] {
    const auto real = httpGet(pod.ip, Shop::kPort, "/");
    return real && real->body.find("role=container") != std::string::npos;
  }));
  EXPECT_EQ(metric("fallbackd_not_started_containers"), 0);
}

/// Like a kubelet that refuses the container: it has the image and creates nothing from it.
TEST_F(NotStarted, WithoutAHungPullItIsReportedAndNothingStarts) {
  ASSERT_NO_FATAL_FAILURE(open());
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kBeforeThePullEnds, [&] {
    return explain("web-0").find("kubelet may be refusing it") != std::string::npos;
  })) << explain("web-0");
  EXPECT_EQ(metric("fallbackd_not_started_containers{held_up_by=\"unknown\"}"), 1);
  EXPECT_TRUE(recoveryOf("web-0").empty());
  const auto waiting = status().at("waiting").as_array();
  ASSERT_EQ(waiting.size(), 1U);
  EXPECT_EQ(waiting[0].at("state").as_string(), "not started");
  EXPECT_EQ(waiting[0].at("cause").as_string(), "not_started");
  E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, shop_->containerSpec()));
  ASSERT_TRUE(waitUntil(kBeforeThePullEnds, [&] { return status().at("waiting").as_array().empty(); }));
  EXPECT_TRUE(recoveryOf("web-0").empty());
  EXPECT_EQ(metric("fallbackd_recoveries_begun_total"), 0);
}

/// The image was there before kubelet looked for it, so kubelet does not wait for a pull. If it still does
/// not start the container, it refuses it.
TEST_F(NotStarted, AHungPullStartsNoFallbackForAPresentImage) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_TRUE(shop_->kubelet->pullImage(shop_->image()).ok());
  SerialPuller puller(*shop_->kubelet);
  E2E_TRY(const auto hung, shop_->kubelet->startPod(cartPod("cart-0")));
  E2E_CHECK(puller.start(hung, cartContainer()));
  ASSERT_TRUE(
      waitUntil(kBeforeThePullEnds, [&] { return recoveryState(*shop_->daemon, "cart-0") == "ready"; }));
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kBeforeThePullEnds, [&] {
    return explain("web-0").find("kubelet may be refusing it") != std::string::npos;
  })) << explain("web-0");
  EXPECT_TRUE(recoveryOf("web-0").empty());
  silent_.reset();
}

}  // namespace
}  // namespace fallbackd::e2e
