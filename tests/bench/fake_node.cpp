// SPDX-License-Identifier: Apache-2.0
#include "fake_node.hpp"

#include "hostile.hpp"
#include "pod.hpp"
#include "run_dir.hpp"
#include "wait.hpp"

#include <fstream>
#include <thread>

#include <boost/json.hpp>

namespace fallbackd::bench {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr auto kHonestLife = 5s;  // until the pod is removed
constexpr auto kAfterlife = 4s;   // how long its fallback may take to end before its cgroups are removed
constexpr auto kNodeCeiling = 60s;
constexpr std::size_t kLookalikes = 100;
// A workload gets its own metrics with its first recovery. The honest pods share a hundred workloads, so that
// all of these have metrics after a quarter of the run. Any later growth grows with the pods.
constexpr std::size_t kWorkloads = 100;

std::string honestName(std::size_t number) {
  return "honest-" + std::to_string(number);
}

std::string honestWorkloads() {
  std::string text;
  for (std::size_t i = 0; i < kWorkloads; ++i) {
    const auto name = honestName(i);
    text += "- name: " + name + "\n  match: {namespace: shop, labels: {app: " + name +
            "}, container: checkout}\n  image: " + name + kRefusingDomain +
            "/shop/checkout:1.8.3\n  binary: checkout@1.8.3\n  args: [--port=8080]\n"
            "  user: {uid: 65532, gid: 65533}\n  readiness: {exec: {}}\n";
  }
  return text;
}

/// Fails with containerd's texts.
FakePull pull(const std::string& reference) {
  const auto domain = reference.substr(0, reference.find('/'));
  const auto quoted = "\"" + reference + "\"";
  if (reference.find_first_of(" \n\"") != std::string::npos || reference.size() > 4096) {
    return {FakePull::End::at_once,
            {grpc::StatusCode::INVALID_ARGUMENT, "failed to pull and unpack image " + quoted +
                                                     ": failed to parse image reference " + quoted +
                                                     ": invalid reference format"}};
  }
  if (domain.ends_with(kSilentDomain)) return {FakePull::End::when_cancelled, {}};
  return {FakePull::End::at_once,
          {grpc::StatusCode::UNKNOWN,
           "failed to pull and unpack image " + quoted + ": failed to resolve reference " + quoted +
               ": failed to do request: Head \"https://" + domain +
               "/v2/x/manifests/1\": dial tcp 192.0.2.1:443: connect: connection refused"}};
}

}  // namespace

/// "2026-01-31T12:00:00.123Z info  recovery ready  ... pod=honest-7 ..."
HonestLog readLog(const fs::path& log) {
  HonestLog seen;
  std::ifstream in(log);
  for (std::string line; std::getline(in, line);) {
    const bool ready = line.find("  recovery ready  ") != std::string::npos;
    const bool failed = line.find("  recovery failed  ") != std::string::npos;
    const auto at = line.find("  pod=honest-");
    if ((!ready && !failed) || at == std::string::npos) continue;
    const auto begin = at + 6;
    const auto name = line.substr(begin, line.find(' ', begin) - begin);
    const auto time = parseRfc3339(line.substr(0, line.find(' ')));
    if (ready && time) seen.ready.try_emplace(name, *time);
    if (failed && seen.failed.empty()) seen.failed = line.substr(0, 300);
  }
  return seen;
}

Result<std::unique_ptr<FakeNode>> FakeNode::open() {
  FB_TRY(auto signer, Signer::make());
  FB_CHECK(signer.install(testProgram("shop-httpd-1.8.3"), "checkout", "1.8.3"));
  std::unique_ptr<FakeNode> node(new FakeNode(std::move(signer)));
  node->folder_ = makeRunDir("fake");
  FB_TRY(node->cri_, FakeCri::start(node->folder_ / "c.sock", &pull));
  FB_TRY(node->hierarchies_, sys::cgroupHierarchies());
  DaemonOptions options;
  options.containerdSocket = node->folder_ / "c.sock";
  options.cacheDir = node->signer_.cacheDir();
  options.keysDir = node->signer_.keysDir();
  options.kubeletPods = node->folder_ / "pods";
  options.extra = std::string("detection: {reprobeInterval: 60s}\npodAnnotations: {namespaces: [") +
                  kHostileNamespace + "]}\n";
  options.workloads = honestWorkloads();
  FB_TRY(node->daemon_, Daemon::start(options));
  return node;
}

void FakeNode::addHostile(std::size_t number) {
  FakePod pod;
  pod.name = "hostile-" + std::to_string(number);
  pod.namespaceName = kHostileNamespace;
  pod.uid = makeUid();
  pod.id = "sandbox-of-" + pod.name;
  pod.ip = "192.0.2.2";
  pod.labels = {{"app", honestName(number % kLookalikes)}};
  pod.annotations = hostileAnnotations(number);
  // The pid belongs to a process that has exited: nothing is launched for these pods.
  pod.info = R"({"pid": 4194303, "config": {"linux": {"cgroup_parent": "/kubepods/none"}}})";
  live_.push_back(pod.id);
  cri_->add(std::move(pod));
  if (live_.size() <= kAtOnce) return;
  cri_->remove(live_.front());
  live_.pop_front();
}

void FakeNode::addHonest(std::size_t number) {
  Honest one{std::make_unique<test::FakeSandbox>(folder_ / "sandboxes", hierarchies_), {}, Monotonic::now()};
  one.sandbox->enterOwnCgroup();
  const auto& status = one.sandbox->status();
  FakePod pod;
  pod.name = honestName(number);
  pod.namespaceName = "shop";
  pod.uid = makeUid();
  pod.id = status.sandbox.id;
  pod.labels = {{"app", honestName(number % kWorkloads)}};
  pod.ip = status.ips.front();
  fs::create_directories(folder_ / "pods" / pod.uid);
  pod.info = json::serialize(
      json::object{{"pid", status.pausePid},
                   {"config", {{"hostname", pod.name}, {"linux", {{"cgroup_parent", status.cgroupParent}}}}},
                   {"runtimeSpec",
                    {{"mounts",
                      {{{"destination", "/etc/resolv.conf"}, {"source", status.resolvConfPath}},
                       {{"destination", "/dev/shm"}, {"source", status.shmPath}}}}}}});
  one.id = pod.id;
  started_[pod.name] = Wall::now();
  honest_.push_back(std::move(one));
  cri_->add(std::move(pod));
}

void FakeNode::tend() {
  const auto now = Monotonic::now();
  for (auto& one : honest_) {
    if (one.state == Honest::State::removed || now < one.since + kHonestLife) continue;
    cri_->remove(one.id);
    one.state = Honest::State::removed;
  }
  while (!honest_.empty() && now >= honest_.front().since + kHonestLife + kAfterlife) honest_.pop_front();
}

Result<std::vector<double>> FakeNode::recoveries() {
  HonestLog seen;
  waitUntil(kNodeCeiling, [&] {
    std::this_thread::sleep_for(200ms);  // the log is long
    seen = readLog(daemon_->log());
    return seen.ready.size() >= started_.size();
  });
  std::vector<double> millis;
  for (const auto& [name, at] : seen.ready) {
    millis.push_back(toMillis(std::chrono::duration_cast<std::chrono::nanoseconds>(at - started_.at(name))));
  }
  if (millis.size() == started_.size()) return millis;
  return fail(Stage::readiness, Reason::timeout,
              std::to_string(started_.size() - millis.size()) + " of " + std::to_string(started_.size()) +
                  " honest pods were not recovered" + (seen.failed.empty() ? "" : ": " + seen.failed));
}

}  // namespace fallbackd::bench
