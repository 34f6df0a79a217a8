// SPDX-License-Identifier: Apache-2.0
#include "detection.hpp"

#include "mirrors.hpp"
#include "run_dir.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

namespace fallbackd::e2e {

namespace json = boost::json;

namespace {

/// What /status shows about a pod.
struct Seen {
  std::string cause;  // empty while undecided
  bool recovered = false;
  double verdictMs = -1;  // from the probe pull to the verdict
};

Seen seen(const Daemon& daemon, const std::string& pod) {
  const auto answer = httpGet("127.0.0.1", daemon.telemetryPort(), "/status");
  if (!answer || answer->status != 200) return {};
  const auto root = json::parse(answer->body);
  const auto millis = [](const json::value& item) {
    const auto* took = item.as_object().if_contains("verdictMs");
    return took == nullptr ? -1 : took->to_number<double>();
  };
  for (const auto& item : root.at("recoveries").as_array()) {
    if (item.at("pod").as_string() != pod) continue;
    return {std::string(item.at("cause").as_string()), true, millis(item)};
  }
  for (const auto& item : root.at("waiting").as_array()) {
    if (item.at("pod").as_string() != pod) continue;
    if (item.at("state").as_string() == "image present") return {"pulled", false, millis(item)};
    if (const auto* cause = item.as_object().if_contains("cause")) {
      return {std::string(cause->as_string()), false, millis(item)};
    }
  }
  return {};
}

/// The folder for the figures of scripts/report detection; null in a test run.
const char* reportFolder() {
  return std::getenv("DETECTION_JSON");
}

/// The lines of the daemon's log about a row.
std::string linesOf(const Daemon& daemon, const std::string& label) {
  std::istringstream log(daemon.logText());
  std::string lines;
  for (std::string line; std::getline(log, line);) {
    if (line.find("workload=" + label + " ") != std::string::npos) lines += line + "\n";
  }
  return lines;
}

std::filesystem::path caFile(const Certificate& certificate) {
  auto file = makeRunDir("ca") / "ca.pem";
  std::ofstream(file) << certificate.text;
  return file;
}

}  // namespace

RegistryFault withStatus(unsigned status, std::string challenge) {
  RegistryFault fault;
  fault.status = status;
  fault.challenge = std::move(challenge);
  return fault;
}

RegistryFault withToken(unsigned status) {
  RegistryFault fault;
  fault.tokenStatus = status;
  return fault;
}

Certificate certificate(std::chrono::hours end) {
  return makeCertificate(std::chrono::system_clock::now() + end).value_or(Certificate{});
}

bool reports() {
  return std::getenv("DETECTION_JSON") != nullptr;  // NOLINT(concurrency-mt-unsafe)
}

void Detection::open(NodeOptions node) {
  ShopOptions options;
  options.reprobeInterval = "5s";
  options.node = std::move(node);
  if (GetParam() != "installed") {
    options.node.binDir = std::filesystem::path(FALLBACKD_CONTAINERDS) / GetParam();
    if (!std::filesystem::exists(*options.node.binDir / "containerd")) {
      GTEST_SKIP() << "scripts/fetch-suites has not fetched the containerd of " << GetParam();
    }
  }
  E2E_TRY(shop_, Shop::open(options));
  // Packets to 192.0.2.0/24 go to an interface that drops them.
  for (const auto* command :
       {"ip link add hole type veth peer name ground", "ip address add 192.0.2.254/24 dev hole",
        "ip link set ground up", "ip link set hole up arp off"}) {
    E2E_CHECK(runOk({.argv = {"sh", "-c", command}, .env = {}, .output = {}}));
  }
}

Expected Detection::expected(const Row& row) const {
  const auto& shown = shop_->node->version().starts_with("1.") ? row.what.on1 : row.what.on2;
  return shown.value_or(Expected{row.what.expected, row.what.recovered});
}

void Detection::addRow(Case what, const std::string& kind) {
  Row row;
  row.label = "case-" + std::to_string(rows_.size());
  // Each row has its own layer: containerd does not request a layer that it already has.
  Image image{.reference = "shop/checkout:1",
              .files = {{"bin/" + row.label, testProgram("shop-httpd-1.8.3")}},
              .entrypoint = {"/bin/" + row.label},
              .env = {}};
  if (what.ballast > 0) {
    const auto file = makeRunDir("ballast") / "file";
    std::ofstream(file) << std::string(what.ballast, 'x');
    image.files["ballast"] = file;
  }
  E2E_TRY(row.registry, FaultRegistry::start(image, what.fault, what.certificate));
  row.kind = kind;
  row.what = std::move(what);
  if (row.what.image.empty()) {
    const auto host = row.what.host.empty() ? row.registry->address() : row.what.host;
    if (row.what.host.empty() && row.what.hosts.empty()) E2E_CHECK(speak(row.what, host));
    row.image = host + "/" + row.label + (row.kind == "tag" ? ":1.8.3" : "@" + row.registry->digest());
  } else {
    row.image = row.what.image;
    if (const auto at = row.image.find("ROW"); at != std::string::npos) row.image.replace(at, 3, row.label);
  }
  if (!row.what.hosts.empty()) E2E_CHECK(setUpHosts(row));
  rows_.push_back(std::move(row));
}

Result<> Detection::setUpHosts(const Row& row) const {
  auto urls = row.what.hosts;
  std::replace(urls.begin(), urls.end(), std::string(), "http://" + row.registry->address());
  const auto ca = row.what.trusts ? caFile(*row.what.trusts) : std::filesystem::path();
  return setHosts(*shop_->node, row.image.substr(0, row.image.find('/')), urls, ca);
}

Result<> Detection::speak(const Case& what, const std::string& host) const {
  if (what.speech == Speech::http) return shop_->node->speak("http", host);
  if (what.speech == Speech::https) return shop_->node->speak("https", host);
  return shop_->node->speak("https", host, caFile(*what.certificate));
}

void Detection::judgeAll() {
  ASSERT_NO_FATAL_FAILURE(configure());
  printHead();
  auto& slowest = rows_.front();
  ASSERT_NO_FATAL_FAILURE(startPod(slowest));
  for (auto& row : rows_) {
    if (&row == &slowest) continue;
    ASSERT_NO_FATAL_FAILURE(startPod(row));
    if (row.what.expected == "none") continue;
    judge(row);
    if (expected(row).recovered) E2E_CHECK(shop_->kubelet->removePod(*row.pod));
  }
  judge(slowest);
  for (const auto& row : rows_) {
    if (row.what.expected == "none") judge(row);
  }
  judgeAgain();
}

void Detection::configure() {
  auto options = shop_->daemonOptions("unused");
  // Images that can be pulled get no containers here while pulls of other rows hang. That would be
  // not_started, which a different test covers. The default stallTimeout is one second: on a busy machine
  // containerd may need longer to open a connection.
  const auto* const stall = reportFolder() == nullptr ? ", stallTimeout: 5s" : "";
  options.extra =
      "detection: {reprobeInterval: " + shop_->options.reprobeInterval + ", startTimeout: 1h" + stall + "}\n";
  options.workloads.clear();
  for (const auto& row : rows_) {
    options.workloads += "- name: " + row.label + "\n  match: {namespace: shop, labels: {app: " + row.label +
                         "}, container: checkout}\n  image: " + row.image +
                         "\n  binary: checkout@1.8.3\n"
                         "  args: [--port=8080, --config=/etc/app/config.yaml]\n"
                         "  volumes: [{name: settings, type: configMap, mountPath: /etc/app}]\n"
                         "  readiness: {tcp: {port: 8080}}\n" +
                         row.what.workload;
  }
  E2E_CHECK(shop_->daemon->rewriteConfig(options));
  ASSERT_TRUE(waitUntil(kDetectionCeiling, [&] {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    return answer && answer->body.find(rows_.back().image) != std::string::npos;
  })) << shop_->daemon->logText();
}

void Detection::startPod(Row& row) {
  auto spec = checkoutPod("pod-" + row.label);
  if (row.what.changes) row.what.changes(spec);
  spec.labels["app"] = row.label;
  E2E_TRY(row.pod, shop_->kubelet->startPod(spec));
}

void Detection::judge(const Row& row) {
  const auto wanted = expected(row);
  Seen got;
  if (wanted.cause == "none") {
    // Rows before this one were decided in the meantime.
    got = seen(*shop_->daemon, row.pod->spec.name);
    if (got.cause.empty()) got.cause = "none";
  } else {
    waitUntil(kDetectionCeiling, [&] {
      got = seen(*shop_->daemon, row.pod->spec.name);
      return !got.cause.empty();
    });
  }
  const bool right = got.cause == wanted.cause && got.recovered == wanted.recovered;
  EXPECT_TRUE(right) << row.what.name << " by " << row.kind << "; the daemon logged:\n"
                     << linesOf(*shop_->daemon, row.label);
  const bool hidden = wanted.cause != row.what.expected;
  std::printf("  %-40s %-7s %-13s %-13s %-9s %9.1f  %s%s\n", row.what.name.c_str(), row.kind.c_str(),
              wanted.cause.c_str(), got.cause.c_str(), got.recovered ? "fallback" : "nothing", got.verdictMs,
              right ? "ok" : "WRONG", hidden ? (", containerd hides " + row.what.expected).c_str() : "");
  table_.push_back(json::object{{"case", row.what.name},
                                {"reference", row.kind},
                                {"expected", wanted.cause},
                                {"hidden", hidden ? row.what.expected : ""},
                                {"seen", got.cause},
                                {"fallback", got.recovered},
                                {"ms", got.verdictMs},
                                {"limitMs", row.what.limitMs},
                                {"ok", right}});
}

void Detection::judgeAgain() {
  std::set<std::string> failing;
  std::ptrdiff_t waiting = 0;
  for (const auto& row : rows_) {
    const auto wanted = expected(row);
    if (wanted.recovered || wanted.cause == "pulled" || wanted.cause == "none") continue;
    failing.insert(wanted.cause);
    ++waiting;
  }
  const auto probes = [&] {
    double sum = 0;
    const auto metrics = shop_->daemon->metrics();
    for (const auto& cause : failing) {
      if (metrics) sum += sumOf(*metrics, "fallbackd_probe_pulls_total", "\"" + cause + "\"");
    }
    return sum;
  };
  const double before = probes();
  EXPECT_TRUE(
      waitUntil(kDetectionCeiling, [&] { return probes() >= before + static_cast<double>(waiting); }));
  for (const auto& row : rows_) {
    if (expected(row).recovered) continue;
    EXPECT_FALSE(seen(*shop_->daemon, row.pod->spec.name).recovered)
        << row.what.name << " by " << row.kind << "; the daemon logged:\n"
        << linesOf(*shop_->daemon, row.label);
    EXPECT_FALSE(accepts(row.pod->ip, Shop::kPort)) << row.what.name;
  }
}

void Detection::write(const std::string& part) const {
  const char* const folder = reportFolder();
  if (folder == nullptr) return;
  std::ofstream(std::filesystem::path(folder) / (GetParam() + part + ".json"))
      << json::serialize(json::object{{"containerd", shop_->node->version()}, {"rows", table_}}) << "\n";
}

void Detection::printHead() const {
  std::printf("  containerd %s\n  %-40s %-7s %-13s %-13s %-9s %9s\n", shop_->node->version().c_str(),
              "registry", "image", "expected", "seen", "started", "ms");
}

}  // namespace fallbackd::e2e
