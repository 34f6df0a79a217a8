// SPDX-License-Identifier: Apache-2.0
#include "recovery/withholding.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::recovery {

std::string_view toString(Withheld::By by) {
  return by == Withheld::By::pause ? "pause" : "observe";
}

namespace {

bool sameOrder(const config::Pause::Order* one, const config::Pause::Order* other) {
  if (one == nullptr || other == nullptr) return one == other;
  return *one == *other;
}

/// Whether nothing that was reported or counted about it has changed.
bool isSame(const Withheld& one, const Withheld& other) {
  return one.by == other.by && one.workload == other.workload && one.binary == other.binary;
}

}  // namespace

void Withholding::pause(config::Pause order) {
  const auto before = std::exchange(pause_, std::move(order));
  std::erase_if(all_, [&](const auto& one) {
    const auto& podNamespace = one.second.withheld.target.podNamespace;
    return !sameOrder(before.orderFor(podNamespace), pause_.orderFor(podNamespace));
  });
}

void Withholding::reconfigured() {
  for (auto& [key, one] : all_) one.confirmed = false;
}

bool Withholding::withholds(const config::Config& config, const watcher::Detection& detection) {
  const auto& sandbox = detection.sandbox;
  const Key key{sandbox.id, detection.workload->match.container};
  const auto* order = pause_.orderFor(sandbox.podNamespace);
  const bool observes =
      config::modeOf(config, *detection.workload, sandbox.podNamespace) == config::Mode::observe;
  if (order == nullptr && !observes) {
    all_.erase(key);
    return false;
  }
  Withheld now;
  now.target = {sandbox.id, sandbox.podUid, sandbox.podNamespace, sandbox.podName, key.second};
  now.workload = detection.workload->name;
  now.binary = detection.workload->binary;
  now.cause = detection.cause;
  now.causeText = detection.text;
  now.by = order != nullptr ? Withheld::By::pause : Withheld::By::observe;
  now.since = LoopClock::of(services_.executor).wall();
  const auto known = all_.find(key);
  const bool isNew = known == all_.end() || !isSame(known->second.withheld, now);
  if (isNew) {
    const auto place = all_.insert_or_assign(key, Entry{std::move(now)}).first;
    begin(place->second.withheld, detection);
  }
  auto& one = all_.at(key);
  const bool wasConfirmed = std::exchange(one.confirmed, true);
  // A binary that was refused may have been installed since, and another configuration may decide otherwise.
  const bool undecided = isNew || !wasConfirmed || one.withheld.refused;
  if (order == nullptr && undecided) tasks_.spawn(decide(key, detection.workload, detection.waitingSince));
  return true;
}

void Withholding::begin(const Withheld& one, const watcher::Detection& detection) {
  const auto learnt =
      detection.verdictTook.count() == 0 ? Wait::Learnt::from_another : Wait::Learnt::from_this_pod;
  tell(one, waits({detection.cause, detection.text, learnt}, one.binary));
  const auto* order = pause_.orderFor(one.target.podNamespace);
  if (order == nullptr) return;
  log(config::LogLevel::warn, "recoveries are paused: no fallback is started", one,
      {{"reason", order->reason}});
  tell(one, recovery::paused(one.binary, order->reason));
}

void Withholding::log(config::LogLevel level, std::string_view message, const Withheld& one,
                      telemetry::Fields more) {
  std::vector<telemetry::Field> fields{{"namespace", one.target.podNamespace},
                                       {"pod", one.target.podName},
                                       {"container", one.target.container},
                                       {"binary", one.binary.toString()}};
  fields.insert(fields.end(), more.begin(), more.end());
  services_.log.write(level, message, fields);
}

void Withholding::tell(const Withheld& one, PodEvent event) {
  if (services_.podEvents != nullptr) services_.podEvents->tell(one.target, std::move(event));
}

/// Everything that a recovery would do before its launch.
boost::asio::awaitable<void> Withholding::decide(Key key, watcher::WorkloadPtr workload, Stamp waitingSince) {
  auto chooser = chooserOf(*services_.config, *workload, all_.at(key).withheld.target.podNamespace);
  const auto admitted = co_await services_.binaries.acquire(workload->binary, std::move(chooser));
  const auto found = all_.find(key);
  if (found == all_.end()) co_return;
  auto& one = found->second.withheld;
  // What took its place meanwhile is decided separately.
  const bool same = one.workload == workload->name && one.binary == workload->binary;
  if (one.by != Withheld::By::observe || !same) co_return;
  const auto complete = [&](const cache::AdmittedPtr& binary) {
    const auto& target = one.target;
    const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
    return effectiveWorkload(workload, spec.get(), *services_.config,
                             {services_.specs->facts(target.podUid), nullptr, binary->image});
  };
  const auto effective = admitted.and_then(complete);
  if (!effective) {
    one.wouldStartAfter.reset();
    const auto before = std::exchange(one.refused, effective.error());
    if (before && before->reason == effective.error().reason) co_return;
    services_.orderMetrics.observed(one.workload, telemetry::ObservedResult::refused);
    log(config::LogLevel::warn, "observed: no fallback would have been started", one,
        {{"cause", fallbackd::toString(one.cause)}, {"error", effective.error().message()}});
    tell(one, observedRefusal(one.binary, effective.error()));
    co_return;
  }
  one.refused.reset();
  if (one.wouldStartAfter) co_return;  // decided before, and counted
  one.wouldStartAfter = LoopClock::of(services_.executor).now() - waitingSince;
  services_.orderMetrics.observed(one.workload, telemetry::ObservedResult::would_start);
  log(config::LogLevel::info, "observed: a fallback would have been started", one,
      {{"cause", fallbackd::toString(one.cause)}, {"afterMs", toMillis(*one.wouldStartAfter)}});
  tell(one, observed(one.binary, *one.wouldStartAfter));
}

void Withholding::containerCreated(const std::string& podUid, const std::string& container) {
  std::erase_if(all_, [&](const auto& one) {
    const auto& target = one.second.withheld.target;
    return target.podUid == podUid && target.container == container;
  });
}

void Withholding::sandboxGone(const std::string& sandboxId) {
  std::erase_if(all_, [&](const auto& one) { return one.first.first == sandboxId; });
}

std::vector<Withheld> Withholding::all() const {
  std::vector<Withheld> list;
  for (const auto& [key, one] : all_) {
    if (one.confirmed) list.push_back(one.withheld);
  }
  return list;
}

std::size_t Withholding::count(Withheld::By by) const {
  return static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), [&](const auto& one) {
    return one.second.confirmed && one.second.withheld.by == by;
  }));
}

boost::asio::awaitable<void> Withholding::stop() {
  tasks_.cancelAll();
  co_await tasks_.drained();
}

}  // namespace fallbackd::recovery
