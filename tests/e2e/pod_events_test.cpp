// SPDX-License-Identifier: Apache-2.0
// What fallbackd reports to Kubernetes about a pod that waits: the built daemon with an API server that
// accepts Events, and with one that hangs.
#include "e2e_gtest.hpp"
#include "kube/fake_api_server.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <unistd.h>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;
using kube_test::Authority;
using kube_test::FakeApiServer;
using kube_test::Fault;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string nodeName() {
  std::array<char, 256> name{};
  static_cast<void>(::gethostname(name.data(), name.size() - 1));
  return name.data();
}

std::string textOf(const json::object& event, const char* key) {
  return std::string(event.at(key).as_string());
}

class PodEventsE2e : public testing::Test {
 protected:
  void open(const std::string& more = "", const std::string& workloadExtra = "") {
    api_.acceptTokens({"secret-1"});
    write("token", "secret-1");
    write("ca.crt", authority_.certificate());
    write("kubeconfig",
          "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
          "clusters: [{name: k, cluster: {server: 'https://" +
              api_.address() +
              "', certificate-authority: ca.crt}}]\nusers: [{name: u, user: {tokenFile: token}}]\n");
    ShopOptions shopOptions;
    shopOptions.workloadExtra = workloadExtra;
    E2E_TRY(shop_, Shop::open(shopOptions));
    auto options = shop_->daemonOptions(shop_->image());
    options.extra += "kubernetes: {events: true, kubeconfig: " + folder_.string() + "/kubeconfig}\n" + more;
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    E2E_TRY(const auto stopped, shop_->daemon->stop());
    static_cast<void>(stopped);
    E2E_CHECK(shop_->daemon->restart());
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  void recover(const std::string& name, Pod& pod) {
    E2E_TRY(pod, shop_->kubelet->startPod(checkoutPod(name)));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, name) == "ready"; }))
        << shop_->daemon->logText();
  }
  [[nodiscard]] std::vector<json::object> eventsOf(const std::string& pod) {
    auto all = api_.events();
    std::erase_if(all,
                  [&](const auto& one) { return one.at("involvedObject").at("name").as_string() != pod; });
    return all;
  }
  [[nodiscard]] std::vector<std::string> reasonsOf(const std::string& pod) {
    std::vector<std::string> reasons;
    for (const auto& event : eventsOf(pod)) reasons.push_back(textOf(event, "reason"));
    return reasons;
  }
  [[nodiscard]] bool told(const std::string& pod, const std::vector<std::string>& wanted) {
    return waitUntil(kCeiling, [&] { return reasonsOf(pod) == wanted; });
  }
  /// From the beginning of the wait until the fallback served, as measured by the daemon.
  [[nodiscard]] double millisUntilReady(const std::string& pod) const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    if (!answer) return -1;
    const auto root = json::parse(answer->body);
    for (const auto& one : root.at("recoveries").as_array()) {
      if (one.at("pod").as_string() == pod) return one.at("sinceWaitingMs").at("ready").to_number<double>();
    }
    return -1;
  }
  [[nodiscard]] std::string state() const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    if (!answer || answer->status != 200) return "no status";
    return std::string(json::parse(answer->body).at("kubernetes").at("events").at("state").as_string());
  }

  std::filesystem::path folder_ = makeRunDir("events");
  Authority authority_{"cluster"};
  FakeApiServer api_{authority_.server("IP:127.0.0.1")};
  std::unique_ptr<Shop> shop_;
};

TEST_F(PodEventsE2e, SayWhyAPodWaitsThatItIsServedAndHandedBack) {
  ASSERT_NO_FATAL_FAILURE(open());
  Pod pod;
  ASSERT_NO_FATAL_FAILURE(recover("checkout-1", pod));
  ASSERT_TRUE(told("checkout-1", {"WaitsForImage", "FallbackServing"})) << shop_->daemon->logText();
  E2E_CHECK(shop_->registry.start());
  E2E_TRY(const auto reference,
          shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  const auto pulled = shop_->kubelet->pullImage(reference);
  ASSERT_TRUE(pulled.ok()) << pulled.text;
  E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, shop_->containerSpec()));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  ASSERT_TRUE(told("checkout-1", {"WaitsForImage", "FallbackServing", "FallbackHandedBack"}));

  const auto events = eventsOf("checkout-1");
  for (const auto& event : events) {
    const auto& about = event.at("involvedObject").as_object();
    EXPECT_EQ(textOf(about, "namespace"), "shop");
    EXPECT_EQ(textOf(about, "uid"), pod.spec.uid);
    EXPECT_EQ(textOf(about, "fieldPath"), "spec.containers{checkout}");
    EXPECT_EQ(textOf(event, "reportingInstance"), nodeName());
    EXPECT_EQ(event.at("count").as_int64(), 1);
  }
  EXPECT_EQ(textOf(events[0], "type"), "Warning");
  EXPECT_THAT(textOf(events[0], "message"), HasSubstr("its registry cannot be reached (unreachable)"));
  EXPECT_THAT(textOf(events[0], "message"), HasSubstr("connection refused")) << "containerd's words";
  EXPECT_EQ(textOf(events[1], "type"), "Normal");
  const auto millis = static_cast<long>(millisUntilReady("checkout-1"));
  EXPECT_EQ(textOf(events[1], "message"), "Fallback checkout@1.8.3 serves on " + pod.ip + ":8080, " +
                                              std::to_string(millis) + " ms after the wait began");
  EXPECT_THAT(textOf(events[2], "message"), HasSubstr("Fallback checkout@1.8.3 was handed back"));

  const auto metrics = shop_->daemon->metrics();
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->at("fallbackd_events_up"), 1);
  EXPECT_EQ(metrics->at("fallbackd_events_total{result=\"created\"}"), 3);
  EXPECT_EQ(metrics->count("fallbackd_pods_known"), 0U) << "no source is needed";
  for (const auto& request : api_.requests()) EXPECT_EQ(request.method, "POST") << request.path;
  EXPECT_THAT(api_.violations(), IsEmpty());
}

/// The API server is often down when registries are.
TEST_F(PodEventsE2e, AnApiServerThatHangsCostsARecoveryNothing) {
  ASSERT_NO_FATAL_FAILURE(open());
  Pod pod;
  ASSERT_NO_FATAL_FAILURE(recover("checkout-1", pod));
  ASSERT_TRUE(told("checkout-1", {"WaitsForImage", "FallbackServing"}));
  RecordProperty("checkout-1 ready after ms, API server answering",
                 std::to_string(millisUntilReady("checkout-1")));
  api_.trouble({Fault::silent_answer});
  // More than one recovery: the second begins while a request of the first hangs.
  const std::vector<std::string> names{"checkout-2", "checkout-3", "checkout-4"};
  const auto requests = api_.requests().size();
  for (const auto& name : names) {
    Pod one;
    ASSERT_NO_FATAL_FAILURE(recover(name, one));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return api_.requests().size() > requests; })) << "one hangs now";
    // A request hangs for 10 s. A recovery that waited for it would take that long.
    const auto millis = millisUntilReady(name);
    RecordProperty(name + " ready after ms, API server hanging", std::to_string(millis));
    EXPECT_GT(millis, 0) << name;
    EXPECT_LT(millis, 5000) << name;
    EXPECT_THAT(reasonsOf(name), IsEmpty());
  }
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return state() == "failing"; })) << "status shows it";
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("Events cannot be written; recoveries go on"));
  const auto ready = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/readyz");
  ASSERT_TRUE(ready);
  EXPECT_EQ(ready->status, 200U);
  api_.heal();
  for (const auto& name : names) {
    EXPECT_TRUE(told(name, {"WaitsForImage", "FallbackServing"})) << name << shop_->daemon->logText();
  }
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return state() == "up"; }));
  const auto log = shop_->daemon->logText();
  constexpr std::string_view kLine = "Events cannot be written";
  EXPECT_EQ(log.find(kLine), log.rfind(kLine)) << "logged once";
  EXPECT_THAT(api_.violations(), IsEmpty());
}

TEST_F(PodEventsE2e, SayWhatIsRefusedAndWhatIsOnlyObserved) {
  ASSERT_NO_FATAL_FAILURE(open("namespaces: [{name: shop, mode: observe}]\n"));
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("checkout-1")));
  static_cast<void>(pod);
  ASSERT_TRUE(told("checkout-1", {"WaitsForImage", "FallbackObserved"})) << shop_->daemon->logText();
  EXPECT_THAT(
      textOf(eventsOf("checkout-1")[1], "message"),
      testing::MatchesRegex("Fallback checkout@1.8.3 would have started [0-9]+ ms after the wait began.*"));
  EXPECT_THAT(api_.violations(), IsEmpty());
}

TEST_F(PodEventsE2e, WithoutTheRightToWriteThemEverythingElseGoesOn) {
  api_.withEvents([](kube_test::EventStore& store) { store.grant("shop", {}); });
  ASSERT_NO_FATAL_FAILURE(open());
  Pod pod;
  ASSERT_NO_FATAL_FAILURE(recover("checkout-1", pod));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return state() == "failing"; }));
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("allows to create events is missing"));
  E2E_TRY(const auto status,
          runOk({.argv = {binary("fallbackctl"), "status", "--socket", shop_->daemon->controlSocket()},
                 .env = {},
                 .output = {}}));
  EXPECT_THAT(status, HasSubstr("Events of Kubernetes: failing since"));
  EXPECT_EQ(api_.eventRequests().size(), 1U) << "it does not retry again and again";
}

}  // namespace
}  // namespace fallbackd::e2e
