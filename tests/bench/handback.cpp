// SPDX-License-Identifier: Apache-2.0
// The hand-back: how long the port is closed between the fallback's end and the real container, and whether
// the container ever finds its port taken. Measures each setting of handBack.on; with `start` both programs
// share their port.
#include "fault_registry.hpp"
#include "figures.hpp"
#include "isolate.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;

constexpr int kRounds = 50;
constexpr auto kCeiling = 30s;
constexpr double kGoalMillis = 20;  // at P50, if the port is shared

/// Connects without a pause, and records the longest time without an accepted connection.
class Listener {
 public:
  explicit Listener(std::string ip) : ip_(std::move(ip)), thread_([this] { run(); }) {}
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() { finish(); }

  double finish() {
    done_ = true;
    if (thread_.joinable()) thread_.join();
    return longest_;
  }

 private:
  void run() {
    Stopwatch sinceAccepted;
    while (!done_) {
      if (!accepts(ip_, Shop::kPort)) continue;
      longest_ = std::max(longest_, sinceAccepted.millis());
      sinceAccepted = Stopwatch();
    }
  }
  std::string ip_;
  std::atomic<bool> done_{false};
  double longest_ = 0;
  std::thread thread_;
};

/// One outage of one pod, from its start to the real container; returns the gap in milliseconds.
Result<double> outage(const Shop& shop, FaultRegistry& registry, const std::string& image, int number) {
  RegistryFault down;
  down.status = 503;
  registry.set(down);
  FB_TRY(const auto pod, shop.kubelet->startPod(checkoutPod("web-" + std::to_string(number))));
  FB_CHECK(httpGetOk(pod.ip, Shop::kPort, "/", kCeiling));
  if (!waitUntil(kCeiling, [&] { return recoveryState(*shop.daemon, pod.spec.name) == "ready"; })) {
    return fail(Stage::readiness, Reason::timeout, pod.spec.name + " was not recovered");
  }
  Listener listener(pod.ip);
  registry.set({});
  const auto pulled = shop.kubelet->pullImage(image);
  if (!pulled.ok()) return fail(Stage::containerd, Reason::unavailable, pulled.text);
  auto spec = shop.containerSpec();
  spec.image = image;
  FB_TRY(const auto id, shop.kubelet->createContainer(pod, spec));
  FB_CHECK(shop.kubelet->startContainer(id));
  // A container that finds its port taken exits, and then this never becomes true.
  const bool served = waitUntil(kCeiling, [&] {
    const auto answer = httpGet(pod.ip, Shop::kPort, "/", 1s);
    return answer && answer->body.find("role=container") != std::string::npos;
  });
  const double gap = listener.finish();
  if (!served) return fail(Stage::hand_back, Reason::timeout, "the container of " + pod.spec.name);
  FB_CHECK(shop.kubelet->removePod(pod));
  FB_CHECK(shop.kubelet->removeImage(image));
  return gap;
}

Result<boost::json::object> measure(const std::string& mode) {
  ShopOptions options;
  options.reprobeInterval = "60s";  // kubelet's pull fetches the image, not ours
  options.workloadExtra = "  handBack: {on: " + mode + "}\n";
  if (mode == "start") options.moreArgs = {"--share-port"};
  FB_TRY(const auto shop, Shop::open(options));
  const Image layers{.reference = "shop/checkout:1",
                     .files = {{"bin/checkout", testProgram("shop-httpd-1.8.3")}},
                     .entrypoint = {"/bin/checkout"},
                     .env = {}};
  FB_TRY(const auto registry, FaultRegistry::start(layers, {}));
  FB_CHECK(shop->node->speak("http", registry->address()));
  const auto image = registry->address() + "/shop/checkout:1.8.3";
  shop->daemon->kill();
  FB_CHECK(shop->daemon->rewriteConfig(shop->daemonOptions(image)));
  FB_CHECK(shop->daemon->restart());
  Series gaps{"handBack.on: " + mode, {}};
  for (int i = 0; i < kRounds; ++i) {
    FB_TRY(const double gap, outage(*shop, *registry, image, i));
    gaps.millis.push_back(gap);
  }
  return report(gaps);
}

int bench() {
  printHead("50 rounds each: time without a listener, ms");
  boost::json::array rows;
  std::string why;
  for (const auto* mode : {"container", "image", "start"}) {
    auto row = measure(mode);
    if (!row) return conclude("handback", std::string(mode) + ": " + row.error().message(), {});
    const double p50 = row->at("p50Ms").as_double();
    if (mode == std::string("start") && p50 > kGoalMillis) {
      why = "with a shared port nothing listens for " + std::to_string(p50) + " ms";
    }
    rows.push_back(std::move(*row));
    std::fflush(stdout);
  }
  return conclude("handback", why, {{"goalMs", kGoalMillis}, {"series", std::move(rows)}});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
