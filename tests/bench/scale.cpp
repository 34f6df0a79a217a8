// SPDX-License-Identifier: Apache-2.0
// A node with as many pods as kubelet allows: all stuck behind one dead registry; half of them stuck behind
// fifteen dead registries out of thirty; none stuck at all.
#include "fault_registry.hpp"
#include "figures.hpp"
#include "fleet.hpp"
#include "isolate.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdio>
#include <set>
#include <thread>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace json = boost::json;

constexpr int kRegistries = 30;
constexpr auto kCeiling = 120s;
constexpr auto kIdle = 300s;
constexpr std::uint16_t kContainerdMetrics = 1338;  // free: the run has its own network namespace
// At most a handful.
constexpr double kMaxPulls = 5;

std::string podName(int i) {
  return "web-" + std::to_string(i);
}

/// When each pod first accepted a connection, in milliseconds of `watch`.
Result<std::vector<double>> awaitAll(const std::vector<Pod>& pods, const Stopwatch& watch) {
  std::vector<double> millis;
  std::set<std::string> left;
  for (const auto& pod : pods) left.insert(pod.ip);
  waitUntil(kCeiling, [&] {
    std::erase_if(left, [&](const auto& ip) {
      if (!accepts(ip, Shop::kPort)) return false;
      millis.push_back(watch.millis());
      return true;
    });
    return left.empty();
  });
  if (left.empty()) return millis;
  return fail(Stage::readiness, Reason::timeout, std::to_string(left.size()) + " pods were not recovered");
}

json::object reportUsage(const Usage& usage, double pulls) {
  printFigure("probe pulls", pulls, "");
  printFigure("CPU of daemon and spawner", usage.cpuSeconds, "s");
  printFigure("their memory, resident", usage.residentMiB, "MiB");
  printFigure("their memory, peak", usage.peakMiB, "MiB");
  return {{"probePulls", pulls},
          {"cpuSeconds", usage.cpuSeconds},
          {"residentMiB", usage.residentMiB},
          {"peakMiB", usage.peakMiB}};
}

/// All pods are stuck before the daemon starts, so that it gets them all at once.
Result<json::object> oneDeadRegistry(std::string& why) {
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  shop->daemon->kill();
  std::vector<PodSpec> specs;
  for (int i = 0; i < kPodsOfANode; ++i) specs.push_back(checkoutPod(podName(i)));
  FB_TRY(const auto pods, startPods(*shop->kubelet, specs));
  const Stopwatch watch;
  FB_CHECK(shop->daemon->restart());
  FB_TRY(auto millis, awaitAll(pods, watch));
  FB_TRY(const auto usage, usageOf(shop->daemon->pid()));
  FB_TRY(const auto metrics, shop->daemon->metrics());
  FB_TRY(const auto recovered, recoveredPods(*shop->daemon));
  const double pulls = sumOf(metrics, "fallbackd_probe_pulls_total");
  printHead("110 pods stuck, one registry down, ms");
  auto series = report({"start of the daemon to accepted connection", std::move(millis)});
  auto result = reportUsage(usage, pulls);
  result["recovery"] = std::move(series);
  if (pulls > kMaxPulls) why = "one registry: more than a handful of probe pulls";
  if (recovered.size() != kPodsOfANode) why = "one registry: not exactly one recovery per pod";
  FB_CHECK(removePods(*shop->kubelet, pods));
  return result;
}

/// Every second registry fails, in one of three ways.
RegistryFault faultOf(int registry) {
  RegistryFault fault;
  if (registry % 2 == 0) return fault;
  fault.reset = registry % 3 == 0;
  fault.silent = registry % 3 == 1;
  if (registry % 3 == 2) fault.status = 503;
  return fault;
}

struct Fair {
  std::vector<std::unique_ptr<FaultRegistry>> registries;
  std::vector<std::string> images;
  std::string workloads;
};

Result<Fair> openRegistries(const ContainerdNode& node) {
  Fair fair;
  for (int i = 0; i < kRegistries; ++i) {
    const auto label = "stall-" + std::to_string(i);
    const Image image{.reference = "shop/checkout:1",
                      .files = {{"bin/" + label, testProgram("shop-httpd-1.8.3")}},
                      .entrypoint = {"/bin/" + label},
                      .env = {}};
    FB_TRY(auto registry, FaultRegistry::start(image, faultOf(i)));
    FB_CHECK(node.speak("http", registry->address()));
    fair.images.push_back(registry->address() + "/shop/" + label + ":1.8.3");
    fair.workloads += "- name: " + label + "\n  match: {namespace: shop, labels: {app: " + label +
                      "}, container: checkout}\n  image: " + fair.images.back() +
                      "\n  binary: checkout@1.8.3\n"
                      "  args: [--port=8080, --config=/etc/app/config.yaml]\n"
                      "  volumes: [{name: settings, type: configMap, mountPath: /etc/app}]\n"
                      "  readiness: {tcp: {port: 8080}}\n";
    fair.registries.push_back(std::move(registry));
  }
  return fair;
}

/// Like kubelet when the registry answers.
Result<> runContainer(const Shop& shop, const Pod& pod, const std::string& image) {
  const auto pulled = shop.kubelet->pullImage(image);
  if (!pulled.ok()) return fail(Stage::containerd, Reason::unavailable, "pull " + image + ": " + pulled.text);
  auto spec = shop.containerSpec();
  spec.image = image;
  FB_TRY(const auto id, shop.kubelet->createContainer(pod, spec));
  return shop.kubelet->startContainer(id);
}

Result<json::object> halfOfThirty(std::string& why) {
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  FB_TRY(const auto fair, openRegistries(*shop->node));
  auto options = shop->daemonOptions("unused");
  options.workloads = fair.workloads;
  shop->daemon->kill();
  FB_CHECK(shop->daemon->rewriteConfig(options));
  FB_CHECK(shop->daemon->restart());
  std::vector<PodSpec> specs;
  std::multiset<std::string> stuck;
  for (int i = 0; i < kPodsOfANode; ++i) {
    specs.push_back(checkoutPod(podName(i)));
    specs.back().labels = {{"app", "stall-" + std::to_string(i % kRegistries)}};
    if (i % 2 != 0) stuck.insert(podName(i));
  }
  const Stopwatch watch;
  const auto asKubelet = [&](const Pod& pod) -> Result<> {
    if (stuck.contains(pod.spec.name)) return {};
    const auto label = pod.spec.labels.at("app");
    return runContainer(*shop, pod, fair.images.at(std::stoul(label.substr(label.find('-') + 1))));
  };
  FB_TRY(const auto pods, startPods(*shop->kubelet, specs, asKubelet));
  FB_TRY(const auto millis, awaitAll(pods, watch));
  FB_TRY(const auto usage, usageOf(shop->daemon->pid()));
  FB_TRY(const auto metrics, shop->daemon->metrics());
  FB_TRY(const auto names, recoveredPods(*shop->daemon));
  const std::multiset<std::string> recovered(names.begin(), names.end());
  std::printf("\n  110 pods started four at a time, 30 registries, 15 of them down\n");
  printFigure("pods behind a registry that is down", static_cast<double>(stuck.size()), "");
  printFigure("recoveries", static_cast<double>(recovered.size()), "");
  printFigure("first pod's start to the last pod serving", percentile(millis, 100), "ms");
  auto result = reportUsage(usage, sumOf(metrics, "fallbackd_probe_pulls_total"));
  result["stuck"] = stuck.size();
  result["recovered"] = recovered.size();
  result["lastMs"] = percentile(millis, 100);
  if (recovered != stuck) why = "thirty registries: the wrong pods were recovered";
  FB_CHECK(removePods(*shop->kubelet, pods));
  return result;
}

/// How many calls containerd has received, by its own counters.
Result<Metrics> callsToContainerd() {
  FB_TRY(const auto answer, httpGet("127.0.0.1", kContainerdMetrics, "/v1/metrics"));
  return parseMetrics(answer.body);
}

json::object reportCalls(const Metrics& before, const Metrics& after) {
  const double minutes = std::chrono::duration<double, std::ratio<60>>(kIdle).count();
  json::object calls;
  double sum = 0;
  for (const auto& [name, value] : after) {
    const auto known = before.find(name);
    const double perMinute = (value - (known == before.end() ? 0 : known->second)) / minutes;
    if (!name.starts_with("grpc_server_started_total") || perMinute == 0) continue;
    const std::string_view label = "grpc_method=\"";
    const auto at = name.find(label) + label.size();
    const auto method = name.substr(at, name.find('"', at) - at);
    printFigure("calls of " + method, perMinute, "a minute");
    calls[method] = perMinute;
    sum += perMinute;
  }
  printFigure("calls to containerd in total", sum, "a minute");
  return {{"callsAMinute", sum}, {"calls", std::move(calls)}};
}

Result<json::object> idle(std::string& why) {
  ShopOptions shopOptions;
  shopOptions.node.metricsPort = kContainerdMetrics;
  FB_TRY(const auto shop, Shop::open(shopOptions));
  FB_CHECK(shop->registry.start());
  FB_TRY(const auto image, shop->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  std::vector<PodSpec> specs;
  for (int i = 0; i < kPodsOfANode; ++i) specs.push_back(checkoutPod(podName(i)));
  const auto asKubelet = [&](const Pod& pod) { return runContainer(*shop, pod, image); };
  FB_TRY(const auto pods, startPods(*shop->kubelet, specs, asKubelet));
  FB_CHECK(awaitAll(pods, {}));
  FB_TRY(const auto before, usageOf(shop->daemon->pid()));
  FB_TRY(const auto callsBefore, callsToContainerd());
  std::this_thread::sleep_for(kIdle);  // measures that nothing happens
  FB_TRY(const auto after, usageOf(shop->daemon->pid()));
  FB_TRY(const auto callsAfter, callsToContainerd());
  FB_TRY(const auto recovered, recoveredPods(*shop->daemon));
  std::printf("\n  110 healthy pods, five minutes\n");
  printFigure("CPU of daemon and spawner", after.cpuSeconds - before.cpuSeconds, "s");
  printFigure("their memory, resident", after.residentMiB, "MiB");
  auto result = reportCalls(callsBefore, callsAfter);
  result["cpuSeconds"] = after.cpuSeconds - before.cpuSeconds;
  result["residentMiB"] = after.residentMiB;
  if (!recovered.empty()) why = "idle: a healthy pod got a fallback";
  FB_CHECK(removePods(*shop->kubelet, pods));
  return result;
}

int bench() {
  return concludeParts(
      "scale", {{"oneRegistry", &oneDeadRegistry}, {"thirtyRegistries", &halfOfThirty}, {"idle", &idle}});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
