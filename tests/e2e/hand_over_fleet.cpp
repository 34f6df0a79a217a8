// SPDX-License-Identifier: Apache-2.0
#include "hand_over_fleet.hpp"

#include "run_dir.hpp"

#include <algorithm>

namespace fallbackd::e2e {

namespace {

using namespace std::chrono_literals;

constexpr const char* kStandIn = "fallbackd.io/checkout:1.8.3";

}  // namespace

Result<std::unique_ptr<FleetService>> FleetService::make(std::string name, int replicas, bool sharesPort) {
  std::unique_ptr<FleetService> service(new FleetService(std::move(name), replicas, sharesPort));
  for (const auto lag : kLags) {
    FB_TRY(auto router, Router::start(Shop::kPort, lag));
    service->routers_.push_back(std::move(router));
  }
  return service;
}

std::vector<std::string> FleetService::podsOf(int round) const {
  std::vector<std::string> names;
  for (int i = 0; i < replicas_; ++i) {
    names.push_back(name_ + "-" + std::to_string(round) + "-" + std::to_string(i));
  }
  return names;
}

std::vector<std::string> FleetService::args() const {
  std::vector<std::string> args{"--port=8080", "--graceful"};
  if (sharesPort_) args.emplace_back("--share-port");
  return args;
}

std::string FleetService::workload(const std::string& image) const {
  std::string list;
  for (const auto& one : args()) list += (list.empty() ? "" : ", ") + one;
  return "- name: " + name_ + "\n  match: {namespace: shop, labels: {app: " + name_ +
         "}, container: checkout}\n  image: " + image + "\n  binary: checkout@1.8.3\n  args: [" + list +
         "]\n  env: {ROLE: fallback}\n  user: {uid: 65532, gid: 65533}\n  readiness: {tcp: {port: 8080}}\n"
         "  settle: always\n  handBack: {on: " +
         (sharesPort_ ? "start, grace: 2s" : "container") + "}\n";
}

/// A hand-back begins when its pod is no longer Ready.
void FleetService::update(const model::PodStatus& pod) {
  for (const auto& router : routers_) router->update(pod);
  const std::lock_guard lock(mutex_);
  auto& ready = ready_[pod.name];
  if (ready && !pod.ready && !pod.deleting && !loads_.empty()) {
    auto& counts = begun_.emplace_back();
    for (std::size_t i = 0; i < counts.size(); ++i) counts.at(i) = loads_[i]->counts();
  }
  ready = pod.ready;
}

bool FleetService::waitForEndpoints(std::chrono::nanoseconds ceiling) {
  return std::all_of(routers_.begin(), routers_.end(), [&](const auto& one) {
    return one->waitForEndpoints(static_cast<std::size_t>(replicas_), ceiling);
  });
}

bool FleetService::waitForAnswers(const std::string& role, std::chrono::nanoseconds ceiling) {
  return std::all_of(loads_.begin(), loads_.end(), [&](const auto& one) {
    return one->waitForAnswers(kRequestsPerSecond / 4, role, ceiling);
  });
}

bool FleetService::open(std::chrono::nanoseconds ceiling) {
  std::vector<std::unique_ptr<RequestLoad>> loads;
  for (const auto& router : routers_) {
    loads.push_back(std::make_unique<RequestLoad>(router->port(), kRequestsPerSecond));
  }
  {
    const std::lock_guard lock(mutex_);
    begun_.clear();
    loads_ = std::move(loads);
  }
  return waitForAnswers("fallback", ceiling);
}

bool FleetService::close(std::chrono::nanoseconds ceiling) {
  const bool answered = waitForEndpoints(ceiling) && waitForAnswers("container", ceiling);
  for (std::size_t lag = 0; lag < kLags.size(); ++lag) {
    const auto counts = loads_[lag]->finish();
    auto& lost = lost_.at(lag);
    lost.sent += counts.sent;
    for (const auto& [reason, count] : counts.reasons) lost.reasons[reason] += count;
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < begun_.size(); ++i) {
      const auto first = i == 0 ? 0 : begun_[i].at(lag).lost;  // what was lost before also counts
      const auto last = i + 1 < begun_.size() ? begun_[i + 1].at(lag).lost : counts.lost;
      lost.ofHandBacks.push_back(last - first);
    }
    lost.noEndpoint = routers_[lag]->rejected();
  }
  const std::lock_guard lock(mutex_);
  loads_.clear();
  ready_.clear();
  return answered;
}

Result<std::unique_ptr<HandOverFleet>> HandOverFleet::open(const std::vector<int>& replicas,
                                                           NodeOptions node) {
  std::unique_ptr<HandOverFleet> fleet(new HandOverFleet);
  ShopOptions options;
  options.reprobeInterval = "500ms";
  options.node = std::move(node);
  for (const int count : replicas) {
    const auto number = fleet->groups_.size();
    FB_TRY(auto registry, Registry::make());
    auto group = std::make_unique<FleetGroup>(FleetGroup{std::move(registry), {}, {}});
    // Each image differs: for equal images containerd shows only one name.
    FB_CHECK(group->registry.start());
    FB_TRY(group->image, group->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3"),
                                                   std::vector<std::string>(number, "--role=container")));
    FB_CHECK(group->registry.stop());
    for (const bool shares : {false, true}) {
      const auto name =
          "of-" + std::to_string(count) + "-" + std::to_string(number) + (shares ? "-start" : "-container");
      FB_TRY(auto service, FleetService::make(name, count, shares));
      options.workloadExtra += service->workload(group->image);
      group->services.push_back(std::move(service));
    }
    fleet->groups_.push_back(std::move(group));
  }
  model::Options kubelet;
  kubelet.folder = makeRunDir("kubelet-model");
  options.logLinks = kubelet.folder / "containers";
  FB_TRY(fleet->shop_, Shop::open(options));
  fleet->kubelet_ = std::make_unique<model::KubeletModel>(*fleet->shop_->kubelet, kubelet);
  fleet->kubelet_->subscribe([all = fleet.get()](const model::PodStatus& pod) {
    const auto app = pod.labels.find("app");
    if (app == pod.labels.end()) return;
    for (const auto& group : all->groups_) {
      for (const auto& service : group->services) {
        if (service->name() == app->second) service->update(pod);
      }
    }
  });
  return fleet;
}

void HandOverFleet::add(const FleetGroup& group, const FleetService& service, const std::string& pod) {
  model::PodDefinition definition;
  definition.pod = checkoutPod(pod);
  definition.pod.labels = {{"app", service.name()}};
  definition.containers.resize(1);
  auto& container = definition.containers[0];
  container.spec = checkoutContainer(group.image);
  container.spec.args = service.args();
  container.readiness = model::Probe{.kind = model::Probe::Kind::http,
                                     .port = Shop::kPort,
                                     .path = "/healthz",
                                     .period = 1s,
                                     .timeout = 5s,
                                     .failureThreshold = 10};
  kubelet_->add(definition);
}

Result<> HandOverFleet::readyWith(const FleetGroup& group, int number, const std::string& image) const {
  for (const auto& service : group.services) {
    for (const auto& pod : service->podsOf(number)) {
      const bool ready = kubelet_->waitFor(
          pod, [&](const model::PodStatus& one) { return one.ready && one.containers[0].image == image; },
          kCeiling);
      if (!ready) return fail(Stage::readiness, Reason::timeout, pod + " is not Ready with " + image);
      if (!kubelet_->events().of(pod, "Killing").empty()) {
        return fail(Stage::hand_back, Reason::invalid, pod + ": a program found its port taken");
      }
    }
  }
  return {};
}

Result<> HandOverFleet::run(FleetGroup& group, int rounds) {
  for (int number = 0; number < rounds; ++number) FB_CHECK(round(group, number));
  return {};
}

Result<> HandOverFleet::round(FleetGroup& group, int number) {
  const auto each = [&](bool (FleetService::*wait)(std::chrono::nanoseconds), const char* what) -> Result<> {
    for (const auto& service : group.services) {
      if (!(*service.*wait)(kCeiling))
        return fail(Stage::readiness, Reason::timeout, service->name() + ": " + what);
    }
    return {};
  };
  for (const auto& service : group.services) {
    for (const auto& pod : service->podsOf(number)) add(group, *service, pod);
  }
  FB_CHECK(readyWith(group, number, kStandIn));
  FB_CHECK(each(&FleetService::waitForEndpoints, "endpoints"));
  FB_CHECK(each(&FleetService::open, "answers of the fallback"));
  FB_CHECK(group.registry.start());
  FB_CHECK(readyWith(group, number, group.image));
  FB_CHECK(each(&FleetService::close, "answers of the container"));
  for (const auto& service : group.services) {
    for (const auto& pod : service->podsOf(number)) kubelet_->remove(pod, 1s);
  }
  for (const auto& service : group.services) {
    for (const auto& pod : service->podsOf(number)) {
      if (!kubelet_->waitUntilGone(pod, kCeiling)) return fail(Stage::run, Reason::timeout, pod + " stays");
    }
  }
  FB_CHECK(group.registry.stop());
  return shop_->kubelet->removeImage(group.image);
}

}  // namespace fallbackd::e2e
