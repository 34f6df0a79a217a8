// SPDX-License-Identifier: Apache-2.0
#include "shop.hpp"

#include "run_dir.hpp"

#include <boost/json.hpp>

namespace fallbackd::e2e {

namespace {

namespace json = boost::json;

/// The pod's newest recovery in /status, which lists running ones first.
std::optional<json::object> recoveryOf(const Daemon& daemon, const std::string& podName) {
  const auto answer = httpGet("127.0.0.1", daemon.telemetryPort(), "/status");
  if (!answer || answer->status != 200) return std::nullopt;
  const auto root = json::parse(answer->body);
  for (const auto& item : root.at("recoveries").as_array()) {
    if (item.at("pod").as_string() == podName) return item.as_object();
  }
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<Shop>> Shop::open(const ShopOptions& options) {
  FB_TRY(auto registry, Registry::make());
  FB_TRY(auto signer, Signer::make());
  std::unique_ptr<Shop> shop(new Shop(std::move(registry), std::move(signer)));
  shop->options = options;
  FB_TRY(shop->node, ContainerdNode::start(options.node));
  shop->kubelet = std::make_unique<Kubelet>(*shop->node);
  if (options.installBinary) {
    FB_CHECK(shop->signer.install(testProgram("shop-httpd-1.8.3"), "checkout", "1.8.3"));
  }
  FB_TRY(shop->daemon, Daemon::start(shop->daemonOptions(shop->image())));
  return shop;
}

PodSpec checkoutPod(const std::string& name) {
  PodSpec spec;
  spec.name = name;
  spec.namespaceName = "shop";
  spec.labels = {{"app", "checkout"}};
  spec.volumes = {{PodVolume::Kind::config_map, "settings", {{"config.yaml", "greeting: hello\n"}}}};
  return spec;
}

void labelAsJob(PodSpec& spec) {
  const std::string name = "nightly";
  const std::string uid = "3d8ad9b5-6b5c-4b4f-9f3c-0d3f1c8f9a11";
  spec.labels["batch.kubernetes.io/job-name"] = name;
  spec.labels["batch.kubernetes.io/controller-uid"] = uid;
  spec.labels["job-name"] = name;
  spec.labels["controller-uid"] = uid;
}

ContainerSpec checkoutContainer(const std::string& image) {
  ContainerSpec spec;
  spec.name = "checkout";
  spec.image = image;
  spec.args = {"--port=8080", "--config=/etc/app/config.yaml"};
  spec.env = {{"ROLE", "container"}};
  spec.mounts = {{"settings", "/etc/app", true}};
  spec.runAsUser = 65532;
  return spec;
}

ContainerSpec Shop::containerSpec() const {
  auto spec = checkoutContainer(image());
  spec.args.insert(spec.args.end(), options.moreArgs.begin(), options.moreArgs.end());
  return spec;
}

std::string checkoutWorkload(const std::string& image, const std::string& version,
                             const std::vector<std::string>& moreArgs) {
  std::string more;
  for (const auto& one : moreArgs) more += ", " + one;
  return "- name: checkout\n"
         "  match: {namespace: shop, labels: {app: checkout}, container: checkout}\n"
         "  image: " +
         image + "\n  binary: checkout@" + version + "\n  args: [--port=8080, --config=/etc/app/config.yaml" +
         more +
         "]\n"
         "  env: {ROLE: fallback}\n"
         "  user: {uid: 65532, gid: 65533}\n"
         "  volumes: [{name: settings, type: configMap, mountPath: /etc/app}]\n"
         "  readiness: {tcp: {port: 8080}}\n";
}

DaemonOptions Shop::daemonOptions(const std::string& image) const {
  DaemonOptions result;
  result.containerdSocket = node->socket();
  result.cacheDir = signer.cacheDir();
  result.keysDir = signer.keysDir();
  result.kubeletPods = kubelet->podsDir();
  result.extra = "detection: {reprobeInterval: " + options.reprobeInterval + "}\n";
  if (!options.logLinks.empty()) result.launcher = "  logLinks: " + options.logLinks.string() + "\n";
  result.workloads = checkoutWorkload(image, "1.8.3", options.moreArgs) + options.workloadExtra;
  return result;
}

pid_t fallbackPid(const Daemon& daemon, const std::string& podName) {
  const auto recovery = recoveryOf(daemon, podName);
  return recovery ? recovery->at("pid").to_number<pid_t>() : 0;
}

std::string recoveryState(const Daemon& daemon, const std::string& podName) {
  const auto recovery = recoveryOf(daemon, podName);
  return recovery ? std::string(recovery->at("state").as_string()) : "";
}

StandInSeen standInOf(const Daemon& daemon, const std::string& podName) {
  const auto recovery = recoveryOf(daemon, podName);
  const auto* const settlement = recovery ? recovery->if_contains("settlement") : nullptr;
  if (settlement == nullptr) return {};
  return {std::string(settlement->at("state").as_string()), std::string(settlement->at("why").as_string())};
}

std::string explanationOf(const Daemon& daemon, const std::string& podName) {
  const auto ran = runOk({.argv = {binary("fallbackctl"), "explain", "shop/" + podName, "--socket",
                                   daemon.controlSocket().string()}});
  return ran ? *ran : ran.error().message();
}

}  // namespace fallbackd::e2e
