// SPDX-License-Identifier: Apache-2.0
#include "http/clients.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::http {

bool Clients::makeRoom(const std::string& address) {
  const auto sameAddress = [&](const Client& one) { return one.address == address; };
  const auto sameKind = [&](const Client& one) { return one.isRoot() == address.empty(); };
  const auto count = [&](const auto& which) {
    return static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), which));
  };
  const auto taken = count(sameKind);
  if (!address.empty() && limits_.ofAddress < limits_.clients) {
    const auto own = count(sameAddress);
    const bool nearlyAll = taken >= limits_.clients - limits_.clients / 4;
    if (own >= limits_.ofAddress || (nearlyAll && own >= kFewOfAddress)) return closeOne(sameAddress);
  }
  if (taken >= limits_.clients) return closeOne(sameKind);
  return true;
}

bool Clients::mayListen(const Client& client) const {
  const auto listeners = std::count_if(all_.begin(), all_.end(), [&](const Client& one) {
    return one.listening && one.isRoot() == client.isRoot();
  });
  return static_cast<std::size_t>(listeners) < kMaxListeners;
}

bool Clients::closeOne(const std::function<bool(const Client&)>& among) {
  auto victim = all_.end();
  for (auto one = all_.begin(); one != all_.end(); ++one) {
    if (!one->asking || !one->close || !among(*one)) continue;
    if (victim == all_.end() || one->since < victim->since) victim = one;
  }
  if (victim == all_.end()) return false;
  // Close it only once: it leaves the list when its coroutine has ended, a turn of the loop later.
  const auto close = std::exchange(victim->close, nullptr);
  victim->asking = false;
  victim->address = "closing";
  close();
  return true;
}

}  // namespace fallbackd::http
