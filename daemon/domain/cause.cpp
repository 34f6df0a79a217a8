// SPDX-License-Identifier: Apache-2.0
#include "domain/cause.hpp"

#include <algorithm>

namespace fallbackd {

const std::vector<std::string_view>& causeNames() {
  static const std::vector<std::string_view> kNames{
#define X(name) #name,
      FALLBACKD_CAUSES(X)
#undef X
  };
  return kNames;
}

std::string_view toString(Cause cause) {
  const auto index = static_cast<std::size_t>(cause);
  return index < causeNames().size() ? causeNames()[index] : "unknown";
}

std::optional<Cause> parseCause(std::string_view name) {
  const auto found = std::find(causeNames().begin(), causeNames().end(), name);
  if (found == causeNames().end()) return std::nullopt;
  return static_cast<Cause>(found - causeNames().begin());
}

const CauseSet& defaultTriggers() {
  static const CauseSet kTriggers{Cause::unreachable,  Cause::dns,          Cause::timeout,
                                  Cause::server_error, Cause::rate_limited, Cause::not_started};
  return kTriggers;
}

}  // namespace fallbackd
