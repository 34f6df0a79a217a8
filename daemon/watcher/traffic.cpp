// SPDX-License-Identifier: Apache-2.0
#include "watcher/traffic.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

std::optional<sys::ReceivedBytes> ContainerdTraffic::received() {
  const auto pid = sys::listenerOf(Stage::detection, socketPath_);
  if (!pid) return std::nullopt;
  if (!diagnosis_ || *pid != pid_) {
    auto opened = sys::TcpDiagnosis::open(Stage::detection, *pid);
    if (!opened) return std::nullopt;
    diagnosis_.emplace(std::move(*opened));
    pid_ = *pid;
  }
  auto bytes = diagnosis_->receivedBy(pid_);
  if (bytes) return std::move(*bytes);
  diagnosis_.reset();  // whatever an unfinished answer left in the socket goes with it
  return std::nullopt;
}

std::optional<bool> Inflow::look() {
  auto now = before_ ? traffic_.received() : std::nullopt;
  if (!now) return std::nullopt;
  std::erase_if(*now, [&](const auto& one) { return before_->contains(one.first); });
  const bool grew = std::any_of(now->begin(), now->end(), [&](const auto& one) {
    const auto known = last_.find(one.first);
    // What waits unread has come: it is the reader that is slow.
    return one.second.unread > 0 || one.second.bytes > (known == last_.end() ? 0 : known->second.bytes);
  });
  last_ = std::move(*now);
  return grew;
}

}  // namespace fallbackd::watcher
