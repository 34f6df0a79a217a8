// SPDX-License-Identifier: Apache-2.0
#include "recovery/withholding.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::recovery {

std::string_view toString(Withheld::By by) {
  return by == Withheld::By::pause ? "pause" : "observe";
}

void Withholding::pause(config::Pause order) {
  if (order == pause_) return;
  pause_ = std::move(order);
  forgetAll();
}

void Withholding::forgetAll() {
  all_.clear();
}

bool Withholding::withholds(const config::Config& config, const watcher::Detection& detection) {
  const auto& sandbox = detection.sandbox;
  const auto* order = pause_.orderFor(sandbox.podNamespace);
  const bool observes =
      config::modeOf(config, *detection.workload, sandbox.podNamespace) == config::Mode::observe;
  if (order == nullptr && !observes) return false;
  const Key key{sandbox.id, detection.workload->match.container};
  Withheld one;
  one.target = {sandbox.id, sandbox.podUid, sandbox.podNamespace, sandbox.podName, key.second};
  one.workload = detection.workload->name;
  one.binary = detection.workload->binary;
  one.cause = detection.cause;
  one.causeText = detection.text;
  one.by = order != nullptr ? Withheld::By::pause : Withheld::By::observe;
  one.since = LoopClock::of(services_.executor).wall();
  const auto [place, isNew] = all_.emplace(key, std::move(one));
  if (isNew) {
    const auto learnt =
        detection.verdictTook.count() == 0 ? Wait::Learnt::from_another : Wait::Learnt::from_this_pod;
    tell(place->second, waits({detection.cause, detection.text, learnt}, place->second.binary));
  }
  if (order != nullptr) {
    if (isNew) {
      log(config::LogLevel::warn, "recoveries are paused: no fallback is started", place->second,
          {{"reason", order->reason}});
      tell(place->second, recovery::paused(place->second.binary, order->reason));
    }
  } else if (isNew || place->second.refused) {
    // A binary that was refused may have been installed since.
    tasks_.spawn(decide(key, detection.workload, detection.waitingSince));
  }
  return true;
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
  auto chooser = chooserOf(*services_.config, *workload, all_.at(key).target.podNamespace);
  const auto admitted = co_await services_.binaries.acquire(workload->binary, std::move(chooser));
  const auto found = all_.find(key);
  if (found == all_.end()) co_return;
  auto& one = found->second;
  const auto complete = [&](const cache::AdmittedPtr& binary) {
    const auto& target = one.target;
    const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
    return effectiveWorkload(workload, spec.get(), *services_.config,
                             {services_.specs->facts(target.podUid), nullptr, binary->image});
  };
  const auto effective = admitted.and_then(complete);
  if (!effective) {
    const auto before = std::exchange(one.refused, effective.error());
    if (before && before->reason == effective.error().reason) co_return;
    services_.orderMetrics.observed(one.workload, telemetry::ObservedResult::refused);
    log(config::LogLevel::warn, "observed: no fallback would have been started", one,
        {{"cause", fallbackd::toString(one.cause)}, {"error", effective.error().message()}});
    tell(one, observedRefusal(one.binary, effective.error()));
    co_return;
  }
  one.refused.reset();
  one.wouldStartAfter = LoopClock::of(services_.executor).now() - waitingSince;
  services_.orderMetrics.observed(one.workload, telemetry::ObservedResult::would_start);
  log(config::LogLevel::info, "observed: a fallback would have been started", one,
      {{"cause", fallbackd::toString(one.cause)}, {"afterMs", toMillis(*one.wouldStartAfter)}});
  tell(one, observed(one.binary, *one.wouldStartAfter));
}

void Withholding::containerCreated(const std::string& podUid, const std::string& container) {
  std::erase_if(all_, [&](const auto& one) {
    const auto& target = one.second.target;
    return target.podUid == podUid && target.container == container;
  });
}

void Withholding::sandboxGone(const std::string& sandboxId) {
  std::erase_if(all_, [&](const auto& one) { return one.first.first == sandboxId; });
}

std::vector<Withheld> Withholding::all() const {
  std::vector<Withheld> list;
  for (const auto& [key, one] : all_) list.push_back(one);
  return list;
}

std::size_t Withholding::count(Withheld::By by) const {
  return static_cast<std::size_t>(
      std::count_if(all_.begin(), all_.end(), [&](const auto& one) { return one.second.by == by; }));
}

boost::asio::awaitable<void> Withholding::stop() {
  tasks_.cancelAll();
  co_await tasks_.drained();
}

}  // namespace fallbackd::recovery
