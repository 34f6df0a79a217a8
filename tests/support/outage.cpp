// SPDX-License-Identifier: Apache-2.0
#include "outage.hpp"

#include "run_dir.hpp"
#include "wait.hpp"

#include <csignal>
#include <fstream>

namespace fallbackd::e2e {

namespace {

using namespace std::chrono_literals;

constexpr const char* kVersion = "1.8.3";

}  // namespace

Result<std::unique_ptr<Outage>> Outage::open() {
  std::unique_ptr<Outage> outage(new Outage);
  FB_TRY(outage->shop_, Shop::open({.reprobeInterval = "5s", .installBinary = false, .workloadExtra = {}}));
  FB_CHECK(outage->openRegistries());
  FB_CHECK(outage->prepareCache());
  auto& shop = *outage->shop_;
  shop.daemon->kill();
  FB_CHECK(outage->runHealthyPod());  // before the daemons look at all pods
  FB_CHECK(shop.daemon->rewriteConfig(outage->optionsFor(kNodes[0])));
  FB_CHECK(shop.daemon->restart());
  for (const char* node : {kNodes[1], kNodes[2]}) {
    FB_TRY(outage->daemons_[node], Daemon::start(outage->optionsFor(node)));
  }
  return outage;
}

Result<> Outage::openRegistries() {
  const auto open = [&](std::unique_ptr<FaultRegistry>& registry, const char* name,
                        RegistryFault fault) -> Result<> {
    const Image image{.reference = "shop/image:1",
                      .files = {{std::string("bin/") + name, testProgram("shop-httpd-1.8.3")}},
                      .entrypoint = {std::string("/bin/") + name},
                      .env = {}};
    FB_TRY(registry, FaultRegistry::start(image, fault));
    return shop_->node->speak("http", registry->address());
  };
  RegistryFault busy;
  busy.status = 503;
  RegistryFault silent;
  silent.silent = true;
  FB_CHECK(open(busy_, "payment", busy));
  FB_CHECK(open(silent_, "search", silent));
  FB_CHECK(open(well_, "wishlist", {}));
  images_ = {{"checkout", shop_->image()},
             {"payment", busy_->address() + "/shop/payment:1.8.3"},
             {"search", silent_->address() + "/shop/search:1.8.3"},
             {"mail", busy_->address() + "/shop/mail:1.8.3"},
             {"invoice", silent_->address() + "/shop/invoice:1.8.3"},
             {"wishlist", well_->address() + "/shop/wishlist:1.9.0"}};
  return {};
}

Result<> Outage::prepareCache() {
  const auto& signer = shop_->signer;
  const auto program = testProgram("shop-httpd-1.8.3");
  for (const char* name : {"checkout", "payment", "search", "mail"}) {
    FB_CHECK(signer.install(program, name, kVersion));
  }
  FB_CHECK(signer.install(program, "wishlist", kVersion, "5d"));
  std::ofstream(signer.cacheDir() / (std::string("mail-v") + kVersion), std::ios::app) << "tampered with";
  return {};
}

DaemonOptions Outage::optionsFor(const std::string& node) const {
  auto options = shop_->daemonOptions(shop_->image());
  options.workloads.clear();
  options.cgroupTop = "/" + node;
  for (const auto& [name, image] : images_) {
    options.workloads += "- name: " + name + "\n  match: {namespace: shop, labels: {app: " + name +
                         ", on: " + node + "}, container: checkout}\n  image: " + image +
                         "\n  binary: " + name + "@" + kVersion +
                         "\n"
                         "  args: [--port=8080, --config=/etc/app/config.yaml]\n"
                         "  env: {ROLE: fallback}\n"
                         "  volumes: [{name: settings, type: configMap, mountPath: /etc/app}]\n"
                         "  readiness: {tcp: {port: 8080}}\n";
  }
  return options;
}

Daemon& Outage::daemon(const std::string& node) const {
  const auto found = daemons_.find(node);
  return found == daemons_.end() ? *shop_->daemon : *found->second;
}

std::vector<ScrapeTarget> Outage::targets() const {
  std::vector<ScrapeTarget> all;
  for (const char* node : kNodes) {
    all.push_back({daemon(node).telemetryPort(), node});
  }
  return all;
}

Result<> Outage::reaches(const std::string& node, const std::string& name, const std::string& state) {
  if (waitUntil(kCeiling, [&] { return recoveryState(daemon(node), name) == state; })) return {};
  return fail(Stage::cli, Reason::timeout,
              name + " on " + node + " is " + recoveryState(daemon(node), name) + ", not " + state);
}

Result<> Outage::startPod(const std::string& workload, const std::string& node, const std::string& name,
                          const std::string& state) {
  auto spec = checkoutPod(name);
  spec.labels = {{"app", workload}, {"on", node}};
  spec.cgroupTop = "/" + node;
  FB_TRY(pods_[name], shop_->kubelet->startPod(spec));
  return reaches(node, name, state);
}

Result<> Outage::runHealthyPod() {
  auto spec = checkoutPod("wishlist-0");
  spec.labels = {{"app", "wishlist"}, {"on", kNodes[2]}};
  spec.cgroupTop = std::string("/") + kNodes[2];
  FB_TRY(pods_["wishlist-0"], shop_->kubelet->startPod(spec));
  const auto pulled = shop_->kubelet->pullImage(images_.at("wishlist"));
  if (!pulled.ok()) return fail(Stage::containerd, Reason::unavailable, pulled.text);
  auto container = shop_->containerSpec();
  container.image = images_.at("wishlist");
  FB_TRY(const auto id, shop_->kubelet->createContainer(pods_.at("wishlist-0"), container));
  return shop_->kubelet->startContainer(id);
}

/// Like kubelet when its next pull succeeds.
Result<> Outage::handBack(const std::string& node, const std::string& name) {
  const auto& pod = pods_.at(name);
  auto container = shop_->containerSpec();
  container.image = images_.at(pod.spec.labels.at("app"));
  const auto pulled = shop_->kubelet->pullImage(container.image);
  if (!pulled.ok()) return fail(Stage::containerd, Reason::unavailable, pulled.text);
  FB_TRY(const auto id, shop_->kubelet->createContainer(pod, container));
  FB_CHECK(shop_->kubelet->startContainer(id));
  return reaches(node, name, "handed_back");
}

Result<> Outage::breakConfiguration() {
  auto broken = optionsFor(kNodes[2]);
  broken.extra = "detektion: {}\n";
  auto& daemon = *daemons_.at(kNodes[2]);
  FB_CHECK(daemon.rewriteConfig(broken));
  const auto is = [&](double wanted) {
    return waitUntil(kCeiling, [&] {
      const auto metrics = daemon.metrics();
      return metrics && sumOf(*metrics, "fallbackd_config_last_load_successful") == wanted;
    });
  };
  if (!is(0)) return fail(Stage::cli, Reason::timeout, "the broken configuration was not noticed");
  FB_CHECK(daemon.rewriteConfig(optionsFor(kNodes[2])));
  if (!is(1)) return fail(Stage::cli, Reason::timeout, "the corrected configuration was not noticed");
  return {};
}

Result<> Outage::killFallback() {
  const pid_t pid = fallbackPid(daemon(kNodes[0]), "checkout-1");
  if (pid <= 0 || ::kill(pid, SIGKILL) != 0)
    return fail(Stage::cli, Reason::not_found, "checkout-1's fallback");
  const bool again = waitUntil(kCeiling, [&] {
    const pid_t now = fallbackPid(daemon(kNodes[0]), "checkout-1");
    return now > 0 && now != pid;
  });
  if (!again) return fail(Stage::cli, Reason::timeout, "the fallback was not started again");
  return reaches(kNodes[0], "checkout-1", "ready");
}

Result<> Outage::play(const std::function<Result<>()>& between) {
  const auto& [a, b, c] = kNodes;
  FB_CHECK(between());
  FB_CHECK(startPod("checkout", a, "checkout-0", "ready"));
  FB_CHECK(startPod("checkout", a, "checkout-1", "ready"));
  FB_CHECK(startPod("payment", a, "payment-0", "ready"));
  FB_CHECK(between());
  FB_CHECK(startPod("search", b, "search-0", "ready"));
  FB_CHECK(startPod("invoice", b, "invoice-0", "failed"));  // has no binary
  FB_CHECK(startPod("checkout", b, "checkout-2", "ready"));
  FB_CHECK(between());
  FB_CHECK(startPod("mail", a, "mail-0", "failed"));
  FB_CHECK(killFallback());
  FB_CHECK(between());
  for (const char* down : {"mail-0", "invoice-0"}) FB_CHECK(shop_->kubelet->removePod(pods_.at(down)));
  FB_CHECK(breakConfiguration());
  FB_CHECK(startPod("payment", c, "payment-1", "ready"));
  FB_CHECK(between());
  busy_->set({});
  FB_CHECK(handBack(a, "payment-0"));
  FB_CHECK(between());
  FB_CHECK(shop_->registry.start());
  FB_CHECK(shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  FB_CHECK(handBack(a, "checkout-0"));
  FB_CHECK(shop_->kubelet->removePod(pods_.at("checkout-2")));
  FB_CHECK(reaches(b, "checkout-2", "pod_gone"));
  return between();
}

}  // namespace fallbackd::e2e
