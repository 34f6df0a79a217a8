// SPDX-License-Identifier: Apache-2.0
// The kernel's names for capabilities and resource limits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fallbackd::config {

/// The number of "NET_BIND_SERVICE" or "CAP_NET_BIND_SERVICE" (capabilities(7)).
std::optional<unsigned> parseCapability(std::string_view name);
/// Names without CAP_, indexed by number: the first is capability 0.
std::span<const std::string_view> capabilityNames();
/// "CHOWN, KILL" for a set of bits.
std::string capabilityList(std::uint64_t capabilities);

/// RLIMIT_NOFILE for "nofile" (setrlimit(2)).
std::optional<int> parseRlimit(std::string_view name);
std::span<const std::string_view> rlimitNames();

}  // namespace fallbackd::config
