// SPDX-License-Identifier: Apache-2.0
#include "contained_node.hpp"

#include "base/strings.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"

#include <fstream>
#include <sys/mount.h>

#include <boost/json.hpp>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr const char* kPods = "/var/lib/kubelet/pods";
constexpr const char* kLogs = "/var/log/pods";
constexpr const char* kCache = "/opt/bin/fallback";
constexpr const char* kSocket = "/run/containerd/containerd.sock";

/// Covers the machine's folder in this run's mount namespace; /run and /var/lib are covered already.
Result<> coverFolder(const char* folder) {
  if (::mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") == 0) return {};
  return failErrno(Stage::cli, std::string("cover ") + folder);
}

Result<> bindAt(const fs::path& what, const fs::path& where) {
  if (::mount(what.c_str(), where.c_str(), nullptr, MS_BIND, nullptr) == 0) return {};
  return failErrno(Stage::cli, "bind " + what.string() + " at " + where.string());
}

Result<> layOut(const ContainerdNode& node, const Signer& signer) {
  FB_CHECK(coverFolder("/opt"));
  FB_CHECK(coverFolder("/var/log"));
  // HostToContainer requires a shared source; on a node with systemd every mount is shared.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) != 0)
    return failErrno(Stage::cli, "share mounts");
  for (const char* folder : {kPods, kLogs, kCache, "/run/containerd"}) {
    FB_CHECK(sys::makeDirs(Stage::cli, folder, 0755));
  }
  const std::ofstream place(kSocket);  // the socket is mounted over it
  FB_CHECK(bindAt(node.socket(), kSocket));
  return bindAt(signer.cacheDir(), kCache);
}

}  // namespace

Result<std::unique_ptr<ContainedNode>> ContainedNode::open(const fs::path& archive, NodeOptions options) {
  FB_TRY(auto registry, Registry::make());
  FB_TRY(auto signer, Signer::make());
  std::unique_ptr<ContainedNode> made(new ContainedNode(std::move(registry), std::move(signer)));
  options.usualPlaces = true;
  FB_TRY(made->node, ContainerdNode::start(std::move(options)));
  FB_CHECK(layOut(*made->node, made->signer));
  made->kubelet = std::make_unique<Kubelet>(*made->node, kPods, kLogs);
  FB_CHECK(made->signer.install(testProgram("shop-httpd-1.8.3"), "checkout", "1.8.3"));
  // Imported twice, under different names: the same bytes as the earlier and the next release.
  FB_TRY(const auto listed, made->node->ctr({"images", "import", archive}));
  FB_TRY(const auto names, made->node->ctr({"images", "ls", "-q"}));
  for (const auto line : split(names, '\n')) {
    if (line.find("/fallbackd:") != std::string_view::npos) made->images.emplace_back(line);
  }
  if (made->images.empty())
    return fail(Stage::cli, Reason::not_found, "no fallbackd in " + archive.string() + ": " + listed);
  const std::string next = made->images.front() + "-next";
  FB_CHECK(made->node->ctr({"images", "tag", made->images.front(), next}));
  made->images.push_back(next);
  return made;
}

std::string ContainedNode::configuration() const {
  return "apiVersion: fallbackd.io/v1\n"
         "telemetry: {listen: \"0.0.0.0:9477\", logLevel: debug}\n"
         "detection: {reprobeInterval: 1s}\n"
         "workloads:\n"
         "  - name: checkout\n"
         "    match: {namespace: shop, labels: {app: checkout}, container: checkout}\n"
         "    image: " +
         image() +
         "\n"
         "    binary: checkout@1.8.3\n"
         "    args: [--port=8080, --config=/etc/app/config.yaml]\n"
         "    env: {ROLE: fallback}\n"
         "    volumes:\n"
         "      - {name: settings, type: configMap, mountPath: /etc/app}\n"
         "      - {name: api-key, type: secret, mountPath: /etc/key}\n"
         "      - {name: scratch, type: emptyDir, mountPath: /scratch}\n"
         "    handBack: {grace: 20s}\n"  // it ends in time only if SIGTERM arrives
         "    resources: {memory: 64Mi, pids: 64}\n"
         "    readiness: {tcp: {port: 8080}, timeout: 5s}\n";
}

Result<DaemonPod> ContainedNode::start(const DaemonSet& manifest, const std::string& reference) {
  auto spec = manifest.pod();
  spec.volumes = {{PodVolume::Kind::config_map, "config", {{"fallbackd.yaml", configuration()}}}};
  for (const auto& folder : manifest.makeFolders) FB_CHECK(sys::makeDirs(Stage::cli, folder, 0755));
  DaemonPod daemon;
  FB_TRY(daemon.pod, kubelet->startPod(spec));
  auto container = manifest.container;
  container.image = reference;
  container.hostMounts = manifest.host;
  // A key as overlays/example mounts it: a single file.
  container.hostMounts.push_back(
      {signer.keysDir() / "signing.pub", "/etc/fallbackd/keys/shop.pub", true, false});
  FB_TRY(daemon.containerId, kubelet->createContainer(daemon.pod, container));
  FB_CHECK(kubelet->startContainer(daemon.containerId));
  return daemon;
}

Result<> ContainedNode::endDaemon(const DaemonPod& daemon) {
  FB_CHECK(kubelet->stopContainer(daemon.containerId, std::chrono::seconds(20)));
  return kubelet->removePod(daemon.pod);
}

PodSpec ContainedNode::workloadPod(const std::string& name) const {
  PodSpec spec = checkoutPod(name);
  spec.volumes.push_back({PodVolume::Kind::secret, "api-key", {{"token", "hunter2"}}});
  spec.volumes.push_back({PodVolume::Kind::empty_dir, "scratch", {}});
  return spec;
}

std::string ContainedNode::logOf(const DaemonPod& daemon) const {
  constexpr std::size_t kMaxLog = 16 << 20;
  std::string text;
  for (const auto& entry : fs::recursive_directory_iterator(daemon.pod.logDirectory)) {
    if (entry.is_regular_file()) text += sys::readFile(Stage::cli, entry.path(), kMaxLog).value_or("");
  }
  return text;
}

RecoverySeen recoveryOf(const std::string& ip, std::uint16_t port, const std::string& podName) {
  const auto answer = httpGet(ip, port, "/status");
  if (!answer || answer->status != 200) return {};
  const auto root = json::parse(answer->body);
  for (const auto& item : root.at("recoveries").as_array()) {
    if (item.at("pod").as_string() != podName) continue;
    RecoverySeen seen{std::string(item.at("state").as_string()), item.at("pid").to_number<pid_t>(), {}};
    if (const auto* const error = item.as_object().if_contains("error")) {
      seen.error = std::string(error->at("message").as_string());
    }
    return seen;
  }
  return {};
}

}  // namespace fallbackd::e2e
