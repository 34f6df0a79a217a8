// SPDX-License-Identifier: Apache-2.0
// The main task on a private containerd: a registry is down, a signed local binary serves a pod, and the pod
// is handed back when the registry returns. Every line reports what really happened.
#include "base/strings.hpp"
#include "isolate.hpp"
#include "narrator.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <array>
#include <cstdio>
#include <filesystem>

#include <boost/json.hpp>

namespace fallbackd::demo {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;
using namespace fallbackd::e2e;

constexpr auto kCeiling = 30s;

std::string oneLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// "12.3 ms"
std::string inMillis(double value) {
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), "%.1f ms", value);
  return {text.data(), static_cast<std::size_t>(size)};
}

/// The pod's recovery, from fallbackctl status -o json.
Result<json::object> recoveryOf(const Daemon& daemon, const std::string& pod) {
  FB_TRY(const auto text,
         runOk({.argv = {binary("fallbackctl"), "status", "-o", "json", "--socket", daemon.controlSocket()},
                .env = {},
                .output = {}}));
  const auto root = json::parse(text);
  for (const auto& item : root.at("recoveries").as_array()) {
    if (item.at("pod").as_string() == pod) return item.as_object();
  }
  return fail(Stage::cli, Reason::not_found, "no recovery of pod " + pod);
}

std::string namespaceOf(pid_t pid, const std::string& kind) {
  std::error_code error;
  return fs::read_symlink("/proc/" + std::to_string(pid) + "/ns/" + kind, error).string();
}

std::string statusLine(pid_t pid, const std::string& key) {
  const auto text =
      sys::readFile(Stage::cli, "/proc/" + std::to_string(pid) + "/status", 1 << 16).value_or("");
  const auto at = text.find("\n" + key + ":");
  if (at == std::string::npos) return "?";
  const auto begin = at + key.size() + 2;
  return std::string(trim(std::string_view(text).substr(begin, text.find('\n', begin) - begin)));
}

Result<> expect(bool holds, const std::string& what) {
  if (holds) return {};
  return fail(Stage::cli, Reason::internal, "expected: " + what);
}

class Demo {
 public:
  Result<> run() {
    FB_CHECK(prepare());
    FB_CHECK(outage());
    FB_CHECK(lookAtIt());
    FB_CHECK(registryReturns());
    return summary();
  }
  Narrator& narrator() { return tell_; }

 private:
  Result<> prepare() {
    tell_.chapter("A node: private containerd, CNI bridge, signed cache, fallbackd");
    tell_.doing(
        "starting containerd, creating a key, signing and installing checkout@1.8.3, starting fallbackd");
    const Stopwatch watch;
    FB_TRY(shop_, Shop::open());
    tell_.seen("containerd " + shop_->node->version() + ", fallbackd ready" + " after " +
               inMillis(watch.millis()));
    FB_TRY(const auto list, runOk({.argv = {binary("fallbackctl"), "list", "--cache",
                                            shop_->signer.cacheDir(), "--keys", shop_->signer.keysDir()},
                                   .env = {},
                                   .output = {}}));
    const auto rows = oneLine(list);
    for (const auto row : split(rows, '\n')) tell_.quote(std::string(row));
    return {};
  }

  Result<> outage() {
    tell_.chapter("The registry is down, and a pod is scheduled");
    tell_.doing("like kubelet: RunPodSandbox, then PullImage of " + shop_->image());
    FB_TRY(pod_, shop_->kubelet->startPod(checkoutPod("checkout-7d4f9")));
    const auto pulled = shop_->kubelet->pullImage(shop_->image());
    FB_CHECK(expect(!pulled.ok(), "the pull fails"));
    tell_.seen("the image cannot be pulled; containerd reports:");
    tell_.quote(
        pulled.text.substr(pulled.text.rfind("dial ") == std::string::npos ? 0 : pulled.text.rfind("dial ")));
    FB_TRY(const auto answer, httpGetOk(pod_.ip, Shop::kPort, "/", kCeiling));
    tell_.seen("the pod still answers, at http://" + pod_.ip + ":8080/");
    tell_.quote(oneLine(answer.body));
    FB_CHECK(expect(answer.body.find("role=fallback") != std::string::npos, "the fallback answers"));
    FB_CHECK(
        expect(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, pod_.spec.name) == "ready"; }),
               "fallbackd reports that it is ready"));
    FB_TRY(recovery_, recoveryOf(*shop_->daemon, pod_.spec.name));
    tell_.seen("the recovery, from the start of the pod's sandbox (cause: " +
               std::string(recovery_.at("cause").as_string()) + "):");
    const auto& at = recovery_.at("sinceWaitingMs").as_object();
    std::vector<Narrator::Mark> marks;
    for (const auto& [key, label] :
         std::vector<std::pair<std::string, std::string>>{{"detected", "failure known (probe pull)"},
                                                          {"verified", "binary verified (resident copy)"},
                                                          {"prepared", "sandbox joined, root built"},
                                                          {"healthChecked", "health check passed"},
                                                          {"started", "binary executed"},
                                                          {"ready", "serving (TCP on the pod's IP)"}}) {
      marks.push_back({label, at.at(key).to_number<double>()});
    }
    tell_.timeline(marks);
    rto_ = marks.back().millis;
    return {};
  }

  Result<> lookAtIt() {
    tell_.chapter("Where the fallback runs");
    const pid_t pid = fallbackPid(*shop_->daemon, pod_.spec.name);
    FB_CHECK(expect(pid > 0, "the fallback runs"));
    for (const char* kind : {"net", "ipc", "uts"}) {
      FB_CHECK(expect(namespaceOf(pid, kind) == namespaceOf(pod_.pausePid, kind),
                      std::string("the pod's ") + kind));
    }
    for (const char* kind : {"mnt", "pid"}) {
      FB_CHECK(
          expect(namespaceOf(pid, kind) != namespaceOf(shop_->daemon->pid(), kind), "it is not the host's"));
    }
    tell_.table(
        {{"namespaces", "net, ipc, uts of the pod; own mount and pid"},
         {"user, group", statusLine(pid, "Uid").substr(0, 5) + ", " + statusLine(pid, "Gid").substr(0, 5)},
         {"capabilities", statusLine(pid, "CapEff")},
         {"NoNewPrivs, Seccomp", statusLine(pid, "NoNewPrivs") + ", " + statusLine(pid, "Seccomp")},
         {"cgroup", pod_.cgroupParent + "/fallback-checkout"}});
    FB_TRY(const auto metrics, httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/metrics"));
    tell_.seen("in /metrics:");
    for (const auto row : split(metrics.body, '\n')) {
      const bool wanted = row.starts_with("fallbackd_active_fallbacks{") ||
                          row.starts_with("fallbackd_recovery_seconds_sum{") ||
                          row.starts_with("fallbackd_workload_binary_admitted{") ||
                          row.starts_with("fallbackd_probe_pulls_total{result=\"unreachable\"");
      if (wanted) tell_.quote(std::string(row));
    }
    return {};
  }

  Result<> registryReturns() {
    tell_.chapter("The registry comes back, and kubelet starts the real container");
    tell_.doing("starting docker-registry at that address, pushing the image, pulling it");
    FB_CHECK(shop_->registry.start());
    FB_TRY(const auto reference,
           shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
    const auto pulled = shop_->kubelet->pullImage(reference);
    FB_CHECK(expect(pulled.ok(), "the pull succeeds: " + pulled.text));
    FB_TRY(const auto id, shop_->kubelet->createContainer(pod_, shop_->containerSpec()));
    FB_CHECK(shop_->kubelet->startContainer(id));
    std::string body;
    FB_CHECK(expect(waitUntil(kCeiling,
                              [&] {
                                const auto answer = httpGet(pod_.ip, Shop::kPort, "/", 1s);
                                if (answer) body = answer->body;
                                return body.find("role=container") != std::string::npos;
                              }),
                    "the container answers on the same address"));
    tell_.seen("the container answers on the same address and port:");
    tell_.quote(oneLine(body));
    const auto gapCount = "fallbackd_hand_back_gap_seconds_count{workload=\"checkout\"}";
    FB_CHECK(expect(waitUntil(kCeiling,
                              [&] {
                                const auto metrics = shop_->daemon->metrics();
                                return metrics && metrics->contains(gapCount) && metrics->at(gapCount) == 1;
                              }),
                    "the hand-back is measured"));
    FB_TRY(const auto metrics, shop_->daemon->metrics());
    gap_ = metrics.at("fallbackd_hand_back_gap_seconds_sum{workload=\"checkout\"}") * 1000;
    FB_CHECK(expect(recoveryState(*shop_->daemon, pod_.spec.name) == "handed_back", "handed back"));
    tell_.seen("handed back before the container bound its port");
    return {};
  }

  Result<> summary() {
    FB_TRY(const auto code, shop_->daemon->stop());
    FB_CHECK(expect(code == 0, "fallbackd exits cleanly"));
    tell_.chapter("Summary");
    const auto& at = recovery_.at("sinceWaitingMs").as_object();
    const double detected = at.at("detected").to_number<double>();
    tell_.table({{"cause", std::string(recovery_.at("cause").as_string())},
                 {"recovery time (RTO)", inMillis(rto_) + " from the sandbox's start to serving"},
                 {"  fallbackd's part", inMillis(rto_ - detected) + " from the known failure to serving"},
                 {"hand-back", inMillis(gap_) + " between the fallback's end and the container's start"},
                 {"kubelet alone", "would have retried after 10 s, 20 s, 40 s ... 300 s"}});
    return {};
  }

  Narrator tell_;
  std::unique_ptr<Shop> shop_;
  Pod pod_;
  json::object recovery_;
  double rto_ = 0;
  double gap_ = 0;
};

int demo() {
  Demo demo;
  const auto done = demo.run();
  if (done) return 0;
  demo.narrator().failure(done.error().message());
  for (const auto& log : fs::directory_iterator(logsDir())) {
    const auto text = sys::readFile(Stage::cli, log.path(), 64 << 20).value_or("");
    demo.narrator().quote(log.path().filename().string() + ": " +
                          text.substr(text.size() - std::min<std::size_t>(text.size(), 3000)));
  }
  return 1;
}

}  // namespace
}  // namespace fallbackd::demo

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::demo::demo);
}
