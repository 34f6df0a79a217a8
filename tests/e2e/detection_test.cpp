// Which failures of a pull start a fallback, on the real containerd: every cause that a registry can give, by
// tag and by digest, as a table in the test's output.
#include "e2e_gtest.hpp"
#include "fault_registry.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

// Separates working from broken.
constexpr auto kCeiling = 60s;

/// What is done to a pull, and what fallbackd has to make of it.
struct Case {
  std::string name;
  Fault fault;
  std::string expected;  // the cause, or "pulled"
  bool recovered = false;
  std::string host = {};  // an address without a registry of ours behind it
  bool https = false;     // containerd is told to speak TLS
};

Fault withStatus(unsigned status) {
  Fault fault;
  fault.status = status;
  return fault;
}

Fault withToken(unsigned status) {
  Fault fault;
  fault.tokenStatus = status;
  return fault;
}

std::vector<Case> cases(const std::string& deadHost) {
  return {
      {"nobody listens", {}, "unreachable", true, deadHost},
      {"name not known", {}, "dns", true, "registry.invalid:5000"},
      {"packets vanish", {}, "timeout", true, "192.0.2.1:5000"},
      {"connection reset", {.reset = true}, "unreachable", true},
      {"accepts, stays silent", {.silent = true}, "timeout", true},
      {"layer stalls midway", {.stallAfter = 100'000}, "timeout", true},
      {"no TLS", {.garbage = true}, "tls", false, {}, true},
      {"no HTTP", {.garbage = true}, "unknown", false},
      {"401", withStatus(401), "unauthorized", false},
      {"403", withStatus(403), "unauthorized", false},
      {"404", withStatus(404), "not_found", false},
      {"429", withStatus(429), "rate_limited", true},
      {"500", withStatus(500), "server_error", true},
      {"502", withStatus(502), "server_error", true},
      {"503", withStatus(503), "server_error", true},
      {"504", withStatus(504), "server_error", true},
      {"token: nobody listens", {.tokenRefused = true}, "unreachable", true},
      {"token: 500", withToken(500), "server_error", true},
      {"token: 403", withToken(403), "unauthorized", false},
      {"layer of wrong bytes", {.wrongBytes = true}, "unknown", false},
      {"answers after 900 ms", {.delay = 900ms}, "pulled", false},
      {"slow: 200 KB/s", {.bytesPerSecond = 200'000}, "pulled", false},
  };
}

/// A pod of one case and the reference that its workload has.
struct Row {
  Case what;
  std::string kind;  // "tag" or "digest"
  std::string label;
  std::string image;
  std::unique_ptr<FaultRegistry> registry;
};

/// What /status says of a pod.
struct Seen {
  std::string cause;  // "" while nothing is decided
  bool recovered = false;
  double detectMs = -1;
};

Seen seen(const Daemon& daemon, const std::string& pod) {
  const auto answer = httpGet("127.0.0.1", daemon.telemetryPort(), "/status");
  if (!answer || answer->status != 200) return {};
  const auto root = json::parse(answer->body);
  for (const auto& item : root.at("recoveries").as_array()) {
    if (item.at("pod").as_string() != pod) continue;
    const auto& phases = item.at("sinceWaitingMs").as_object();
    const auto* detected = phases.if_contains("detected");
    return {std::string(item.at("cause").as_string()), true,
            detected != nullptr ? detected->to_number<double>() : -1};
  }
  for (const auto& item : root.at("waiting").as_array()) {
    if (item.at("pod").as_string() != pod) continue;
    if (item.at("state").as_string() == "image present") return {"pulled", false, -1};
    if (const auto* cause = item.as_object().if_contains("cause")) {
      return {std::string(cause->as_string()), false, -1};
    }
  }
  return {};
}

/// By the containerd: "installed", or the suite that scripts/fetch-containerd has it from.
class Detection : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ShopOptions options;
    options.reprobeInterval = "60s";
    if (GetParam() != "installed") {
      options.node.binDir = std::filesystem::path(FALLBACKD_CONTAINERDS) / GetParam();
      if (!std::filesystem::exists(*options.node.binDir / "containerd")) {
        GTEST_SKIP() << "scripts/fetch-containerd has not fetched the containerd of " << GetParam();
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

  void makeRows() {
    for (const auto& kind : {"tag", "digest"}) {
      for (auto& one : cases(shop_->registry.address())) {
        // Takes half a minute, and behind the manifest both kinds of reference are the same.
        if (one.fault.stallAfter != Fault::kNever && std::string(kind) == "digest") continue;
        Row row;
        row.label = "case-" + std::to_string(rows_.size());
        // A layer of its own: what containerd has, it does not ask for.
        const Image image{.reference = "shop/checkout:1",
                          .files = {{"bin/" + row.label, testProgram("shop-httpd-1.8.3")}},
                          .entrypoint = {"/bin/" + row.label},
                          .env = {}};
        E2E_TRY(row.registry, FaultRegistry::start(image, one.fault));
        const auto host = one.host.empty() ? row.registry->address() : one.host;
        if (one.host.empty()) speak(one.https ? "https" : "http", host);
        row.kind = kind;
        row.image = host + "/" + row.label + (row.kind == "tag" ? ":1.8.3" : "@" + row.registry->digest());
        row.what = std::move(one);
        rows_.push_back(std::move(row));
      }
    }
  }

  /// containerd is told how: with hosts on the loopback its versions differ in what they try first.
  void speak(const std::string& scheme, const std::string& host) const {
    const auto folder = shop_->node->registryConfigDir() / host;
    std::filesystem::create_directories(folder);
    const std::string url = "\"" + scheme + "://" + host + "\"";
    std::ofstream(folder / "hosts.toml") << "server = " << url << "\n[host." << url << "]\n";
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

  void check(const Row& row) {
    auto spec = shop_->podSpec("pod-" + row.label);
    spec.labels = {{"app", row.label}};
    const Stopwatch watch;
    E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
    Seen got;
    waitUntil(kCeiling, [&] {
      got = seen(*shop_->daemon, spec.name);
      return !got.cause.empty();
    });
    const double took = got.detectMs >= 0 ? got.detectMs : watch.millis();
    EXPECT_EQ(got.cause, row.what.expected) << row.what.name << " by " << row.kind;
    EXPECT_EQ(got.recovered, row.what.recovered) << row.what.name << " by " << row.kind;
    const bool right = got.cause == row.what.expected && got.recovered == row.what.recovered;
    std::printf("  %-24s %-7s %-13s %-13s %-9s %9.1f  %s\n", row.what.name.c_str(), row.kind.c_str(),
                row.what.expected.c_str(), got.cause.c_str(), got.recovered ? "fallback" : "nothing", took,
                right ? "ok" : "WRONG");
    table_.push_back(json::object{{"case", row.what.name},
                                  {"reference", row.kind},
                                  {"expected", row.what.expected},
                                  {"seen", got.cause},
                                  {"fallback", got.recovered},
                                  {"ms", took},
                                  {"ok", right}});
    if (!row.what.recovered) {
      EXPECT_FALSE(httpGet(pod.ip, Shop::kPort, "/", 200ms)) << row.what.name;
    }
    E2E_CHECK(shop_->kubelet->removePod(pod));
  }

  std::unique_ptr<Shop> shop_;
  std::vector<Row> rows_;
  json::array table_;
};

TEST_P(Detection, EveryCauseByTagAndByDigest) {
  ASSERT_NO_FATAL_FAILURE(makeRows());
  ASSERT_NO_FATAL_FAILURE(configure());
  std::printf("  containerd %s\n  %-24s %-7s %-13s %-13s %-9s %9s\n", shop_->node->version().c_str(),
              "registry", "image", "expected", "seen", "started", "ms");
  for (const auto& row : rows_) check(row);
  if (const char* const folder = std::getenv("DETECTION_JSON")) {
    std::ofstream(std::filesystem::path(folder) / (GetParam() + ".json"))
        << json::serialize(json::object{{"containerd", shop_->node->version()}, {"rows", table_}}) << "\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Containerd, Detection, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fallbackd::e2e
