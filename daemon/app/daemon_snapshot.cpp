// SPDX-License-Identifier: Apache-2.0
// What the daemon shows: the snapshot for its endpoints, and the metrics that are computed on request.
#include "app/daemon_parts.hpp"
#include "domain/image_reference.hpp"

#include <algorithm>
#include <variant>

namespace fallbackd::app {

namespace {

telemetry::CredentialProviderRuns runsOf(const watcher::ProviderCounts& counts) {
  using End = telemetry::ProviderResult;
  return {{{End::given, counts.given},
           {End::none, counts.none},
           {End::failed, counts.failed},
           {End::malformed, counts.malformed},
           {End::too_large, counts.tooLarge},
           {End::timeout, counts.timedOut}},
          counts.notWaitedFor};
}

telemetry::WorkerUsage usageOf(const workers::PoolCounts& counts) {
  telemetry::WorkerUsage usage;
  usage.workers = counts.workers;
  usage.stuck = counts.stuck;
  for (std::size_t i = 0; i < workers::kWorks; ++i) {
    const std::string work(workers::toString(static_cast<workers::Work>(i)));
    usage.missed[work] = counts.missed.at(i);
    usage.refused[work] = counts.refused.at(i);
  }
  return usage;
}

telemetry::NotStarted notStartedOf(const std::vector<watcher::Waiting>& all) {
  telemetry::NotStarted counts;
  for (const auto& one : all) {
    if (one.state != watcher::Waiting::State::not_started) continue;
    if (!one.heldUp) {
      ++counts.unknown;
    } else if (std::holds_alternative<watcher::StalledPull>(*one.heldUp)) {
      ++counts.byPull;
    } else {
      ++counts.byBackOff;
    }
  }
  return counts;
}

std::map<telemetry::UnstickResult, std::uint64_t> unsticksOf(const watcher::Unsticker::Counts& counts) {
  static_assert(watcher::kUnstickResults == static_cast<std::size_t>(telemetry::UnstickResult::failed) + 1);
  std::map<telemetry::UnstickResult, std::uint64_t> totals;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    totals[static_cast<telemetry::UnstickResult>(i)] = counts.at(i);
  }
  return totals;
}

telemetry::CircuitState shownAs(watcher::Circuits::State state) {
  using State = watcher::Circuits::State;
  if (state == State::open) return telemetry::CircuitState::open;
  return state == State::half_open ? telemetry::CircuitState::half_open : telemetry::CircuitState::closed;
}

}  // namespace

/// On the loop, for the endpoints' thread.
Snapshot Daemon::Parts::collect() {
  auto waiting = watcher->waitingContainers();
  metrics.detection.notStarted(notStartedOf(waiting));
  metrics.detection.waitingContainers(watcher->waiting());
  const auto& withholding = recoveries->withholding();
  metrics.orders.withheld(withholding.count(recovery::Withheld::By::pause),
                          withholding.count(recovery::Withheld::By::observe));
  metrics.detection.registryCircuits(circuits());
  metrics.detection.containerdCalls(containerd.calls->all());
  metrics.daemon.spawnerRestarts(launcher.spawner().restarts());
  metrics.daemon.workerUsage(usageOf(launcher.workers()->counts()));
  metrics.detection.credentialProviders(runsOf(watcher->credentials().counts()));
  metrics.detection.unstick(unsticksOf(watcher->unsticker().counts()));
  metrics.workload.runningContainers(watcher->runningContainers());
  Snapshot now;
  now.knownPods = viewOf(podSources.pods(), podSources.namespaces(), podSources.events());
  metrics.podSources.used(usageOf(now.knownPods));
  if (now.knownPods.events) metrics.podSources.used(usageOf(*now.knownPods.events));
  now.version = FALLBACKD_VERSION;
  now.nodeName = options.nodeName;
  now.started = started;
  const auto& link = recoveries->containerd();
  now.containerdConnected = link.connected();
  now.containerdSocket = link.socket();
  now.containerdProblem = link.why();
  now.spawnerRuns = launcher.spawner().pid() > 0;
  now.spawnerRestarts = launcher.spawner().restarts();
  now.config = config;
  now.configFile = options.configFile;
  now.dropInDir = options.dropInDir.value_or("");
  now.configProblems = configProblems;
  now.pods = watcher->pods();
  for (const auto& pod : now.pods) {
    const auto& uid = pod.sandbox.podUid;
    if (auto spec = podSources.find(uid, pod.sandbox.podNamespace, pod.sandbox.podName)) {
      now.specs[uid] = std::move(spec);
      now.facts[uid] = podSources.facts(uid);
    }
    if (auto rollout = podSources.rollout(uid)) now.rollouts[uid] = std::move(*rollout);
  }
  now.waiting = std::move(waiting);
  now.registries = watcher->registries();
  now.unstick = watcher->unsticker().state();
  now.unsticks = watcher->unsticker().counts();
  now.ignoredAnnotations = watcher->ignoredAnnotations();
  now.pause = withholding.paused();
  now.standInsGone = recoveries->standInsGone();
  now.pauseProblem = pauseProblem;
  now.drill = drill;
  now.drillProblem = drillProblem;
  now.withheld = withholding.all();
  now.incidents = recoveries->incidents();
  now.binaries = binaries.states();
  now.cacheUsage = binaries.usage();
  now.trust = binaries.trust();
  now.rolledBack = binaries.rolledBack();
  now.containerdCalls = containerd.calls->all();
  now.mirrorProblem = mirrorProblem;
  if (mirror) {
    now.mirror = mirror->view();
    metrics.mirror.used({now.mirror->requests, now.mirror->bytes, now.mirror->images, now.mirror->checks});
  }
  return now;
}

/// The configuration's hosts by name; all others (from pods' annotations) as one, with the worst state.
std::map<std::string, telemetry::CircuitState> Daemon::Parts::circuits() const {
  std::map<std::string, telemetry::CircuitState> states;
  for (const auto& workload : config->workloads) {
    if (const auto image = ImageReference::parse(workload.image)) states[image->host()] = {};
  }
  for (const auto& registry : watcher->registries()) {
    const bool named = states.contains(registry.name);
    // What was found for one namespace shows nothing about a registry that the configuration names.
    const auto found =
        !named && !registry.namespaces.empty() ? watcher::Circuits::State::open : registry.state;
    auto& state = named ? states[registry.name] : states["other"];
    state = std::max(state, shownAs(found));
  }
  return states;
}

}  // namespace fallbackd::app
