// SPDX-License-Identifier: Apache-2.0
// What it costs to know the pods. First: recoveries of annotated pods, with their specification as the whole
// configuration, while the API server answers, hangs and is absent: interleaved in one run, and equal within
// noise. The servers are threads of this program with the lowest priority: in reality they are on other
// machines, and here they would take the daemon's processor time. Second: a node of 250 pods whose states
// change all the time: CPU and memory of a daemon that follows them, compared with a daemon without sources.
#include "fake_cri.hpp"
#include "figures.hpp"
#include "fleet.hpp"
#include "isolate.hpp"
#include "kube/fake_api_server.hpp"
#include "kube/fake_kubelet.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "task_starts.hpp"
#include "wait.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <thread>
#include <unistd.h>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace json = boost::json;
using kube_test::Fault;

constexpr auto kCeiling = 60s;
constexpr int kRounds = 20;
constexpr int kInARow = 2;  // recoveries of one mode before the next mode's turn
// After a recovery the daemon sends the requests that could wait. The next recovery is measured after these.
constexpr auto kPace = 1s;

constexpr int kPods = 250;
constexpr auto kChurn = 30s;
constexpr int kChangesASecond = 25;  // each pod's status every ten seconds
constexpr double kNodes = 5000;

std::string hostName() {
  std::array<char, 256> name{};
  static_cast<void>(::gethostname(name.data(), name.size() - 1));
  return name.data();
}

/// An API server and a kubelet, and a kubeconfig that points to them.
struct Cluster {
  std::filesystem::path folder = makeRunDir("kube");
  kube_test::Authority authority{"cluster"};
  kube_test::Leaf own = kube_test::Authority::selfSigned("DNS:node");
  kube_test::FakeApiServer api{authority.server("IP:127.0.0.1")};
  kube_test::FakeKubelet kubelet{own};

  Cluster() {
    api.acceptTokens({"secret-1"});
    kubelet.acceptTokens({"secret-1"});
    api.takeIdleProcessorsOnly();
    kubelet.takeIdleProcessorsOnly();
    write("token", "secret-1");
    write("ca.crt", authority.certificate());
    write("kubelet.crt", own.certificate);
    leadTo(api.address());
  }
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder / name) << text; }
  void leadTo(const std::string& address) const {
    write("kubeconfig",
          "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
          "clusters: [{name: k, cluster: {server: 'https://" +
              address +
              "', certificate-authority: ca.crt}}]\nusers: [{name: u, user: {tokenFile: token}}]\n");
  }
  [[nodiscard]] std::string configuration() const {
    return "kubernetes:\n  sources: [kubelet, apiserver]\n  kubeconfig: " + folder.string() +
           "/kubeconfig\n  kubeletAddress: " + kubelet.address() +
           "\n  kubeletCertificate: " + folder.string() + "/kubelet.crt\n  viewFile: " + folder.string() +
           "/pods.view\n";
  }
};

/// The state of the API server as a source, and the number of known pods.
std::pair<std::string, int> seenBy(const Daemon& daemon) {
  const auto answer = httpGet("127.0.0.1", daemon.telemetryPort(), "/status");
  if (!answer || answer->status != 200) return {};
  const auto status = json::parse(answer->body);
  const auto& known = status.at("kubernetes");
  for (const auto& source : known.at("sources").as_array()) {
    if (source.at("name").as_string() == "apiserver")
      return {std::string(source.at("state").as_string()), known.at("pods").to_number<int>()};
  }
  return {};
}

json::object described(const PodSpec& spec, const std::string& image) {
  json::object labels;
  json::object annotations;
  for (const auto& [key, value] : spec.labels) labels[key] = value;
  for (const auto& [key, value] : spec.annotations) annotations[key] = value;
  json::object metadata{{"name", spec.name}, {"namespace", spec.namespaceName}, {"uid", spec.uid}};
  metadata["labels"] = std::move(labels);
  metadata["annotations"] = std::move(annotations);
  return {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata", std::move(metadata)},
      {"spec",
       json::object{
           {"nodeName", hostName()},
           {"enableServiceLinks", false},
           {"volumes", json::array{json::object{{"name", "settings"},
                                                {"configMap", json::object{{"name", "settings"}}}}}},
           {"containers",
            json::array{json::object{
                {"name", "checkout"},
                {"image", image},
                {"args", json::array{"--port=8080", "--config=/etc/app/config.yaml"}},
                {"ports", json::array{json::object{{"containerPort", 8080}}}},
                {"volumeMounts", json::array{json::object{{"name", "settings"}, {"mountPath", "/etc/app"}}}},
                {"readinessProbe", json::object{{"tcpSocket", json::object{{"port", 8080}}}}}}}}}},
      {"status", json::object{{"phase", "Pending"}}}};
}

enum class Mode : std::uint8_t { answering, hanging, absent };
constexpr std::array kModes{Mode::answering, Mode::hanging, Mode::absent};
constexpr std::array kModeNames{"API server and kubelet answer", "both hang", "both are absent"};

Result<> become(Mode mode, Cluster& cluster, const DeadPort& dead, const Daemon& daemon) {
  cluster.leadTo(mode == Mode::absent ? dead.address() : cluster.api.address());
  if (mode == Mode::hanging) {
    cluster.api.trouble({Fault::silent_accept});
    cluster.kubelet.trouble({Fault::silent_accept});
  } else if (mode == Mode::absent) {
    cluster.kubelet.trouble({Fault::cut_before_answer});
  } else {
    cluster.api.heal();
    cluster.kubelet.heal();
  }
  if (mode != Mode::answering) cluster.api.endWatches(kube_test::FakeApiServer::End::cut);
  const auto* const wanted = mode == Mode::answering ? "up" : "failing";
  if (waitUntil(kCeiling, [&] { return seenBy(daemon).first == wanted; })) return {};
  return fail(Stage::kube, Reason::timeout, "the source did not become " + std::string(wanted));
}

/// The rule is "equal within noise". Judges each pair, for each percentile.
json::array judge(const std::array<Series, kModes.size()>& series, std::string& why) {
  std::printf("\n  equal within noise: the difference, and where 95 %% of resampled differences lie\n");
  json::array rows;
  for (const double p : {50.0, 99.0}) {
    double noise = 0;
    for (const auto& one : series) noise = std::max(noise, noiseOf(one, p));
    for (std::size_t i = 0; i < series.size(); ++i) {
      for (std::size_t j = i + 1; j < series.size(); ++j) {
        const auto one = difference(series.at(i), series.at(j), p);
        const bool equal = one.isWithin(noise);
        const auto pair = series.at(j).name + " / " + series.at(i).name;
        std::printf("  P%.0f %-54s %+8.1f [%+.1f, %+.1f] noise %.1f: %s\n", p, pair.c_str(), one.millis,
                    one.low, one.high, noise, equal ? "equal" : "NOT EQUAL");
        if (!equal) why = "P" + std::to_string(static_cast<int>(p)) + " differs: " + pair;
        rows.push_back(json::object{{"percentile", p},
                                    {"pair", pair},
                                    {"differenceMs", one.millis},
                                    {"lowMs", one.low},
                                    {"highMs", one.high},
                                    {"noiseMs", noise},
                                    {"equal", equal}});
      }
    }
  }
  std::printf(
      "  rule: equal if zero lies between the two, or the difference is at most the noise, which is the\n"
      "  largest difference between even and odd samples of one row. One recovery at a time, %lld s apart.\n"
      "  The servers run with the lowest priority, since on another machine they would take no processor.\n",
      static_cast<long long>(kPace.count()));
  return rows;
}

Result<json::object> recoveries(std::string& why) {
  Cluster cluster;
  FB_TRY(const auto dead, DeadPort::make());
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  auto options = shop->daemonOptions(shop->image());
  options.workloads.clear();
  options.extra += cluster.configuration() + "podAnnotations: {namespaces: [shop]}\n";
  FB_CHECK(shop->daemon->rewriteConfig(options));
  FB_CHECK(shop->daemon->stop());
  std::vector<PodSpec> specs;
  std::vector<std::string> pods;
  for (int i = 0; i < kRounds * kInARow * static_cast<int>(kModes.size()); ++i) {
    specs.push_back(checkoutPod("web-" + std::to_string(i)));
    specs.back().uid = makeUid();
    specs.back().annotations["fallbackd.io/binary.checkout"] = "checkout@1.8.3";
    pods.push_back(json::serialize(described(specs.back(), shop->image())));
    cluster.api.put(pods.back());
  }
  cluster.kubelet.setPods(pods);
  FB_CHECK(shop->daemon->restart());
  TaskStarts starts(shop->node->socket());
  std::array<Series, kModes.size()> series;
  for (std::size_t i = 0; i < kModes.size(); ++i) series.at(i).name = kModeNames.at(i);
  std::size_t next = 0;
  for (std::size_t round = 0; round < kRounds; ++round) {
    for (std::size_t turn = 0; turn < kModes.size(); ++turn) {
      const auto mode = (round + turn) % kModes.size();  // no mode is always the first
      FB_CHECK(become(kModes.at(mode), cluster, dead, *shop->daemon));
      for (int i = 0; i < kInARow; ++i) {
        FB_TRY(const auto pod, shop->kubelet->startPod(specs.at(next++)));
        if (!waitUntil(kCeiling, [&] { return accepts(pod.ip, Shop::kPort); }))
          return fail(Stage::readiness, Reason::timeout, "pod " + pod.spec.name + " was not recovered");
        const auto accepted = Wall::now();
        const auto started = starts.of(pod.sandboxId);
        if (!started) return fail(Stage::containerd, Reason::timeout, "no /tasks/start for " + pod.sandboxId);
        // The very first recovery is a warm-up.
        if (next > 1)
          series.at(mode).millis.push_back(
              std::chrono::duration<double, std::milli>(accepted - *started).count());
        FB_CHECK(shop->kubelet->removePod(pod));
        std::this_thread::sleep_for(kPace);  // sets the pace
      }
    }
  }
  printHead("sandbox /tasks/start to accepted connection, interleaved, ms");
  json::array rows;
  for (const auto& one : series) rows.push_back(report(one));
  auto differences = judge(series, why);
  return json::object{{"series", std::move(rows)}, {"differences", std::move(differences)}};
}

/// About as large as the pods of clusters, with what the API server and controllers add.
std::string largePod(const PodSpec& spec, int change) {
  auto pod = described(spec, "registry.example.com/shop/checkout:1.8.3");
  auto& fields = pod["metadata"].as_object()["managedFields"];
  fields = json::array{
      json::object{{"manager", "kubelet"}, {"fieldsV1", json::object{{"f:status", std::string(4000, 'f')}}}}};
  auto& container = pod["spec"].as_object()["containers"].as_array().at(0).as_object();
  auto& env = container["env"];
  env = json::array();
  for (int i = 0; i < 20; ++i) {
    env.as_array().push_back(
        json::object{{"name", "SETTING_" + std::to_string(i)}, {"value", std::string(60, 'v')}});
  }
  pod["status"] =
      json::object{{"phase", "Running"},
                   {"conditions", json::array{json::object{{"type", "Ready"},
                                                           {"status", change % 2 == 0 ? "True" : "False"},
                                                           {"message", std::to_string(change)}}}}};
  return json::serialize(pod);
}

struct Cost {
  Usage before;
  Usage after;
  [[nodiscard]] double cpuPercent() const {
    return (after.cpuSeconds - before.cpuSeconds) / std::chrono::duration<double>(kChurn).count() * 100;
  }
};

Result<json::object> crowd(std::string& why) {
  Cluster cluster;
  const auto folder = makeRunDir("crowd");
  FB_TRY(const auto signer, Signer::make());
  FB_CHECK(signer.install(testProgram("shop-httpd-1.8.3"), "checkout", "1.8.3"));
  FB_TRY(const auto cri, FakeCri::start(folder / "c.sock", [](const std::string&) { return FakePull{}; }));
  std::vector<PodSpec> specs;
  std::size_t bytes = 0;
  for (int i = 0; i < kPods; ++i) {
    auto spec = checkoutPod("web-" + std::to_string(i));
    spec.uid = makeUid();
    const auto pod = largePod(spec, 0);
    bytes += pod.size();
    cluster.api.put(pod);
    cri->add({"sandbox-" + spec.uid,
              spec.name,
              spec.namespaceName,
              spec.uid,
              spec.labels,
              {},
              "192.0.2.2",
              R"({"pid": 4194303, "config": {"linux": {"cgroup_parent": "/kubepods/none"}}})"});
    specs.push_back(std::move(spec));
  }
  const auto start = [&](const std::string& more) {
    DaemonOptions options;
    options.containerdSocket = folder / "c.sock";
    options.cacheDir = signer.cacheDir();
    options.keysDir = signer.keysDir();
    options.kubeletPods = folder / "pods";
    options.extra = more;
    return Daemon::start(options);
  };
  // One after the other: the node belongs to one daemon.
  const auto measure = [&](const std::string& more, bool follows) -> Result<Cost> {
    FB_TRY(const auto daemon, start(more));
    if (follows &&
        !waitUntil(kCeiling, [&] { return seenBy(*daemon) == std::pair(std::string("up"), kPods); }))
      return fail(Stage::kube, Reason::timeout, "the pods did not become known");
    Cost cost;
    FB_TRY(cost.before, usageOf(daemon->pid()));
    const Stopwatch watch;
    int change = 0;
    while (watch.elapsed() < kChurn) {
      ++change;
      cluster.api.put(largePod(specs.at(static_cast<std::size_t>(change) % specs.size()), change));
      std::this_thread::sleep_for(std::chrono::seconds(1) / kChangesASecond);  // sets the pace
    }
    FB_TRY(cost.after, usageOf(daemon->pid()));
    FB_CHECK(daemon->stop());
    return cost;
  };
  FB_TRY(const auto without, measure("", false));
  const auto earlier = cluster.api.requests().size();
  FB_TRY(const auto with, measure(cluster.configuration(), true));
  auto requests = cluster.api.requests();
  requests.erase(requests.begin(), requests.begin() + static_cast<std::ptrdiff_t>(earlier));
  double lists = 0;
  double watches = 0;
  double seconds = 0;
  for (const auto& one : requests) {
    const auto length = one.query.find("timeoutSeconds");
    ++(length == one.query.end() ? lists : watches);
    if (length != one.query.end()) seconds += std::stod(length->second);
  }
  const double watchSeconds = watches > 0 ? seconds / watches : 0;
  const double perMinute = watchSeconds > 0 ? kNodes * 60 / watchSeconds : 0;
  std::printf("\n  %d pods (%.1f KiB each), %d changes of a status a second, %.0f s\n", kPods,
              static_cast<double>(bytes) / kPods / 1024, kChangesASecond,
              std::chrono::duration<double>(kChurn).count());
  std::printf("  %-46s %12s %12s\n", "", "no sources", "API server");
  const auto row = [](const char* name, double left, double right) {
    std::printf("  %-46s %12.1f %12.1f\n", name, left, right);
  };
  row("CPU of daemon and spawner, % of one", without.cpuPercent(), with.cpuPercent());
  row("memory, resident, MiB", without.after.residentMiB, with.after.residentMiB);
  row("memory, peak, MiB", without.after.peakMiB, with.after.peakMiB);
  printFigure("lists at the start of a daemon", lists, "");
  printFigure("watches in this time", watches, "");
  printFigure("a watch lasts", watchSeconds, "s on average, as requested");
  printFigure("requests of 5,000 nodes in a quiet minute", perMinute,
              "(calculated: one watch for each that ended)");
  constexpr double kMaxMoreMiB = 32;
  constexpr double kMaxMorePercent = 5;
  if (with.after.residentMiB - without.after.residentMiB > kMaxMoreMiB)
    why = "250 pods cost more than 32 MiB";
  if (with.cpuPercent() - without.cpuPercent() > kMaxMorePercent)
    why = "250 pods cost more than 5 % of a CPU";
  if (lists != 1) why = "a quiet start needs " + std::to_string(static_cast<int>(lists)) + " lists";
  return json::object{{"pods", kPods},
                      {"changesASecond", kChangesASecond},
                      {"cpuPercentWithout", without.cpuPercent()},
                      {"cpuPercentWith", with.cpuPercent()},
                      {"residentMiBWithout", without.after.residentMiB},
                      {"residentMiBWith", with.after.residentMiB},
                      {"lists", lists},
                      {"watches", watches},
                      {"watchSeconds", watchSeconds},
                      {"requestsAMinuteOf5000Nodes", perMinute}};
}

int bench() {
  return concludeParts("knows", {{"recoveries", &recoveries}, {"crowd", &crowd}});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
