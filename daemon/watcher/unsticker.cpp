// SPDX-License-Identifier: Apache-2.0
#include "watcher/unsticker.hpp"

#include "base/async/pause.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace fallbackd::watcher {

namespace {

using namespace std::chrono_literals;

// New connections are seen this late. A look at a node's containerd takes well below a millisecond.
constexpr std::chrono::nanoseconds kLookInterval = 200ms;

UnstickResult resultOf(const Result<>& ended) {
  if (ended) return UnstickResult::ended;
  switch (ended.error().reason) {
    case Reason::not_found:
      return UnstickResult::gone;
    case Reason::not_permitted:
      return UnstickResult::not_permitted;
    case Reason::unavailable:
      return UnstickResult::not_supported;
    default:
      return UnstickResult::failed;
  }
}

}  // namespace

Unsticker::Unsticker(boost::asio::any_io_executor executor, Traffic& traffic)
    : clock_(LoopClock::of(executor)), traffic_(traffic), changed_(executor), tasks_(executor) {}

void Unsticker::enable(bool wanted) {
  wanted_ = wanted;
  if (!wanted_) registries_.clear();
}

std::optional<sys::TcpConnections> Unsticker::look() {
  auto now = traffic_.received();
  if (now) connections_.look(*now, clock_.now());
  return now;
}

bool Unsticker::works() {
  if (!wanted_) return false;
  if (state_ == State::untried || state_ == State::not_visible) {
    const auto can = traffic_.canEnd();
    const auto result = resultOf(can);
    state_ = can                                      ? State::ready
             : result == UnstickResult::not_permitted ? State::not_permitted
             : result == UnstickResult::not_supported ? State::not_supported
                                                      : State::not_visible;
  }
  return state_ == State::ready;
}

void Unsticker::stalled(const std::string& host, const std::set<std::string>& peers, const PullLimits& limits,
                        Stamp until) {
  if (!works()) return;
  auto& registry = registries_[host];
  registry.peers.insert(peers.begin(), peers.end());
  registry.limits = limits;
  registry.until = until;
  if (!std::exchange(watching_, true)) {
    tasks_.spawn(watch());
  } else {
    changed_.notify();
  }
}

void Unsticker::answered(const std::string& host) {
  registries_.erase(host);
}

bool Unsticker::knows(const std::string& host, const std::string& peer) const {
  const auto found = registries_.find(host);
  return found != registries_.end() && found->second.peers.contains(peer);
}

/// Runs as long as a verdict is valid.
boost::asio::awaitable<void> Unsticker::watch() {
  while (!registries_.empty()) {
    const auto now = clock_.now();
    std::erase_if(registries_, [&](const auto& one) { return now >= one.second.until; });
    endDue();
    const auto pause = later(now, kLookInterval);
    const auto next = std::min(next_.value_or(pause), pause);
    co_await changed_.waitUntil(std::max(next, later(now, 1ms)));
  }
  watching_ = false;
  spared_.clear();
  leftAlone_.clear();
  failed_.clear();
}

void Unsticker::endDue() {
  next_.reset();
  if (!look()) return;
  const auto now = clock_.now();
  const auto& all = connections_.all();
  std::erase_if(spared_, [&](const auto& one) { return !all.contains(one.first); });
  std::erase_if(leftAlone_, [&](const auto cookie) { return !all.contains(cookie); });
  std::erase_if(failed_, [&](const auto cookie) { return !all.contains(cookie); });
  auto decision = decide(connections_, registries_, spared_, now);
  next_ = decision.next;
  std::erase_if(decision.due, [&](const auto& due) { return leftAlone_.contains(due.cookie); });
  if (decision.due.empty()) return;
  const auto proxies = traffic_.proxies();
  for (const auto& due : decision.due) {
    auto outcome = endOne(due, proxies);
    // What failed may work at the next look; it is reported once.
    const auto result = outcome.result;
    if (result == UnstickResult::failed && !failed_.insert(due.cookie).second) continue;
    if (result == UnstickResult::proxy || result == UnstickResult::not_permitted) {
      leftAlone_.insert(due.cookie);
    }
    count(due.registry, due.connection, due.silent, result, std::move(outcome.error));
  }
}

Unsticker::Outcome Unsticker::endOne(const Due& due, const Result<std::set<std::string>>& proxies) {
  // Without its environment it is not known what is a proxy.
  if (!proxies) return {UnstickResult::failed, proxies.error().message()};
  if (mayBeProxy(due.connection.peer, *proxies)) return {UnstickResult::proxy};
  const auto ended = traffic_.end(due.connection);
  const auto result = resultOf(ended);
  if (result == UnstickResult::failed) return {result, ended.error().message()};
  if (result != UnstickResult::not_supported) return {result};
  // canEnd() has found that the kernel can. Older ones report this for a connection that has just been
  // closed.
  const bool gone = look() && !connections_.all().contains(due.cookie);
  return gone ? Outcome{UnstickResult::gone} : Outcome{UnstickResult::failed, ended.error().message()};
}

bool Unsticker::end(const std::string& host, const sys::TcpConnection& connection) {
  const auto proxies = traffic_.proxies();
  if (!proxies || mayBeProxy(connection.peer, *proxies)) return false;
  const auto result = resultOf(traffic_.end(connection));
  if (result == UnstickResult::ended) count(host, connection, {}, result);
  return result == UnstickResult::ended;
}

void Unsticker::count(const std::string& host, const sys::TcpConnection& connection,
                      std::chrono::nanoseconds silent, UnstickResult result, std::string error) {
  ++counts_.at(static_cast<std::size_t>(result));
  if (result == UnstickResult::not_permitted) state_ = State::not_permitted;
  if (told_) told_({host, connection.peer, result, silent, std::move(error)});
}

std::string_view toString(Unsticker::State state) {
  constexpr std::array<std::string_view, 6> kNames{"untried",     "ready",         "off",
                                                   "not visible", "not permitted", "not supported"};
  return kNames.at(static_cast<std::size_t>(state));
}

}  // namespace fallbackd::watcher
