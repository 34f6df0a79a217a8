// SPDX-License-Identifier: Apache-2.0
#include "recovery/binaries.hpp"

#include "base/async/loop_clock.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::recovery {

namespace asio = boost::asio;

namespace {

/// Runs `work` on the pool and returns to the caller's executor.
template <class Work>
auto onPool(asio::thread_pool& pool, Work work) -> asio::awaitable<decltype(work())> {
  auto job = [](Work one) -> asio::awaitable<decltype(one())> { co_return one(); };
  auto running = job(std::move(work));
  co_return co_await asio::co_spawn(pool, std::move(running), asio::use_awaitable);
}

const BinaryState* stateIn(const BinaryRef& ref, const std::vector<BinaryState>& states) {
  const auto found =
      std::find_if(states.begin(), states.end(), [&](const auto& one) { return one.ref == ref; });
  return found == states.end() ? nullptr : &*found;
}

/// Whether another binary took its place in the memory budget.
bool wasEvicted(const cache::Cache::Entry& entry, const std::vector<BinaryState>& before) {
  const auto* known = stateIn(entry.ref, before);
  return !entry.examined && !entry.resident && known != nullptr && known->resident;
}

/// A refusal keeps what was known about the copy that still serves.
BinaryState stateOf(const cache::Cache::Entry& entry, const std::vector<BinaryState>& before) {
  BinaryState state;
  state.ref = entry.ref;
  state.serves = entry.result || entry.resident;
  state.resident = entry.resident;
  if (!entry.result) {
    state.refused = entry.result.error();
    const auto* known = stateIn(entry.ref, before);
    if (known == nullptr || !entry.resident) return state;
    state.inGrace = known->inGrace;
    state.bytes = known->bytes;
    state.digest = known->digest;
    state.expires = known->expires;
    state.image = known->image;
    state.namespaces = known->namespaces;
    return state;
  }
  const auto& admitted = **entry.result;
  state.inGrace = admitted.inGrace;
  state.bytes = admitted.size;
  state.digest = admitted.digest;
  state.expires = admitted.expires;
  state.image = admitted.image;
  state.namespaces = admitted.namespaces;
  return state;
}

telemetry::CoverageState coverageOf(const BinaryState& state, Wall::time_point now) {
  using State = telemetry::CoverageState;
  if (!state.refused) return state.expires && *state.expires <= now ? State::grace : State::admitted;
  const auto reason = state.refused->reason;
  return reason == Reason::expired     ? State::expired
         : reason == Reason::not_found ? State::missing
                                       : State::refused;
}

}  // namespace

CachedBinaries::CachedBinaries(asio::any_io_executor executor, config::CacheSettings settings,
                               telemetry::CacheMetrics& metrics, telemetry::Log& log)
    : executor_(std::move(executor)), metrics_(metrics), log_(log), cache_(std::move(settings)) {}

CachedBinaries::~CachedBinaries() {
  pool_.join();
}

asio::awaitable<Result<cache::AdmittedPtr>> CachedBinaries::acquire(BinaryRef ref, Chooser chooser) {
  const auto now = LoopClock::of(executor_).wall();
  auto found = cache_.resident(ref, now);
  if (found && *found == nullptr) {
    const auto namedBy = chooser.chosenBy == Provenance::configuration ? cache::NamedBy::configuration
                                                                       : cache::NamedBy::others;
    // Named, not written into the call: GCC 12 destroys closures in a co_await expression twice.
    auto work = [this, ref, now, namedBy] { return cache_.admit(ref, now, namedBy); };
    found = co_await onPool(pool_, std::move(work));
    count(found);
    reportUsage();
  }
  if (!found) co_return found;
  const auto& admitted = **found;
  const bool asked = chooser.chosenBy == Provenance::annotation;
  if (asked && !chooser.listed && !admitted.mayBeChosenIn(chooser.podNamespace)) {
    co_return fail(Stage::admission, Reason::not_permitted,
                   ref.toString() + " may not be chosen by annotation in namespace " + chooser.podNamespace +
                       ": its attestation lists the namespaces that may, and this one is not among them; "
                       "podAnnotations.binaries can list it for this node");
  }
  meterGrace(admitted);
  co_return found;
}

/// The grace period is for outages: each use of it is logged.
void CachedBinaries::meterGrace(const cache::Admitted& admitted) {
  if (LoopClock::of(executor_).wall() < admitted.expires) return;
  metrics_.graceUsed(admitted.ref.toString());
  log_.warn("using an expired binary within its grace period",
            {{"binary", admitted.ref.toString()}, {"expired", rfc3339(admitted.expires)}});
}

Chooser chooserOf(const config::Config& config, const config::Workload& workload,
                  const std::string& podNamespace) {
  return {workload.binaryFrom, podNamespace, config.podAnnotations.lists(workload.binary.name, podNamespace)};
}

asio::awaitable<void> CachedBinaries::refresh(config::ConfigPtr config, std::vector<BinaryRef> chosen) {
  std::vector<BinaryRef> wanted;
  for (const auto& workload : config->workloads) wanted.push_back(workload.binary);
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());

  cache_.reconfigure(config->cache);
  const auto now = LoopClock::of(executor_).wall();
  auto work = [this, wanted, now, others = std::move(chosen)] { return cache_.refresh(wanted, now, others); };
  const auto entries = co_await onPool(pool_, std::move(work));
  const auto before = std::exchange(states_, std::vector<BinaryState>()).value_or(std::vector<BinaryState>());
  for (const auto& entry : entries) states_->push_back(stateOf(entry, before));
  for (const auto& entry : entries) {
    if (entry.examined) report(entry);
    if (wasEvicted(entry, before)) warnOfBudget(**entry.result);
  }
  std::erase_if(refused_, [&](const auto& one) {
    return std::none_of(entries.begin(), entries.end(),
                        [&](const auto& entry) { return entry.ref == one.first; });
  });
  reportUsage();
  reportTrust();
  reportRollbacks();
  if (const auto warning = cache_.takeWarning(); !warning.empty()) {
    log_.warn("the cache needs attention", {{"what", warning}});
  }
  std::vector<telemetry::Coverage> coverage;
  for (const auto& workload : config->workloads) {
    const auto* found = stateIn(workload.binary, *states_);
    if (found == nullptr) continue;
    coverage.push_back(
        {workload.name, workload.binary.toString(), coverageOf(*found, now), found->serves, found->expires});
  }
  metrics_.coverage(coverage);
}

/// Admitted binaries keep serving meanwhile: only this line shows that nothing new is admitted.
void CachedBinaries::reportTrust() {
  const auto trust = cache_.trust();
  std::string said;
  for (const auto* error : {&trust.keyring, &trust.revocations}) {
    if (*error) said.append(said.empty() ? "" : "; ").append((*error)->message());
  }
  if (said == std::exchange(distrust_, said)) return;
  if (said.empty()) {
    log_.info("the keyring and the revocation list can be read again", {});
  } else {
    log_.error("nothing new is admitted", {{"error", said}});
  }
}

/// A rollback is logged when it takes effect and when it no longer does.
void CachedBinaries::reportRollbacks() {
  std::vector<telemetry::RollbackInEffect> gauges;
  std::map<std::string, std::string> states;
  for (const auto& one : cache_.rolledBack()) {
    const auto state = std::string(cache::toString(one.state));
    gauges.push_back({one.rollback.from.name, one.state == cache::RollbackState::in_effect});
    const auto what = one.rollback.from.toString() + " to " + one.rollback.to;
    states.emplace(what, state);
    const auto before = rollbacks_.find(what);
    if (before != rollbacks_.end() && before->second == state) continue;
    log_.warn("a rollback of the configuration",
              {{"what", what}, {"floor", one.floor.value_or("")}, {"state", state}});
  }
  rollbacks_ = std::move(states);
  metrics_.rollbacks(gauges);
}

void CachedBinaries::count(const Result<cache::AdmittedPtr>& admission) {
  if (admission) {
    metrics_.admitted();
  } else {
    metrics_.refused(admission.error().reason);
  }
}

void CachedBinaries::reportUsage() {
  const auto usage = cache_.usage();
  metrics_.usage(usage.residentBytes, usage.budgetBytes, usage.hashedBytes);
}

void CachedBinaries::warnOfBudget(const cache::Admitted& admitted) {
  log_.warn("binary does not fit into the memory budget: a recovery reads it unless a fallback runs from it",
            {{"binary", admitted.ref.toString()}, {"bytes", admitted.size}});
}

void CachedBinaries::report(const cache::Cache::Entry& entry) {
  const auto& result = entry.result;
  count(result);
  if (result) {
    refused_.erase(entry.ref);
    log_.info("binary admitted", {{"binary", entry.ref.toString()},
                                  {"digest", (*result)->digest},
                                  {"bytes", (*result)->size},
                                  {"expires", rfc3339((*result)->expires)}});
    if ((*result)->inGrace) {
      log_.warn("binary expired, its grace period has begun", {{"binary", entry.ref.toString()}});
    }
    if (!entry.resident) warnOfBudget(**result);
  } else if (std::exchange(refused_[entry.ref], result.error().message()) != result.error().message()) {
    log_.warn("binary refused", {{"binary", entry.ref.toString()},
                                 {"reason", toString(result.error().reason)},
                                 {"error", result.error().message()},
                                 {"earlierCopyServes", entry.resident}});
  }
}

}  // namespace fallbackd::recovery
