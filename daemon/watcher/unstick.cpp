// SPDX-License-Identifier: Apache-2.0
#include "watcher/unstick.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace fallbackd::watcher {

namespace {

using TcpState = sys::TcpConnection::State;

std::uint64_t sentOf(const sys::TcpConnection& one) {
  return one.acknowledged + one.unacknowledged;
}

/// Retransmissions count as sent for the kernel, so its own times mean something only if the numbers changed.
Stamp activeAt(const sys::TcpConnection& one, const StillConnections::Seen* before, Stamp at) {
  if (one.state == TcpState::connecting) return before == nullptr ? at : before->active;
  if (one.unread > 0) return at;  // it has come: it is the reader that is slow
  const bool known = before != nullptr && before->at.state == TcpState::established;
  const bool received = one.bytes > (known ? before->at.bytes : 0);
  const bool sent = !known || sentOf(one) != sentOf(before->at);
  auto active = known ? before->active : Stamp::min();
  if (received) active = std::max(active, at - one.sinceReceived);
  if (sent) active = std::max(active, at - one.sinceSent);
  return active;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// "http://user:password@proxy.example.com:3128/" -> "proxy.example.com:3128"
std::string proxyOf(std::string url) {
  std::string port = "80";
  if (const auto scheme = url.find("://"); scheme != std::string::npos) {
    const auto name = lower(url.substr(0, scheme));
    if (name == "https") port = "443";
    if (name.starts_with("socks")) port = "1080";
    url.erase(0, scheme + 3);
  }
  url.erase(std::min(url.find_first_of("/?#"), url.size()));
  if (const auto user = url.rfind('@'); user != std::string::npos) url.erase(0, user + 1);
  if (url.empty()) return {};
  const auto colon = url.rfind(':');
  const bool hasPort = colon != std::string::npos && (url.front() != '[' || url[colon - 1] == ']');
  return hasPort ? url : url + ":" + port;
}

bool isAddress(std::string_view host) {
  return host.starts_with('[') || host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

std::string_view toString(UnstickResult result) {
  constexpr std::array<std::string_view, kUnstickResults> kNames{"ended",         "gone",          "proxy",
                                                                 "not_permitted", "not_supported", "failed"};
  return kNames.at(static_cast<std::size_t>(result));
}

void StillConnections::look(const sys::TcpConnections& now, Stamp at) {
  std::map<std::uint64_t, Seen> seen;
  for (const auto& [inode, one] : now) {
    const auto known = seen_.find(one.cookie);
    const Seen* before = known == seen_.end() ? nullptr : &known->second;
    seen.emplace(one.cookie,
                 Seen{inode, one, before == nullptr ? at : before->first, activeAt(one, before, at)});
  }
  seen_ = std::move(seen);
}

std::chrono::nanoseconds limitOf(const sys::TcpConnection& one, const PullLimits& limits) {
  if (one.bytes > 0) return limits.response;
  const bool tls = one.peer.ends_with(":443");
  const bool stands = one.state == TcpState::established && one.unacknowledged == 0 && !tls;
  return stands ? limits.response : limits.stall;
}

Decision decide(const StillConnections& connections, const StalledRegistries& registries,
                const std::map<std::uint64_t, Stamp>& spared, Stamp now) {
  Decision decision;
  for (const auto& [cookie, seen] : connections.all()) {
    std::string host;
    std::chrono::nanoseconds limit{};
    for (const auto& [name, registry] : registries) {
      if (now >= registry.until || !registry.peers.contains(seen.at.peer)) continue;
      if (host.empty()) host = name;
      limit = std::max(limit, limitOf(seen.at, registry.limits));
    }
    if (host.empty()) continue;
    auto dueAt = later(seen.active, limit);
    if (const auto until = spared.find(cookie); until != spared.end()) dueAt = std::max(dueAt, until->second);
    if (now >= dueAt) {
      decision.due.push_back({host, cookie, seen.at, now - seen.active});
    } else {
      decision.next = std::min(decision.next.value_or(dueAt), dueAt);
    }
  }
  return decision;
}

std::set<std::string> proxiesIn(std::string_view environment) {
  std::set<std::string> all;
  while (!environment.empty()) {
    const auto end = std::min(environment.find('\0'), environment.size());
    const std::string variable(environment.substr(0, end));
    environment.remove_prefix(std::min(end + 1, environment.size()));
    const auto equals = variable.find('=');
    if (equals == std::string::npos) continue;
    const auto name = lower(variable.substr(0, equals));
    if (name != "http_proxy" && name != "https_proxy" && name != "all_proxy") continue;
    if (auto proxy = proxyOf(variable.substr(equals + 1)); !proxy.empty()) all.insert(std::move(proxy));
  }
  return all;
}

bool mayBeProxy(const std::string& peer, const std::set<std::string>& proxies) {
  return std::any_of(proxies.begin(), proxies.end(), [&](const std::string& proxy) {
    const auto colon = proxy.rfind(':');
    if (isAddress(std::string_view(proxy).substr(0, colon))) return peer == proxy;
    return peer.ends_with(proxy.substr(colon));
  });
}

}  // namespace fallbackd::watcher
