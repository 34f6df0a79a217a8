// SPDX-License-Identifier: Apache-2.0
// What a stand-in costs: its CreateContainer and StartContainer compared with those of a pause container in
// the same pod, one after the other; and the time from the ready fallback until kubelet has adopted it, which
// is mostly kubelet's relist.
#include "figures.hpp"
#include "image.hpp"
#include "isolate.hpp"
#include "kubelet/model.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <chrono>
#include <optional>
#include <string>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;

constexpr int kPods = 60;
constexpr double kGoalRatio = 1.5;
constexpr auto kCeiling = 60s;
constexpr const char* kStandIn = "fallbackd.io/checkout:1.8.3";

/// The histogram's sum, in milliseconds; its growth is the time of one more stand-in.
double sumOfPhase(const Metrics& metrics, const std::string& phase) {
  return sumOf(metrics, "fallbackd_stand_in_seconds_sum", "phase=\"" + phase + "\"") * 1000;
}

/// When the fallback was ready, from /status.
Result<Wall::time_point> readyAt(const Daemon& daemon, const std::string& pod) {
  FB_TRY(const auto answer, httpGet("127.0.0.1", daemon.telemetryPort(), "/status"));
  const auto root = boost::json::parse(answer.body);
  for (const auto& one : root.at("recoveries").as_array()) {
    if (one.at("pod").as_string() != pod) continue;
    const auto& since = one.at("sinceWaitingMs");
    const auto begun = parseRfc3339(std::string(one.at("begun").as_string()));
    const std::chrono::duration<double, std::milli> later(since.at("ready").to_number<double>() -
                                                          since.at("detected").to_number<double>());
    return *begun + std::chrono::duration_cast<Wall::duration>(later);
  }
  return fail(Stage::run, Reason::not_found, "no recovery of " + pod);
}

struct Measured {
  Series image{"stand-in: its image", {}};
  Series standIn{"stand-in: CreateContainer + StartContainer", {}};
  Series pause{"pause container: CreateContainer + StartContainer", {}};
  Series adopted{"from the ready fallback to kubelet's adoption", {}};
};

Result<> measureOne(const Shop& shop, model::KubeletModel& kubelet, const std::string& name,
                    Measured& measured) {
  FB_TRY(const auto before, shop.daemon->metrics());
  model::PodDefinition pod;
  pod.pod = checkoutPod(name);
  pod.containers.resize(1);
  pod.containers[0].spec = shop.containerSpec();
  const auto added = kubelet.add(pod);
  const bool settled = kubelet.waitFor(
      name, [](const model::PodStatus& one) { return one.ready && one.containers[0].image == kStandIn; },
      kCeiling);
  if (!settled) return fail(Stage::readiness, Reason::timeout, name + " is not settled");
  const auto adopted = kubelet.events().of(name, "Found");
  if (adopted.empty()) return fail(Stage::run, Reason::not_found, name + " was not adopted");
  FB_TRY(const auto after, shop.daemon->metrics());
  const auto took = [&](const char* phase) { return sumOfPhase(after, phase) - sumOfPhase(before, phase); };
  measured.image.millis.push_back(took("image"));
  measured.standIn.millis.push_back(took("create") + took("start"));
  FB_TRY(const auto ready, readyAt(*shop.daemon, name));
  const auto adoptedAt = Wall::now() - (Monotonic::now() - adopted[0].at);
  measured.adopted.millis.push_back(std::chrono::duration<double, std::milli>(adoptedAt - ready).count());

  FB_TRY(const auto running, shop.kubelet->podOf(added.pod.uid));
  ContainerSpec pause;
  pause.name = "pause";
  pause.image = pauseImage().reference;
  const Stopwatch watch;
  FB_TRY(const auto id, shop.kubelet->createContainer(running, pause));
  FB_CHECK(shop.kubelet->startContainer(id));
  measured.pause.millis.push_back(watch.millis());
  FB_CHECK(shop.kubelet->stopContainer(id, 0s));
  FB_CHECK(shop.kubelet->removeContainer(id));
  kubelet.remove(name, 1s);
  if (!kubelet.waitUntilGone(name, kCeiling)) return fail(Stage::run, Reason::timeout, name + " stays");
  return {};
}

Result<int> measure() {
  ShopOptions options;
  options.workloadExtra = "  settle: always\n";
  options.reprobeInterval = "60s";
  model::Options kubelet;
  kubelet.folder = makeRunDir("kubelet-model");
  options.logLinks = kubelet.folder / "containers";
  FB_TRY(const auto shop, Shop::open(options));
  Measured measured;
  {
    model::KubeletModel node(*shop->kubelet, kubelet);
    for (int i = 0; i < kPods; ++i) {
      FB_CHECK(measureOne(*shop, node, "web-" + std::to_string(i), measured));
    }
  }
  printHead(std::to_string(kPods) + " pods, one after the other, ms");
  boost::json::array rows{report(measured.image), report(measured.standIn), report(measured.pause),
                          report(measured.adopted)};
  const double ratio = percentile(measured.standIn.millis, 50) / percentile(measured.pause.millis, 50);
  printFigure("stand-in / pause container, at P50", ratio, "times");
  const auto why =
      ratio <= kGoalRatio ? "" : "a stand-in costs " + std::to_string(ratio) + " pause containers";
  return conclude("settle", why, {{"goalRatio", kGoalRatio}, {"ratio", ratio}, {"series", std::move(rows)}});
}

int bench() {
  const auto code = measure();
  if (code) return *code;
  return conclude("settle", code.error().message(), {});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
