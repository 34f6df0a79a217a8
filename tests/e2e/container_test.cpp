// SPDX-License-Identifier: Apache-2.0
// fallbackd as shipped: a container of the built image with the DaemonSet's privileges, and then without each
// of them.
#include "base/strings.hpp"
#include "contained_node.hpp"
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/cgroup.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <yaml-cpp/yaml.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr auto kPatience = 6s;

std::string procPath(pid_t pid, const std::string& rest) {
  return "/proc/" + std::to_string(pid) + "/" + rest;
}

bool runs(pid_t pid) {
  return pid > 0 && fs::exists(procPath(pid, "exe"));
}

/// What has to work, in the order of the attempts. Stops at the first failed step.
class Trial {
 public:
  Trial(ContainedNode& node, DaemonSet manifest, std::chrono::seconds patience)
      : node_(node), manifest_(std::move(manifest)), patience_(patience) {}

  /// Empty if everything works; otherwise the failed step, and the message.
  struct Stopped {
    std::string what;
    std::string says;
  };
  Stopped run(const std::string& podName) {
    const auto stopped = steps(podName);
    // Best effort: removes what exists.
    if (daemon_) (void)node_.endDaemon(*daemon_);
    if (pod_) (void)node_.kubelet->removePod(*pod_);
    (void)node_.kubelet->removeImage(node_.image());
    (void)node_.registry.stop();
    for (const char* folder : {"/run/fallbackd", "/var/lib/fallbackd"}) fs::remove_all(folder);
    return stopped;
  }

 private:
  Stopped steps(const std::string& podName) {
    auto started = node_.start(manifest_, node_.images[0]);
    if (!started) return {"start of the container", started.error().message()};
    daemon_ = *started;
    if (!answers(manifest_.livenessPath)) return {"start of the daemon", lastWords()};
    if (!answers(manifest_.readinessPath)) return {"connection to containerd", lastWords()};
    if (!waited([&] { return metric("fallbackd_workload_binary_admitted") == 1; })) {
      return {"admission of binaries", lastWords()};
    }
    if (!fs::exists("/var/lib/fallbackd/floor.json") && fs::is_empty("/var/lib/fallbackd")) {
      return {"version floor", "nothing in /var/lib/fallbackd"};
    }
    auto spec = node_.workloadPod(podName);
    spec.sharePid = true;  // needs one more privilege
    auto pod = node_.kubelet->startPod(spec);
    if (!pod) return {"test setup: pod", pod.error().message()};
    pod_ = *pod;
    if (!waited([&] { return recovery().state == "ready"; })) return {"recovery", saysOfRecovery()};
    const pid_t pid = recovery().pid;
    const auto answer = httpGet(pod_->ip, ContainedNode::kPort, "/");
    if (!answer || answer->body.find("role=fallback") == std::string::npos)
      return {"recovery", "the pod does not serve"};
    if (sys::readFile(Stage::cli, procPath(pid, "root/etc/key/token"), 100).value_or("") != "hunter2") {
      return {"secrets in fallbacks", "/etc/key/token is not there"};
    }
    if (!writable(pid, "/scratch")) return {"emptyDir of fallbacks", "it is not writable"};
    if (!sameMount(pid, pod_->pausePid, "/dev/shm")) {
      return {"shared memory with the pod", "/dev/shm is a different one"};
    }
    if (!limited()) return {"limits of fallbacks", "the leaf's memory limit is not 64Mi"};
    if (!waited([&] { return logged(); })) return {"logs of fallbacks", "no line in the log of the pod"};
    if (const auto state = unstickState(); state != "ready") {
      return {"ending of pulls that hang", "unstick: " + state};
    }
    return endings(pid);
  }

  Stopped endings(pid_t pid) {
    // An upgrade: a new image, a new container, the same fallback.
    if (auto ended = node_.endDaemon(*daemon_); !ended) return {"end of the daemon", ended.error().message()};
    daemon_.reset();
    if (!runs(pid)) return {"survival of fallbacks", "it died with the daemon"};
    auto started = node_.start(manifest_, node_.images[1]);
    if (!started) return {"start of the container", started.error().message()};
    daemon_ = *started;
    if (!waited([&] { return recovery().pid == pid && recovery().state == "ready"; })) {
      return {"adoption after an upgrade", saysOfRecovery()};
    }
    if (auto began = node_.registry.start(); !began) return {"test setup: registry", began.error().message()};
    const auto pushed = node_.registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3"));
    const auto pulled = node_.kubelet->pullImage(node_.image());
    if (!pushed || !pulled.ok()) return {"test setup: pull", pulled.text};
    const auto id = node_.kubelet->createContainer(*pod_, checkoutContainer(node_.image()));
    if (!id || !node_.kubelet->startContainer(*id)) return {"test setup: container", "cannot be started"};
    const bool serves = waited([&] {
      const auto answer = httpGet(pod_->ip, ContainedNode::kPort, "/", 1s);
      return answer && answer->body.find("role=container") != std::string::npos;
    });
    if (!serves || !waited([&] { return recovery().state == "handed_back"; }) || runs(pid)) {
      return {"hand-back", saysOfRecovery()};
    }
    return {};
  }

  bool waited(const std::function<bool()>& holds) const { return waitUntil(patience_, holds); }
  bool answers(const std::string& path) const {
    return waited([&] {
      const auto answer = httpGet(daemon_->pod.ip, manifest_.probePort, path, 1s);
      return answer && answer->status == 200;
    });
  }
  [[nodiscard]] double metric(const std::string& prefix) const {
    const auto answer = httpGet(daemon_->pod.ip, manifest_.probePort, "/metrics");
    return answer ? sumOf(parseMetrics(answer->body), prefix) : -1;
  }
  [[nodiscard]] RecoverySeen recovery() const {
    return recoveryOf(daemon_->pod.ip, manifest_.probePort, pod_->spec.name);
  }
  [[nodiscard]] std::string saysOfRecovery() const {
    const auto seen = recovery();
    return seen.error.empty() ? "state " + (seen.state.empty() ? "none; " + lastWords() : seen.state)
                              : seen.error;
  }
  [[nodiscard]] std::string unstickState() const {
    const auto answer = httpGet(daemon_->pod.ip, manifest_.probePort, "/status");
    return answer ? std::string(json::parse(answer->body).at("unstick").at("state").as_string())
                  : "no answer";
  }
  [[nodiscard]] bool logged() const {
    const auto file = pod_->logDirectory / "checkout-fallback" / "0.log";
    return sys::readFile(Stage::cli, file, 1 << 20).value_or("").find(" stdout F ") != std::string::npos;
  }
  /// As shown by the process's own mounts.
  [[nodiscard]] static bool writable(pid_t pid, const std::string& path) {
    const auto mounts = sys::readFile(Stage::cli, procPath(pid, "mountinfo"), 1 << 20).value_or("");
    return mounts.find(" " + path + " rw") != std::string::npos;
  }
  [[nodiscard]] static bool sameMount(pid_t pid, pid_t other, const std::string& path) {
    struct stat first {};
    struct stat second {};
    return ::stat(procPath(pid, "root" + path).c_str(), &first) == 0 &&
           ::stat(procPath(other, "root" + path).c_str(), &second) == 0 && first.st_dev == second.st_dev;
  }
  [[nodiscard]] bool limited() const {
    return std::any_of(pod_->cgroups.begin(), pod_->cgroups.end(), [](const fs::path& cgroup) {
      const auto leaf = cgroup / "fallback-checkout";
      return std::any_of(std::begin(kLimitFiles), std::end(kLimitFiles), [&](const char* name) {
        return sys::readFile(Stage::cli, leaf / name, 100).value_or("").starts_with("67108864");
      });
    });
  }
  /// The daemon's last error or warning in the log.
  [[nodiscard]] std::string lastWords() const {
    std::string found = "no answer";
    const auto log = node_.logOf(*daemon_);
    for (const auto line : split(log, '\n')) {
      if (line.find("error") != std::string_view::npos || line.find("warn") != std::string_view::npos)
        found = line;
    }
    const auto text = found.find(" F ");
    return text == std::string::npos ? found : found.substr(text + 3);
  }

  static constexpr const char* kLimitFiles[] = {"memory.limit_in_bytes", "memory.max"};
  ContainedNode& node_;
  DaemonSet manifest_;
  std::chrono::seconds patience_;
  std::optional<DaemonPod> daemon_;
  std::optional<Pod> pod_;
};

class Container : public testing::Test {
 protected:
  void SetUp() override {
    E2E_TRY(manifest_, readDaemonSet(FALLBACKD_DAEMONSET));
    E2E_TRY(node_, ContainedNode::open(FALLBACKD_IMAGE));
  }
  DaemonSet manifest_;
  std::unique_ptr<ContainedNode> node_;
};

/// Recovery, adoption by the next release's daemon and hand-back, with only the manifest's privileges.
TEST_F(Container, RecoversSurvivesAnUpgradeAndHandsBack) {
  const auto stopped = Trial(*node_, manifest_, kCeiling).run("web-0");
  EXPECT_EQ(stopped.what, "") << stopped.says;
}

/// Upgrades and rolls back while fallbacks run: no fallback dies, and none is started twice.
TEST_F(Container, FallbacksSurviveAnUpgradeAndARollback) {
  constexpr int kPods = 5;
  E2E_TRY(auto daemon, node_->start(manifest_, node_->images[0]));
  std::vector<Pod> pods;
  std::vector<pid_t> pids;
  for (int i = 0; i < kPods; ++i) {
    E2E_TRY(auto pod, node_->kubelet->startPod(node_->workloadPod("web-" + std::to_string(i))));
    pods.push_back(std::move(pod));
  }
  const auto seen = [&](const Pod& pod) {
    return recoveryOf(daemon.pod.ip, manifest_.probePort, pod.spec.name);
  };
  for (const auto& pod : pods) {
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return seen(pod).state == "ready"; })) << node_->logOf(daemon);
    pids.push_back(seen(pod).pid);
  }
  for (const auto& release : {node_->images[1], node_->images[0]}) {
    E2E_CHECK(node_->endDaemon(daemon));
    for (std::size_t i = 0; i < pods.size(); ++i) {
      EXPECT_TRUE(runs(pids[i]));
      EXPECT_TRUE(httpGet(pods[i].ip, ContainedNode::kPort, "/")) << "while no daemon runs";
    }
    E2E_TRY(daemon, node_->start(manifest_, release));
    for (std::size_t i = 0; i < pods.size(); ++i) {
      ASSERT_TRUE(waitUntil(kCeiling, [&] { return seen(pods[i]).state == "ready"; }))
          << node_->logOf(daemon);
      EXPECT_EQ(seen(pods[i]).pid, pids[i]) << release;
      EXPECT_TRUE(runs(pids[i]));
    }
    const auto metrics = httpGet(daemon.pod.ip, manifest_.probePort, "/metrics");
    ASSERT_TRUE(metrics);
    EXPECT_EQ(sumOf(parseMetrics(metrics->body), "fallbackd_active_fallbacks"), kPods);
  }
  for (const auto& pod : pods) E2E_CHECK(node_->kubelet->removePod(pod));
  for (const pid_t pid : pids) EXPECT_FALSE(runs(pid));
}

/// A team's pipeline builds a pack and pushes it; a node pulls it and runs it like the DaemonSet of packs.
TEST_F(Container, APackBringsABinaryToTheNode) {
  const auto folder = makeRunDir("pack");
  // With a relative path to the keys, as a person types it.
  const auto keys = node_->signer.keysDir();
  const auto ctl = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"env", "--chdir=" + keys.parent_path().string(), binary("fallbackctl")});
    return fallbackd::e2e::run({.argv = std::move(args), .env = {}, .output = {}});
  };
  const auto program = folder / "payment-v2.1.0";
  fs::copy_file(testProgram("shop-httpd-1.8.4"), program);
  E2E_TRY(const auto attestation, node_->signer.sign(program, "payment", "2.1.0"));
  fs::copy_file(attestation, folder / "payment-v2.1.0.sigstore.json");
  const auto layout = makeRunDir("layout") / "oci";
  const auto digestOf = [&](const std::string& tag) -> std::string {
    const auto made =
        ctl({"pack", "build", "--keys", keys.filename(), "--layout", layout, "--tag", tag, folder});
    if (!made || made->code != 0) return made ? made->text : made.error().message();
    const auto index = json::parse(sys::readFile(Stage::cli, layout / "index.json", 1 << 16).value_or("{}"));
    for (const auto& one : index.at("manifests").as_array()) {
      if (one.at("annotations").at("org.opencontainers.image.ref.name").as_string() == tag.c_str()) {
        return std::string(one.at("digest").as_string());
      }
    }
    return "none";
  };
  const auto digest = digestOf("2.1.0");
  EXPECT_THAT(digest, testing::StartsWith("sha256:"));
  EXPECT_EQ(digestOf("again"), digest) << "the same binaries make the same image";

  E2E_CHECK(node_->registry.start());
  const auto reference = node_->registry.reference("shop/fallback-pack:2.1.0");
  E2E_TRY(const auto pushed,
          ctl({"pack", "push", "--skopeo=--dest-tls-verify=false", layout.string() + ":2.1.0", reference}));
  ASSERT_EQ(pushed.code, 0) << pushed.text;
  E2E_TRY(const auto shown, ctl({"pack", "inspect", "--skopeo=--tls-verify=false", reference}));
  EXPECT_EQ(shown.code, 0);
  EXPECT_THAT(shown.text, HasSubstr("payment  2.1.0    "));

  // The same pack as an artifact, installed from the registry on a machine without a runtime.
  const auto artifact = node_->registry.reference("shop/fallback-pack:artifact");
  const auto back = makeRunDir("back");
  E2E_TRY(const auto built, ctl({"pack", "build", "--artifact", "--keys", keys.filename(), "--layout", layout,
                                 "--tag", "artifact", folder}));
  ASSERT_EQ(built.code, 0) << built.text;
  E2E_TRY(const auto sent,
          ctl({"pack", "push", "--skopeo=--dest-tls-verify=false", layout.string() + ":artifact", artifact}));
  ASSERT_EQ(sent.code, 0) << sent.text;
  E2E_CHECK(
      fallbackd::e2e::runOk({.argv = {"skopeo", "copy", "--src-tls-verify=false", "docker://" + artifact,
                                      "oci:" + (back / "layout").string() + ":2.1.0"},
                             .env = {},
                             .output = {}}));
  E2E_TRY(const auto taken, ctl({"install", "--cache", back / "cache", "--keys", keys, "--state",
                                 back / "state", "--from", (back / "layout").string() + ":2.1.0"}));
  EXPECT_EQ(taken.code, 0) << taken.text;
  EXPECT_TRUE(fs::exists(back / "cache/payment-v2.1.0"));

  E2E_TRY(const auto packs, readDaemonSet(FALLBACKD_PACKS_DAEMONSET, "initContainers"));
  const auto pulled = node_->kubelet->pullImage(reference);
  ASSERT_TRUE(pulled.ok()) << pulled.text;
  E2E_TRY(const auto pack, node_->start(packs, reference));
  E2E_TRY(const auto installed, node_->kubelet->waitForContainer(pack.containerId, kCeiling));
  EXPECT_EQ(installed, 0) << node_->logOf(pack);
  EXPECT_TRUE(fs::exists("/opt/bin/fallback/payment-v2.1.0"));
  EXPECT_TRUE(fs::exists("/opt/bin/fallback/payment-v2.1.0.sigstore.json"));
  E2E_CHECK(node_->kubelet->removePod(pack.pod));

  // With one flipped byte no image is built.
  std::fstream(program, std::ios::in | std::ios::out | std::ios::binary).seekp(9000).put('\x7f');
  E2E_TRY(const auto refused, ctl({"pack", "build", "--keys", keys.filename(), "--layout", layout, folder}));
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.text, HasSubstr("a node would refuse this pack"));
}

/// kubelet 1.33 and later mount a pack that is an image, and fallbackd's own image installs its content.
TEST(ImageVolume, APackIsInstalledFromIt) {
  const auto containerd = fs::path(FALLBACKD_CONTAINERDS) / "sid";
  if (!fs::exists(containerd)) GTEST_SKIP() << "no " << containerd << ": containerd 2.1 or later";
  E2E_TRY(const auto node, ContainedNode::open(FALLBACKD_IMAGE, {.binDir = containerd}));
  const auto folder = makeRunDir("pack");
  fs::copy_file(testProgram("shop-httpd-1.8.4"), folder / "payment-v2.1.0");
  E2E_TRY(const auto attestation, node->signer.sign(folder / "payment-v2.1.0", "payment", "2.1.0"));
  fs::copy_file(attestation, folder / "payment-v2.1.0.sigstore.json");
  const auto ctl = [](std::vector<std::string> args) {
    args.insert(args.begin(), binary("fallbackctl"));
    return runOk({.argv = std::move(args), .env = {}, .output = {}});
  };
  const auto layout = (makeRunDir("layout") / "oci").string();
  E2E_CHECK(
      ctl({"pack", "build", "--keys", node->signer.keysDir(), "--layout", layout, "--tag", "2.1.0", folder}));
  E2E_CHECK(node->registry.start());
  const auto reference = node->registry.reference("shop/fallback-pack:2.1.0");
  E2E_CHECK(ctl({"pack", "push", "--skopeo=--dest-tls-verify=false", layout + ":2.1.0", reference}));
  const auto pulled = node->kubelet->pullImage(reference);
  ASSERT_TRUE(pulled.ok()) << pulled.text;

  E2E_TRY(auto packs, readDaemonSet(FALLBACKD_PACKS_DAEMONSET, "initContainers"));
  const auto patch = YAML::LoadFile(FALLBACKD_IMAGE_VOLUMES)["spec"]["template"]["spec"]["initContainers"][0];
  packs.container.command = patch["command"].as<std::vector<std::string>>();
  packs.container.args = patch["args"].as<std::vector<std::string>>();
  for (const auto& mount : patch["volumeMounts"]) {
    const auto path = mount["mountPath"].as<std::string>();
    if (mount["name"].as<std::string>() == "pack-shop") {
      packs.container.imageMounts.push_back({reference, path});
    } else {
      packs.host.push_back({path, path, true, false});
      packs.makeFolders.push_back(path);
    }
  }
  E2E_TRY(const auto installing, node->start(packs, node->images[0]));
  E2E_TRY(const auto code, node->kubelet->waitForContainer(installing.containerId, kCeiling));
  EXPECT_EQ(code, 0) << node->logOf(installing);
  EXPECT_TRUE(fs::exists("/opt/bin/fallback/payment-v2.1.0"));
  E2E_CHECK(node->kubelet->removePod(installing.pod));
}

/// As a runtime does for a container on a cgroup v2 node. This machine is hybrid, so its runtime does not.
TEST(CgroupNamespace, TheHostsIsJoinedFromOneOfOurOwn) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // The exit code is the number of the failed step.
    if (::unshare(CLONE_NEWCGROUP) != 0) ::_exit(1);
    const auto before = sys::namespaceOf(Stage::cli, ::getpid(), "cgroup");
    const auto host = sys::namespaceOf(Stage::cli, 1, "cgroup");
    if (!before || !host || *before == *host) ::_exit(2);
    const auto joined = sys::joinHostCgroupNamespace();
    if (!joined || !*joined) ::_exit(3);
    const auto after = sys::namespaceOf(Stage::cli, ::getpid(), "cgroup");
    if (!after || !(*after == *host)) ::_exit(4);
    const auto again = sys::joinHostCgroupNamespace();
    ::_exit(again && !*again ? 0 : 5);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(exitCodeOf(status), 0);
}

struct Privilege {
  std::string name;
  std::function<void(DaemonSet&)> drop;
};

/// One entry for every privilege in the manifest beyond a pod's defaults.
std::vector<Privilege> privilegesOf(const DaemonSet& manifest) {
  std::vector<Privilege> all;
  for (const auto& name : manifest.container.security->addCapabilities) {
    all.push_back({"capability " + name,
                   [name](DaemonSet& set) { std::erase(set.container.security->addCapabilities, name); }});
  }
  if (manifest.hostPid) all.push_back({"hostPID", [](DaemonSet& set) { set.hostPid = false; }});
  if (manifest.hostNetwork) all.push_back({"hostNetwork", [](DaemonSet& set) { set.hostNetwork = false; }});
  if (manifest.container.security->seccompUnconfined) {
    all.push_back({"seccompProfile Unconfined",
                   [](DaemonSet& set) { set.container.security->seccompUnconfined = false; }});
  }
  if (manifest.container.runAsUser == 0) {
    all.push_back({"runAsUser 0", [](DaemonSet& set) { set.container.runAsUser = 65532; }});
  }
  for (std::size_t i = 0; i < manifest.host.size(); ++i) {
    const auto& mount = manifest.host[i];
    // For stand-ins, which need an API server.
    if (mount.hostPath == "/var/log/containers") continue;
    all.push_back({"hostPath " + mount.hostPath, [i](DaemonSet& set) {
                     set.host.erase(set.host.begin() + static_cast<std::ptrdiff_t>(i));
                   }});
    // With v1 hierarchies this folder only contains the mounts that matter.
    const bool holder = mount.hostPath == "/sys/fs/cgroup" && !fs::exists("/sys/fs/cgroup/cgroup.procs");
    if (!mount.readOnly && !holder) {
      all.push_back({"writable " + mount.hostPath, [i](DaemonSet& set) { set.host[i].readOnly = true; }});
    }
    if (mount.hostToContainer) {
      all.push_back(
          {"propagation " + mount.hostPath, [i](DaemonSet& set) { set.host[i].hostToContainer = false; }});
    }
  }
  return all;
}

/// Each privilege is needed: without it something stops working. With PRIVILEGES_JSON all of them are tried
/// and written to that file (scripts/report deploy); otherwise only the most significant ones.
TEST_F(Container, EveryPrivilegeIsNeeded) {
  const char* const file = std::getenv("PRIVILEGES_JSON");  // NOLINT(concurrency-mt-unsafe): one thread
  const std::vector<std::string> few{"capability SYS_PTRACE", "capability SYS_CHROOT", "hostPID",
                                     "hostPath /var/log/pods"};
  json::array rows;
  int number = 0;
  for (const auto& privilege : privilegesOf(manifest_)) {
    if (file == nullptr && std::find(few.begin(), few.end(), privilege.name) == few.end()) continue;
    auto less = manifest_;
    privilege.drop(less);
    const auto stopped = Trial(*node_, less, kPatience).run("less-" + std::to_string(number++));
    EXPECT_NE(stopped.what, "") << privilege.name << " is requested but not needed";
    EXPECT_FALSE(stopped.what.starts_with("test setup")) << privilege.name << ": " << stopped.says;
    rows.push_back(
        json::object{{"privilege", privilege.name}, {"stops", stopped.what}, {"says", stopped.says}});
  }
  EXPECT_GE(rows.size(), few.size());
  if (file != nullptr) std::ofstream(file) << json::serialize(json::object{{"privileges", rows}}) << "\n";
}

}  // namespace
}  // namespace fallbackd::e2e
