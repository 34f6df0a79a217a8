// SPDX-License-Identifier: Apache-2.0
// Kubernetes quantities: 64Mi, 1G, 500m, 2.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fallbackd::config {

/// Bytes: a decimal number, plain or with k, M, G, T, P (powers of 1000) or Ki, Mi, Gi, Ti, Pi (powers of
/// 1024).
std::optional<std::uint64_t> parseBytes(std::string_view text);

/// CPUs: 2, 0.5 or 500m; more than zero, at most 1024.
std::optional<double> parseCpus(std::string_view text);

}  // namespace fallbackd::config
