// SPDX-License-Identifier: Apache-2.0
#include "mirror/verdicts.hpp"

#include "base/async/pause.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace fallbackd::mirror {

namespace asio = boost::asio;

std::optional<Verdicts::Verdict> Verdicts::known(const std::string& registry) {
  const auto found = entries_.find(registry);
  if (found == entries_.end()) return std::nullopt;
  found->second->askedAt = clock_.now();
  const auto& verdict = found->second->verdict;
  return verdict && clock_.now() < verdict->until ? verdict : std::nullopt;
}

void Verdicts::makeRoom() {
  if (entries_.size() < kMaxRegistries) return;
  const auto age = [](const auto& one) {
    return one.second->running ? Stamp::max() : one.second->verdict ? one.second->verdict->until : Stamp{};
  };
  const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                       [&](const auto& a, const auto& b) { return age(a) < age(b); });
  entries_.erase(oldest);
}

asio::awaitable<Verdicts::Verdict> Verdicts::of(std::string registry) {
  if (auto now = known(registry)) co_return std::move(*now);
  if (!entries_.contains(registry)) {
    makeRoom();
    entries_.emplace(registry, std::make_shared<Entry>(executor_));
  }
  const auto entry = entries_.at(registry);
  entry->askedAt = clock_.now();
  if (!entry->running) {
    entry->running = true;
    entry->done.reset();
    // A separate task: a caller that goes away must not take the check from the others.
    tasks_.spawn(run(registry, entry));
  }
  co_await entry->done.wait();
  co_return *entry->verdict;
}

asio::awaitable<void> Verdicts::run(std::string registry, std::shared_ptr<Entry> entry) {
  co_await checkOnce(registry, entry);
  if (entry->followed) co_return;  // an earlier task of this registry checks ahead
  while (const auto next = nextCheck(registry, *entry)) {
    entry->followed = true;
    ++followed_;
    co_await pauseUntil(*next);
    entry->followed = false;
    --followed_;
    if (entry->running || !nextCheck(registry, *entry)) co_return;
    entry->running = true;
    entry->done.reset();
    co_await checkOnce(registry, entry);
  }
}

std::optional<Stamp> Verdicts::nextCheck(const std::string& registry, const Entry& entry) {
  const auto found = entries_.find(registry);
  const bool kept = found != entries_.end() && found->second.get() == &entry;
  if (!kept || validity_.ahead.count() == 0 || followed_ >= kMaxAhead ||
      clock_.now() >= later(entry.askedAt, validity_.interest)) {
    return std::nullopt;
  }
  const auto valid = entry.verdict->failing ? validity_.failing : validity_.well;
  return entry.verdict->until -
         std::chrono::duration_cast<Monotonic::duration>(std::min(validity_.ahead, valid / 2));
}

asio::awaitable<void> Verdicts::checkOnce(std::string registry, std::shared_ptr<Entry> entry) {
  std::optional<Failing> failing;
  try {
    failing = co_await check_(std::move(registry));
  } catch (const std::exception& error) {
    const auto* const system = dynamic_cast<const boost::system::system_error*>(&error);
    if (system != nullptr && system->code() == asio::error::operation_aborted) throw;
    // Nothing was learned: containerd goes on to the registry.
    failing = Failing{Cause::unknown, error.what()};
  }
  ++counts_[failing ? std::string(toString(failing->cause)) : "well"];
  const auto valid = failing ? validity_.failing : validity_.well;
  entry->verdict = Verdict{std::move(failing), later(clock_.now(), valid)};
  entry->running = false;
  entry->done.set();
}

}  // namespace fallbackd::mirror
