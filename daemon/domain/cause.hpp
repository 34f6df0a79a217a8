// SPDX-License-Identifier: Apache-2.0
// The closed list of reasons why a container is missing: its image cannot be pulled, or (not_started) it is
// not started although its image is there. Used as metric label, configuration word and log field.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

namespace fallbackd {

#define FALLBACKD_CAUSES(X) \
  X(unreachable)            \
  X(dns)                    \
  X(timeout)                \
  X(tls)                    \
  X(server_error)           \
  X(rate_limited)           \
  X(unauthorized)           \
  X(not_found) X(policy) X(disk) X(not_started) X(unknown)

enum class Cause : std::uint8_t {
#define X(name) name,
  FALLBACKD_CAUSES(X)
#undef X
};

using CauseSet = std::set<Cause>;

std::string_view toString(Cause cause);
std::optional<Cause> parseCause(std::string_view name);
/// All names, in the order of the enum: for messages, schemas and suggestions.
const std::vector<std::string_view>& causeNames();
/// The causes that trigger a fallback by default: those that only an outage has, and not_started, which
/// triggers only if it is known what holds kubelet up.
const CauseSet& defaultTriggers();

}  // namespace fallbackd
