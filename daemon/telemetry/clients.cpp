#include "telemetry/clients.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::telemetry {

bool Clients::makeRoom(const std::string& address) {
  const auto same = [&](const Client& one) { return one.address == address; };
  const auto count = std::count_if(all_.begin(), all_.end(), same);
  if (static_cast<std::size_t>(count) >= kMostOfAddress) return closeOne(same);
  if (all_.size() >= kMost) return closeOne([](const Client& one) { return !one.address.empty(); });
  return true;
}

bool Clients::closeOne(const std::function<bool(const Client&)>& among) {
  auto victim = all_.end();
  for (auto one = all_.begin(); one != all_.end(); ++one) {
    if (!one->asking || !one->close || !among(*one)) continue;
    if (victim == all_.end() || one->since < victim->since) victim = one;
  }
  if (victim == all_.end()) return false;
  // Once: it leaves the list when its coroutine has ended, a turn of the loop later.
  const auto close = std::exchange(victim->close, nullptr);
  victim->asking = false;
  victim->address = "closing";
  close();
  return true;
}

}  // namespace fallbackd::telemetry
