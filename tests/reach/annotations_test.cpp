// SPDX-License-Identifier: Apache-2.0
// What a pod's author can write in its annotations, and what other pods must not notice of it.
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

const std::string kBinaryKey = "fallbackd.io/binary.";
const std::string kImageKey = "fallbackd.io/image.";

/// The daemon's highest usage during this object's life.
class Usage {
 public:
  explicit Usage(pid_t pid) : folder_("/proc/" + std::to_string(pid)), thread_([this] { watch(); }) {}
  Usage(const Usage&) = delete;
  Usage& operator=(const Usage&) = delete;
  ~Usage() {
    ends_ = true;
    thread_.join();
  }
  [[nodiscard]] std::size_t descriptors() const { return descriptors_; }
  [[nodiscard]] std::size_t residentMiB() const { return residentKiB_ / 1024; }

 private:
  void watch() {
    while (!ends_) {
      std::error_code gone;
      const auto open = std::filesystem::directory_iterator(folder_ / "fd", gone);
      if (!gone) descriptors_ = std::max<std::size_t>(descriptors_, std::distance(begin(open), end(open)));
      std::ifstream status(folder_ / "status");
      for (std::string line; std::getline(status, line);) {
        if (!line.starts_with("VmRSS:")) continue;
        residentKiB_ = std::max<std::size_t>(residentKiB_, std::stoul(line.substr(6)));
      }
      std::this_thread::sleep_for(20ms);  // polls from outside: there is no event
    }
  }

  std::filesystem::path folder_;
  std::atomic<bool> ends_{false};
  std::atomic<std::size_t> descriptors_{0};
  std::atomic<std::size_t> residentKiB_{0};
  std::thread thread_;  // last: it uses the other members
};

/// Pods of the namespaces "evil" and "honest" may choose; the workload "checkout" in "shop" is the
/// operator's.
class ReachAnnotations : public testing::Test {
 protected:
  void open() {
    RecordProperty("item", "4");
    E2E_TRY(shop_, Shop::open());
    configure(shop_->daemonOptions(shop_->image()));
  }
  void configure(DaemonOptions options) const {
    options.extra += "podAnnotations: {namespaces: [evil, honest]}\n";
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    // It was started with the shop; its usage before does not matter.
    shop_->daemon->kill();
    E2E_CHECK(shop_->daemon->restart());
  }
  [[nodiscard]] static PodSpec choosing(const std::string& name, const std::string& podNamespace) {
    auto spec = checkoutPod(name);
    spec.namespaceName = podNamespace;
    spec.labels = {{"app", "own"}};
    return spec;
  }
  static void choose(PodSpec& spec, const std::string& container, const std::string& image) {
    spec.annotations[kBinaryKey + container] = "checkout@1.8.3";
    spec.annotations[kImageKey + container] = image;
  }
  [[nodiscard]] std::optional<json::value> status() const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status", 20s);
    if (!answer || answer->status != 200) return std::nullopt;
    return json::parse(answer->body);
  }
  /// The state of the pod's container in the list "waiting", or "" if it is not in the list.
  [[nodiscard]] std::string waitsAs(const std::string& pod) const {
    const auto root = status();
    if (!root) return "";
    for (const auto& item : root->at("waiting").as_array()) {
      if (item.at("pod").as_string() == pod) return std::string(item.at("state").as_string());
    }
    return "";
  }
  /// Whether the daemon has handled the pod's annotations: probed for an image, or refused to.
  [[nodiscard]] bool decided(const std::string& pod) const {
    return waitUntil(kCeiling, [&] {
      const auto state = waitsAs(pod);
      return (!state.empty() && state != "asking") || !recoveryState(*shop_->daemon, pod).empty() ||
             shop_->daemon->logText().find(pod + ": annotation") != std::string::npos;
    });
  }
  /// Containers of the pod that have or had a recovery. A failed one is retried, and counts once.
  [[nodiscard]] std::size_t recoveriesOf(const std::string& pod) const {
    const auto root = status();
    if (!root) return 0;
    std::set<std::string> containers;
    for (const auto& one : root->at("recoveries").as_array()) {
      if (one.at("pod").as_string() == pod) containers.emplace(one.at("container").as_string());
    }
    return containers.size();
  }

  std::unique_ptr<Shop> shop_;
};

TEST_F(ReachAnnotations, ErrorTextInAnImagesNameStartsNothingElsewhere) {
  RecordProperty(
      "attack", "A pod's annotation names an image at a healthy registry with containerd's error text in it");
  ASSERT_NO_FATAL_FAILURE(open());
  E2E_CHECK(shop_->registry.start());
  E2E_TRY(const auto pushed,
          shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  auto hostile = choosing("hostile-0", "evil");
  choose(hostile, "web",
         shop_->registry.address() + "/x: failed to pull: dial tcp 127.0.0.1:1: connect: connection refused");
  E2E_TRY(const auto pod, shop_->kubelet->startPod(hostile));
  ASSERT_TRUE(decided("hostile-0")) << shop_->daemon->logText();

  E2E_TRY(const auto honest, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    return waitsAs("web-0") == "image present" || !recoveryState(*shop_->daemon, "web-0").empty();
  })) << shop_->daemon->logText();
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "")
      << "a fallback of namespace shop was started, although its registry works";
  EXPECT_EQ(recoveryState(*shop_->daemon, "hostile-0"), "") << "it got its own fallback this way";
  const auto root = status();
  ASSERT_TRUE(root);
  for (const auto& registry : root->at("registries").as_array()) {
    EXPECT_EQ(registry.at("state").as_string(), "closed") << "the circuit of the healthy registry was opened";
  }
}

TEST_F(ReachAnnotations, TheNodesPasswordIsNotLent) {
  RecordProperty("attack", "A pod's annotation names a private image that only the node's password can pull");
  ASSERT_NO_FATAL_FAILURE(open());
  RecordProperty("item", "5");
  E2E_TRY(auto closed, Registry::make({.port = 0, .user = "robot", .password = "beep"}));
  E2E_CHECK(closed.start());
  E2E_TRY(const auto secret, closed.pushImage("board/plans:1", testProgram("shop-httpd-1.8.3")));
  E2E_TRY(const auto ours, closed.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  const auto file = makeRunDir("secret") / ".dockerconfigjson";
  std::ofstream(file) << R"({"auths": {")" << closed.address()
                      << R"(": {"username": "robot", "password": "beep"}}})";
  auto options = shop_->daemonOptions(ours);
  options.extra +=
      "registries: [{host: \"" + closed.address() + "\", dockerconfigjson: " + file.string() + "}]\n";
  ASSERT_NO_FATAL_FAILURE(configure(options));

  auto hostile = choosing("hostile-0", "evil");
  choose(hostile, "web", secret);
  E2E_TRY(const auto pod, shop_->kubelet->startPod(hostile));
  ASSERT_TRUE(decided("hostile-0")) << shop_->daemon->logText();
  E2E_TRY(const auto borrowed, shop_->kubelet->imagePresent(secret));
  EXPECT_FALSE(borrowed) << "the private image was pulled with the node's password: the pod can now run it";
  EXPECT_EQ(waitsAs("hostile-0"), "undecided") << "without a password the registry answers 401";

  E2E_TRY(const auto honest, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return waitsAs("web-0") == "image present"; }))
      << "the operator's own image is pulled with it: " << shop_->daemon->logText();
}

TEST_F(ReachAnnotations, AThousandSilentAddressesDelayNoOtherPod) {
  RecordProperty("attack", "A pod's 1,500 annotations name images at addresses that never answer");
  ASSERT_NO_FATAL_FAILURE(open());
  RecordProperty("item", "6");
  // Packets to 192.0.2.0/24 go to an interface that drops them.
  for (const auto* command :
       {"ip link add hole type veth peer name ground", "ip address add 192.0.2.254/24 dev hole",
        "ip link set ground up", "ip link set hole up arp off"}) {
    E2E_CHECK(runOk({.argv = {"sh", "-c", command}, .env = {}, .output = {}}));
  }
  auto hostile = choosing("hostile-0", "evil");
  for (int i = 0; i < 750; ++i) {
    choose(hostile, "c" + std::to_string(i), "192.0.2.1:" + std::to_string(5000 + i) + "/x:1");
  }
  E2E_TRY(const auto pod, shop_->kubelet->startPod(hostile));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return !waitsAs("hostile-0").empty(); })) << shop_->daemon->logText();

  auto chosen = choosing("honest-0", "honest");
  choose(chosen, "web", shop_->image());
  const Stopwatch watch;
  E2E_TRY(const auto operators, shop_->kubelet->startPod(checkoutPod("web-0")));
  E2E_TRY(const auto own, shop_->kubelet->startPod(chosen));
  const auto ready = [&](const char* name) { return recoveryState(*shop_->daemon, name) == "ready"; };
  EXPECT_TRUE(waitUntil(10s, [&] { return ready("web-0"); }))
      << "a pod of namespace shop has no fallback after 10 s";
  RecordProperty("configured_ms", std::to_string(watch.millis()));
  EXPECT_TRUE(waitUntil(10s, [&] { return ready("honest-0"); }))
      << "a pod of namespace honest has no fallback after 20 s";
  RecordProperty("chosen_ms", std::to_string(watch.millis()));
  std::printf("  the honest pods' fallbacks were ready within %.0f ms\n", watch.millis());
}

TEST_F(ReachAnnotations, SixHundredNamesOfOnePodDoNotExhaustTheDaemon) {
  RecordProperty("attack", "A pod's annotations name 600 containers whose images cannot be pulled");
  ASSERT_NO_FATAL_FAILURE(open());
  RecordProperty("item", "6");
  const Usage usage(shop_->daemon->pid());
  auto hostile = choosing("hostile-0", "evil");
  for (int i = 0; i < 600; ++i) choose(hostile, "c" + std::to_string(i), shop_->image());
  E2E_TRY(const auto pod, shop_->kubelet->startPod(hostile));
  const Stopwatch watch;
  E2E_TRY(const auto honest, shop_->kubelet->startPod(checkoutPod("web-0")));
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
      << shop_->daemon->logText();
  const auto took = watch.millis();
  // By now everything that the attack can start has started.
  std::size_t before = 0;
  waitUntil(kCeiling, [&] {
    const auto now = recoveriesOf("hostile-0");
    const bool same = now > 0 && now == std::exchange(before, now);
    if (!same) std::this_thread::sleep_for(500ms);
    return same;
  });
  EXPECT_LE(recoveriesOf("hostile-0"), 16U) << "fallbacks of one pod, by invented names";
  EXPECT_LT(usage.descriptors(), 400U) << "descriptors open in the daemon";
  EXPECT_LT(usage.residentMiB(), 300U) << "MiB of memory of the daemon";
  EXPECT_LT(took, 5000.0) << "milliseconds that the honest pod waited";
  std::printf(
      "  honest pod ready after %.0f ms, %zu descriptors, %zu MiB, %zu recoveries of the hostile pod\n", took,
      usage.descriptors(), usage.residentMiB(), recoveriesOf("hostile-0"));
}

TEST_F(ReachAnnotations, ManyPodsOfOneNamespaceDoNotExhaustTheDaemon) {
  RecordProperty("attack",
                 "Twenty pods of a namespace name 30 containers each whose images cannot be pulled");
  ASSERT_NO_FATAL_FAILURE(open());
  RecordProperty("item", "6");
  const Usage usage(shop_->daemon->pid());
  for (int pod = 0; pod < 20; ++pod) {
    auto hostile = choosing("hostile-" + std::to_string(pod), "evil");
    for (int i = 0; i < 30; ++i) choose(hostile, "c" + std::to_string(i), shop_->image());
    E2E_TRY(const auto started, shop_->kubelet->startPod(hostile));
  }
  auto chosen = choosing("honest-0", "honest");
  choose(chosen, "web", shop_->image());
  const Stopwatch watch;
  E2E_TRY(const auto honest, shop_->kubelet->startPod(chosen));
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "honest-0") == "ready"; }))
      << shop_->daemon->logText();
  const auto took = watch.millis();
  EXPECT_LT(took, 5000.0) << "milliseconds that the honest pod waited";
  // By now everything that the attack can start has started.
  double begun = 0;
  waitUntil(kCeiling, [&] {
    const auto metrics = shop_->daemon->metrics();
    const auto now = metrics ? sumOf(*metrics, "fallbackd_active_fallbacks") : 0;
    const bool same = now > 0 && now == std::exchange(begun, now);
    if (!same) std::this_thread::sleep_for(1s);
    return same;
  });
  EXPECT_GT(begun, 0) << "no fallback is active, not even the honest pod's";
  EXPECT_LT(usage.descriptors(), 800U) << "descriptors open in the daemon";
  EXPECT_LE(begun, 258) << "fallbacks of one namespace, by invented names";
  std::printf("  honest pod ready after %.0f ms, %zu descriptors, %zu MiB, %.0f fallbacks\n", took,
              usage.descriptors(), usage.residentMiB(), begun);
}

}  // namespace
}  // namespace fallbackd::e2e
