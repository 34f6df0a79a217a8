// SPDX-License-Identifier: Apache-2.0
// How a request to a server of the cluster ended: a closed list, which is also a metric label.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string_view>

namespace fallbackd::kube {

// clang-format off
#define FALLBACKD_KUBE_OUTCOMES(X) \
  X(ok) X(unauthorized) X(forbidden) X(not_found) X(gone) X(throttled) X(server_error) X(refused) \
  X(timeout) X(tls) X(unreachable) X(malformed) X(too_large) X(credentials)
// clang-format on

enum class Outcome : std::uint8_t {
#define X(name) name,
  FALLBACKD_KUBE_OUTCOMES(X)
#undef X
};
inline constexpr std::size_t kOutcomes = static_cast<std::size_t>(Outcome::credentials) + 1;

std::string_view toString(Outcome outcome);

/// For a complete answer.
Outcome outcomeOf(unsigned status);
/// For a request without an answer, as Connection reports it.
Outcome outcomeOf(const Error& error);

}  // namespace fallbackd::kube
