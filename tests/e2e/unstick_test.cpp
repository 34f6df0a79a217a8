// SPDX-License-Identifier: Apache-2.0
// A hung registry delays no other: containerd's stalled connections are ended, so that the pulls of healthy
// registries behind them continue. On the real containerd, with kubelet's serialized pulls.
#include "connect_proxy.hpp"
#include "e2e_gtest.hpp"
#include "fault_registry.hpp"
#include "mirrors.hpp"
#include "run_dir.hpp"
#include "serial_puller.hpp"
#include "settle_part.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <future>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace json = boost::json;

// No pull would have ended by itself within this time; the machine may be slow.
constexpr auto kPatience = 20s;
constexpr std::size_t kNeighbours = 10;
constexpr const char* kBlackHole = "192.0.2.1:5000";

/// What hangs: it selects the time after which the connections are ended.
enum class Hung : std::uint8_t { nothing, connecting, silent };

class Unstick : public testing::Test {
 protected:
  void open(NodeOptions node = nodeOfReport()) {
    ShopOptions options;
    options.node = std::move(node);
    E2E_TRY(shop_, Shop::open(options));
    E2E_TRY(well_, FaultRegistry::start(imageNamed("wishlist"), {}));
    E2E_TRY(dead_, FaultRegistry::start(imageNamed("cart", 400'000), {.silent = true}));
    for (const auto& host : {well_->address(), dead_->address(), std::string(kBlackHole)}) {
      E2E_CHECK(shop_->node->speak("http", host));
    }
    // Packets to 192.0.2.0/24 go to an interface that drops them.
    E2E_CHECK(runOk({.argv = {"sh", "-c",
                              "ip link show hole >/dev/null 2>&1 || { ip link add hole type veth peer name "
                              "ground && ip address add 192.0.2.254/24 dev hole && ip link set ground up && "
                              "ip link set hole up arp off; }"},
                     .env = {},
                     .output = {}}));
  }
  /// Afterwards containerd contacts the host only once: the entry that selects the scheme counts as a mirror
  /// beside the server.
  void removeMirrors(const std::string& host) const {
    const auto folder = shop_->node->registryConfigDir() / host;
    std::filesystem::create_directories(folder);
    ASSERT_TRUE(std::ofstream(folder / "hosts.toml") << "server = \"http://" << host << "\"\n");
  }
  /// Starts the pod "cart-0", which needs this image; its pull hangs.
  void hang(const std::string& image, const std::string& unstick = "true") {
    image_ = image;
    auto options = shop_->daemonOptions(image);
    options.extra = "detection: {reprobeInterval: 5s, unstick: " + unstick + "}\n";
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    ASSERT_TRUE(waitUntil(kCeiling, [&] {
      const auto now = status();
      const auto& workloads = now.at("workloads").as_array();
      return !workloads.empty() && workloads[0].at("image").as_string() == image;
    }));
    puller_ = std::make_unique<SerialPuller>(*shop_->kubelet);
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("cart-0")));
    begun_ = Clock::system().now();
    E2E_CHECK(puller_->start(pod, checkoutContainer(image)));
  }
  /// Starts pods of a healthy registry that no workload covers. kubelet creates the sandboxes of all pods at
  /// once.
  void startNeighbours(std::size_t count = kNeighbours) {
    for (std::size_t i = 0; i < count; ++i) {
      PodSpec spec;
      spec.name = "wishlist-" + std::to_string(i);
      spec.namespaceName = "shop";
      E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
      neighbours_.push_back(pod);
    }
  }
  /// Queues their pulls behind the others.
  void queueNeighbours() {
    auto container = checkoutContainer(well_->address() + "/shop/wishlist:1");
    container.mounts.clear();
    container.args = {"--port=8080"};
    for (const auto& pod : neighbours_) puller_->queue(pod, container);
  }
  /// How long it took until the containers ran, from the beginning of the hanging pull.
  std::optional<std::chrono::milliseconds> timeUntilRunning(const std::vector<std::string>& pods,
                                                            std::chrono::seconds ceiling) {
    const bool all = waitUntil(ceiling, [&] {
      return std::all_of(pods.begin(), pods.end(),
                         [&](const auto& pod) { return !puller_->containerOf(pod).empty(); });
    });
    if (!all) return std::nullopt;
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::system().now() - begun_);
  }
  std::optional<std::chrono::milliseconds> timeUntilNeighboursRun(std::chrono::seconds ceiling) {
    std::vector<std::string> names;
    for (const auto& pod : neighbours_) names.push_back(pod.spec.name);
    return timeUntilRunning(names, ceiling);
  }
  void expectNeighboursRun(const std::string& property, Hung hung, int entries) {
    queueNeighbours();
    const auto took = timeUntilNeighboursRun(kPatience);
    ASSERT_TRUE(took) << "neighbours wait behind the hung pull\n" << shop_->daemon->logText();
    RecordProperty(property, std::to_string(took->count()));
    std::printf("%s: %zu neighbours run after %lld ms\n", property.c_str(), neighbours_.size(),
                static_cast<long long>(took->count()));
    writePart("unstick-" + property, {{"part", "unstick"},
                                      {"case", property},
                                      {"hung", nameOf(hung)},
                                      {"entries", entries},
                                      {"neighbours", neighbours_.size()},
                                      {"tookMs", took->count()}});
  }
  static const char* nameOf(Hung hung) {
    if (hung == Hung::nothing) return "nothing";
    return hung == Hung::silent ? "silent" : "connecting";
  }
  /// `entries`: the hosts that the pull tries one after the other; the last mirror is also the server.
  void expectUnstuck(const std::string& property, Hung hung, int entries = 1) {
    ASSERT_NO_FATAL_FAILURE(expectNeighboursRun(property, hung, entries));
    EXPECT_GE(metric("ended"), 1);
    EXPECT_THAT(shop_->daemon->logText(), HasSubstr("ended a stalled connection of containerd"));
    EXPECT_EQ(status().at("unstick").at("state").as_string(), "ready");
  }
  [[nodiscard]] json::object status() const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    return answer ? json::parse(answer->body).as_object() : json::object{{"workloads", json::array{}}};
  }
  [[nodiscard]] double metric(const std::string& result) const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, "fallbackd_unstick_connections_total{result=\"" + result + "\"") : -1;
  }
  [[nodiscard]] bool verdictIsThere() const {
    return waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "cart-0") == "ready"; });
  }
  static Image imageNamed(const std::string& name, std::size_t ballast = 0) {
    Image image{.reference = name,
                .files = {{"bin/" + name, testProgram("shop-httpd-1.8.3")}},
                .entrypoint = {"/bin/" + name},
                .env = {}};
    if (ballast > 0) {
      const auto file = makeRunDir("ballast") / "file";
      std::ofstream(file) << std::string(ballast, 'x');
      image.files["ballast"] = file;
    }
    return image;
  }

  std::unique_ptr<Shop> shop_;
  std::unique_ptr<FaultRegistry> well_;
  std::unique_ptr<FaultRegistry> dead_;
  std::unique_ptr<FaultRegistry> deadToo_;
  std::vector<Pod> neighbours_;
  std::unique_ptr<SerialPuller> puller_;
  std::string image_;
  Stamp begun_{};
};

/// The baseline: how long this machine takes for the pods themselves.
TEST_F(Unstick, BehindNothingNeighboursStart) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(startNeighbours());
  puller_ = std::make_unique<SerialPuller>(*shop_->kubelet);
  begun_ = Clock::system().now();
  expectNeighboursRun("nothing_hung", Hung::nothing, 0);
  EXPECT_EQ(metric("ended"), 0);
  dead_.reset();
}

TEST_F(Unstick, BehindASilentRegistryNeighboursStart) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(startNeighbours());
  ASSERT_NO_FATAL_FAILURE(removeMirrors(dead_->address()));
  ASSERT_NO_FATAL_FAILURE(hang(dead_->address() + "/shop/cart:1.8.3"));
  expectUnstuck("silent", Hung::silent);
  dead_.reset();
}

TEST_F(Unstick, BehindABlackHoleNeighboursStart) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(startNeighbours());
  ASSERT_NO_FATAL_FAILURE(removeMirrors(kBlackHole));
  ASSERT_NO_FATAL_FAILURE(hang(std::string(kBlackHole) + "/shop/cart:1.8.3"));
  expectUnstuck("black_hole", Hung::connecting);
}

/// A registry with a name and two hosts, neither of which answers: their connections are found one after the
/// other.
TEST_F(Unstick, BehindTwoSilentMirrorsNeighboursStart) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(startNeighbours());
  E2E_TRY(deadToo_, FaultRegistry::start(imageNamed("cart"), {.silent = true}));
  E2E_CHECK(setHosts(*shop_->node, "registry.test",
                     {"http://" + dead_->address(), "http://" + deadToo_->address()}));
  ASSERT_NO_FATAL_FAILURE(hang("registry.test/shop/cart:1.8.3"));
  expectUnstuck("two_silent_mirrors", Hung::silent, 3);
  dead_.reset();
  deadToo_.reset();
}

/// A dead mirror in front of a healthy registry costs one time-out, not the pod.
TEST_F(Unstick, BehindADeadMirrorTheRegistryIsAsked) {
  ASSERT_NO_FATAL_FAILURE(open());
  E2E_CHECK(setHosts(*shop_->node, "registry.test",
                     {"http://" + std::string(kBlackHole), "http://" + well_->address()}));
  ASSERT_NO_FATAL_FAILURE(hang("registry.test/shop/wishlist:1"));
  const auto took = timeUntilRunning({"cart-0"}, kPatience);
  ASSERT_TRUE(took) << shop_->daemon->logText();
  RecordProperty("dead_mirror", std::to_string(took->count()));
  std::printf("dead_mirror: the container runs after %lld ms\n", static_cast<long long>(took->count()));
}

TEST_F(Unstick, WithoutItNeighboursHang) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(startNeighbours(1));
  ASSERT_NO_FATAL_FAILURE(hang(dead_->address() + "/shop/cart:1.8.3", "false"));
  queueNeighbours();
  ASSERT_TRUE(verdictIsThere());
  // The report shows that it is more than half a minute.
  const auto patience = given("SETTLE_JSON").empty() ? 8s : 31s;
  EXPECT_FALSE(timeUntilNeighboursRun(patience)) << "nothing hung: the other tests show nothing";
  writePart("unstick-switched_off", {{"part", "unstick"},
                                     {"case", "switched_off"},
                                     {"hung", "silent"},
                                     {"entries", 2},
                                     {"neighbours", 1},
                                     {"tookMs", std::chrono::milliseconds(patience).count()}});
  EXPECT_EQ(metric("ended"), 0);
  EXPECT_EQ(status().at("unstick").at("state").as_string(), "off");
  dead_.reset();  // its connections end, and with them the hanging pull
  EXPECT_TRUE(timeUntilNeighboursRun(kCeiling));
}

/// Pulls that crawl at 20 KB/s, from a different registry and from the same one. The connections that fetched
/// their manifests are idle meanwhile; ending those does not affect the pulls.
TEST_F(Unstick, MovingPullsAreNotTouched) {
  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(startNeighbours());
  E2E_TRY(const auto crawling,
          FaultRegistry::start(imageNamed("crawl", 400'000), {.bytesPerSecond = 20'000}));
  E2E_CHECK(shop_->node->speak("http", crawling->address()));
  dead_->set({.bytesPerSecond = 20'000});
  const auto pull = [&](const std::string& image) {
    return std::async(std::launch::async, [this, image] { return shop_->kubelet->pullImage(image); });
  };
  auto other = pull(crawling->address() + "/shop/crawl:1");
  auto same = pull(dead_->address() + "/shop/crawl:1");
  const auto asked = [](const FaultRegistry& registry) { return registry.requests() >= 4; };
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return asked(*crawling) && asked(*dead_); }));
  dead_->set({.silent = true});
  ASSERT_NO_FATAL_FAILURE(hang(dead_->address() + "/shop/cart:1.8.3"));
  expectUnstuck("beside_slow_pulls", Hung::silent, 2);
  EXPECT_EQ(other.wait_for(0s), std::future_status::timeout) << "it should still run";
  EXPECT_EQ(same.wait_for(0s), std::future_status::timeout) << "it should still run";
  crawling->stopCrawling();
  dead_->stopCrawling();
  for (auto* one : {&other, &same}) {
    ASSERT_EQ(one->wait_for(120s), std::future_status::ready);
    const auto outcome = one->get();
    EXPECT_TRUE(outcome.ok()) << outcome.text;
  }
  dead_.reset();
}

/// All traffic of the node may go through a proxy: its connections are shared.
TEST_F(Unstick, AProxyIsReportedAndNotTouched) {
  E2E_TRY(auto proxy, ConnectProxy::start());
  auto node = nodeOfReport();
  node.environment = {{"HTTPS_PROXY", proxy->url()}};
  ASSERT_NO_FATAL_FAILURE(open(std::move(node)));
  ASSERT_NO_FATAL_FAILURE(startNeighbours(1));
  ASSERT_NO_FATAL_FAILURE(hang("hangs.proxied.test/shop/cart:1.8.3"));
  ASSERT_TRUE(verdictIsThere());
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return metric("proxy") >= 1; })) << shop_->daemon->logText();
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("result=proxy"));
  queueNeighbours();
  EXPECT_FALSE(timeUntilNeighboursRun(5s));
  EXPECT_EQ(metric("ended"), 0);
  proxy.reset();
}

}  // namespace
}  // namespace fallbackd::e2e
