// SPDX-License-Identifier: Apache-2.0
// Which failures of a pull start a fallback, on the real containerd: every cause that a registry can give, by
// tag and by digest, as a table in the test's output.
#include "e2e_gtest.hpp"
#include "fault_registry.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

// Separates working from broken.
constexpr auto kCeiling = 60s;

// The default of detection.stallTimeout; a verdict may come this much later than promised.
constexpr double kStallTimeoutMs = 1000;
constexpr double kPromptMs = 100;

/// How containerd is told to speak to the registry.
enum class Speech { http, https, trusted };

/// What is done to a pull, and what fallbackd has to make of it.
struct Case {
  std::string name;
  Fault fault = {};
  std::string expected;  // the cause, or "pulled"
  bool recovered = false;
  std::string host = {};  // an address without a registry of ours behind it
  Speech speech = Speech::http;
  std::optional<Certificate> certificate = {};
  double limitMs = kPromptMs;  // until the verdict; 0: nothing is promised
  std::size_t ballast = 0;     // so many bytes more in the layer
};

Fault withStatus(unsigned status, std::string challenge = {}) {
  Fault fault;
  fault.status = status;
  fault.challenge = std::move(challenge);
  return fault;
}

Fault withToken(unsigned status) {
  Fault fault;
  fault.tokenStatus = status;
  return fault;
}

Certificate certificate(std::chrono::hours end) {
  return makeCertificate(std::chrono::system_clock::now() + end).value_or(Certificate{});
}

std::vector<Case> outages(const std::string& deadHost) {
  constexpr double kStall = kStallTimeoutMs + kPromptMs;
  return {
      {.name = "nobody listens", .expected = "unreachable", .recovered = true, .host = deadHost},
      {.name = "name not known", .expected = "dns", .recovered = true, .host = "registry.invalid:5000"},
      {.name = "packets vanish",
       .expected = "timeout",
       .recovered = true,
       .host = "192.0.2.1:5000",
       .limitMs = kStall},
      {.name = "connection reset", .fault = {.reset = true}, .expected = "unreachable", .recovered = true},
      {.name = "accepts, stays silent",
       .fault = {.silent = true},
       .expected = "timeout",
       .recovered = true,
       .limitMs = kStall},
      {.name = "layer stalls midway",
       .fault = {.stallAfter = 100'000},
       .expected = "timeout",
       .recovered = true,
       .limitMs = kStall + kStallTimeoutMs / 2},
      {.name = "429", .fault = withStatus(429), .expected = "rate_limited", .recovered = true},
      {.name = "500", .fault = withStatus(500), .expected = "server_error", .recovered = true},
      {.name = "502", .fault = withStatus(502), .expected = "server_error", .recovered = true},
      {.name = "503", .fault = withStatus(503), .expected = "server_error", .recovered = true},
      {.name = "504", .fault = withStatus(504), .expected = "server_error", .recovered = true},
      {.name = "token: nobody listens",
       .fault = {.tokenRefused = true},
       .expected = "unreachable",
       .recovered = true},
      {.name = "token: 500", .fault = withToken(500), .expected = "server_error", .recovered = true},
  };
}

std::vector<Case> noOutages() {
  return {
      {.name = "no TLS", .fault = {.garbage = true}, .expected = "tls", .speech = Speech::https},
      {.name = "certificate not trusted",
       .expected = "tls",
       .speech = Speech::https,
       .certificate = certificate(1h)},
      {.name = "certificate expired",
       .expected = "tls",
       .speech = Speech::trusted,
       .certificate = certificate(-24h)},
      {.name = "no HTTP", .fault = {.garbage = true}, .expected = "unknown"},
      {.name = "401", .fault = withStatus(401), .expected = "unauthorized"},
      {.name = "401, wants a password",
       .fault = withStatus(401, "Basic realm=\"shop\""),
       .expected = "unauthorized"},
      {.name = "403", .fault = withStatus(403), .expected = "unauthorized"},
      {.name = "404", .fault = withStatus(404), .expected = "not_found"},
      {.name = "token: 401", .fault = withToken(401), .expected = "unauthorized"},
      {.name = "token: 403", .fault = withToken(403), .expected = "unauthorized"},
      {.name = "layer of wrong bytes", .fault = {.wrongBytes = true}, .expected = "unknown", .limitMs = 0},
      {.name = "answers after 900 ms", .fault = {.delay = 900ms}, .expected = "pulled", .limitMs = 0},
      {.name = "slow: 200 KB/s", .fault = {.bytesPerSecond = 200'000}, .expected = "pulled", .limitMs = 0},
      {.name = "good, over TLS",
       .expected = "pulled",
       .speech = Speech::trusted,
       .certificate = certificate(1h),
       .limitMs = 0},
  };
}

/// Runs beside all the others.
Case crawling() {
  return {.name = "slow: 50 KB/s for a minute",
          .fault = {.bytesPerSecond = 50'000},
          .expected = "pulled",
          .limitMs = 0,
          // The program itself is the rest of 3 MB.
          .ballast = 2'000'000};
}

/// A pod of one case and the reference that its workload has.
struct Row {
  Case what;
  std::string kind;  // "tag" or "digest"
  std::string label;
  std::string image;
  std::unique_ptr<FaultRegistry> registry;
  std::optional<Pod> pod = {};  // where it runs
};

/// What /status says of a pod.
struct Seen {
  std::string cause;  // "" while nothing is decided
  bool recovered = false;
  double verdictMs = -1;  // from the probe pull to what it says
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

/// By the containerd: "installed", or the suite that scripts/fetch-suites has it from.
class Detection : public testing::TestWithParam<std::string> {
 protected:
  void open(NodeOptions node = {}) {
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
    // Packets to 192.0.2.0/24 go, unasked for, to an interface that takes none of them.
    for (const auto* command :
         {"ip link add hole type veth peer name ground", "ip address add 192.0.2.254/24 dev hole",
          "ip link set ground up", "ip link set hole up arp off"}) {
      E2E_CHECK(runOk({.argv = {"sh", "-c", command}, .env = {}, .output = {}}));
    }
  }

  void addRow(Case what, const std::string& kind) {
    Row row;
    row.label = "case-" + std::to_string(rows_.size());
    // A layer of its own: what containerd has, it does not ask for.
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
    const auto host = what.host.empty() ? row.registry->address() : what.host;
    if (what.host.empty()) E2E_CHECK(speak(what, host));
    row.kind = kind;
    row.image = host + "/" + row.label + (row.kind == "tag" ? ":1.8.3" : "@" + row.registry->digest());
    row.what = std::move(what);
    rows_.push_back(std::move(row));
  }

  [[nodiscard]] Result<> speak(const Case& what, const std::string& host) const {
    if (what.speech == Speech::http) return shop_->node->speak("http", host);
    if (what.speech == Speech::https) return shop_->node->speak("https", host);
    const auto ca = makeRunDir("ca") / "ca.pem";
    std::ofstream(ca) << what.certificate->text;
    return shop_->node->speak("https", host, ca);
  }

  /// One workload a row.
  void configure() {
    auto options = shop_->daemonOptions("unused");
    options.workloads.clear();
    for (const auto& row : rows_) {
      options.workloads += "- name: " + row.label +
                           "\n  match: {namespace: shop, labels: {app: " + row.label +
                           "}, container: checkout}\n  image: " + row.image +
                           "\n  binary: checkout@1.8.3\n"
                           "  args: [--port=8080, --config=/etc/app/config.yaml]\n"
                           "  volumes: [{name: settings, type: configMap, mountPath: /etc/app}]\n"
                           "  readiness: {tcp: {port: 8080}}\n";
    }
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    ASSERT_TRUE(waitUntil(kCeiling, [&] {
      const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
      return answer && answer->body.find(rows_.back().image) != std::string::npos;
    })) << shop_->daemon->logText();
  }

  void startPod(Row& row) {
    auto spec = checkoutPod("pod-" + row.label);
    spec.labels = {{"app", row.label}};
    E2E_TRY(row.pod, shop_->kubelet->startPod(spec));
  }

  /// Waits for what fallbackd makes of it.
  void judge(const Row& row) {
    Seen got;
    waitUntil(kCeiling, [&] {
      got = seen(*shop_->daemon, row.pod->spec.name);
      return !got.cause.empty();
    });
    EXPECT_EQ(got.cause, row.what.expected) << row.what.name << " by " << row.kind;
    EXPECT_EQ(got.recovered, row.what.recovered) << row.what.name << " by " << row.kind;
    const bool right = got.cause == row.what.expected && got.recovered == row.what.recovered;
    std::printf("  %-27s %-7s %-13s %-13s %-9s %9.1f  %s\n", row.what.name.c_str(), row.kind.c_str(),
                row.what.expected.c_str(), got.cause.c_str(), got.recovered ? "fallback" : "nothing",
                got.verdictMs, right ? "ok" : "WRONG");
    table_.push_back(json::object{{"case", row.what.name},
                                  {"reference", row.kind},
                                  {"expected", row.what.expected},
                                  {"seen", got.cause},
                                  {"fallback", got.recovered},
                                  {"ms", got.verdictMs},
                                  {"limitMs", row.what.limitMs},
                                  {"ok", right}});
  }

  /// Those that got no fallback get none either when their registries have been asked again.
  void judgeAgain() {
    std::set<std::string> failing;
    for (const auto& row : rows_) {
      if (!row.what.recovered && row.what.expected != "pulled") failing.insert(row.what.expected);
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
    const auto waiting = std::count_if(rows_.begin(), rows_.end(), [](const auto& row) {
      return !row.what.recovered && row.what.expected != "pulled";
    });
    EXPECT_TRUE(waitUntil(kCeiling, [&] { return probes() >= before + static_cast<double>(waiting); }));
    for (const auto& row : rows_) {
      if (row.what.recovered) continue;
      EXPECT_FALSE(seen(*shop_->daemon, row.pod->spec.name).recovered) << row.what.name;
      EXPECT_FALSE(accepts(row.pod->ip, Shop::kPort)) << row.what.name;
    }
  }

  /// Beside the others of this containerd, for scripts/report.
  void write(const std::string& part) const {
    const char* const folder = std::getenv("DETECTION_JSON");  // NOLINT(concurrency-mt-unsafe)
    if (folder == nullptr) return;
    std::ofstream(std::filesystem::path(folder) / (GetParam() + part + ".json"))
        << json::serialize(json::object{{"containerd", shop_->node->version()}, {"rows", table_}}) << "\n";
  }

  void printHead() const {
    std::printf("  containerd %s\n  %-27s %-7s %-13s %-13s %-9s %9s\n", shop_->node->version().c_str(),
                "registry", "image", "expected", "seen", "started", "ms");
  }

  std::unique_ptr<Shop> shop_;
  std::vector<Row> rows_;
  json::array table_;
};

TEST_P(Detection, EveryCauseByTagAndByDigest) {
  open();
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_NO_FATAL_FAILURE(addRow(crawling(), "tag"));
  for (const auto* kind : {"tag", "digest"}) {
    for (auto& one : outages(shop_->registry.address()))
      ASSERT_NO_FATAL_FAILURE(addRow(std::move(one), kind));
    for (auto& one : noOutages()) ASSERT_NO_FATAL_FAILURE(addRow(std::move(one), kind));
  }
  ASSERT_NO_FATAL_FAILURE(configure());
  printHead();
  auto& slowest = rows_.front();
  ASSERT_NO_FATAL_FAILURE(startPod(slowest));
  for (auto& row : rows_) {
    if (&row == &slowest) continue;
    ASSERT_NO_FATAL_FAILURE(startPod(row));
    judge(row);
    if (row.what.recovered) E2E_CHECK(shop_->kubelet->removePod(*row.pod));
  }
  judge(slowest);
  judgeAgain();
  write("");
}

TEST_P(Detection, AFullDiskIsNotTheRegistrysFault) {
  open({.rootMiB = 24});
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_NO_FATAL_FAILURE(
      addRow({.name = "disk full", .expected = "disk", .limitMs = 0, .ballast = 40'000'000}, "tag"));
  ASSERT_NO_FATAL_FAILURE(configure());
  printHead();
  ASSERT_NO_FATAL_FAILURE(startPod(rows_.front()));
  judge(rows_.front());
  judgeAgain();
  write("-disk");
}

TEST_P(Detection, AVerifiersRefusalIsNotTheRegistrysFault) {
  const auto verifiers = makeRunDir("verifiers");
  std::ofstream(verifiers / "refuses") << "#!/bin/sh\necho not signed\nexit 1\n";
  std::filesystem::permissions(verifiers / "refuses", std::filesystem::perms::owner_all);
  open({.verifiers = verifiers});
  if (IsSkipped() || HasFatalFailure()) return;
  if (shop_->node->version().starts_with("1.")) GTEST_SKIP() << "containerd 1 has no image verifiers";
  ASSERT_NO_FATAL_FAILURE(addRow({.name = "verifier refuses", .expected = "policy"}, "tag"));
  ASSERT_NO_FATAL_FAILURE(configure());
  printHead();
  ASSERT_NO_FATAL_FAILURE(startPod(rows_.front()));
  judge(rows_.front());
  judgeAgain();
  write("-verifier");
}

INSTANTIATE_TEST_SUITE_P(Containerd, Detection, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fallbackd::e2e
