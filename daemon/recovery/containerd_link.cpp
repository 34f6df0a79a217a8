// SPDX-License-Identifier: Apache-2.0
#include "recovery/containerd_link.hpp"

#include <chrono>

namespace fallbackd::recovery {

namespace {

constexpr auto kBetweenLines = std::chrono::minutes(1);

/// The reason in gRPC's error, without gRPC's own words: "Events.Publish: failed to connect ...: unix:SOCKET:
/// Permission denied".
std::string plainReason(const std::string& why, const std::string& socket) {
  const auto named = socket + ": ";
  const auto at = why.rfind(named);
  return at == std::string::npos ? why : why.substr(at + named.size());
}

}  // namespace

ContainerdLink::News ContainerdLink::report(bool up, const std::string& why, Stamp now) {
  const bool was = connected_;
  connected_ = up;
  why_ = up ? std::string() : plainReason(why, socket_);
  if (up) {
    loggedAt_.reset();
    return News::connected;
  }
  if (!was && loggedAt_ && now - *loggedAt_ < kBetweenLines) return News::none;
  const bool again = !was && loggedAt_.has_value();
  loggedAt_ = now;
  if (again) return News::still;
  return was ? News::lost : News::unreachable;
}

}  // namespace fallbackd::recovery
