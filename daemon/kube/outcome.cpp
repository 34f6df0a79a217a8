// SPDX-License-Identifier: Apache-2.0
#include "kube/outcome.hpp"

#include <array>

namespace fallbackd::kube {

std::string_view toString(Outcome outcome) {
  static constexpr std::array kNames = {
#define X(name) std::string_view(#name),
      FALLBACKD_KUBE_OUTCOMES(X)
#undef X
  };
  return kNames.at(static_cast<std::size_t>(outcome));
}

Outcome outcomeOf(unsigned status) {
  if (status >= 200 && status < 300) return Outcome::ok;
  switch (status) {
    case 401:
      return Outcome::unauthorized;
    case 403:
      return Outcome::forbidden;
    case 404:
      return Outcome::not_found;
    case 410:
      return Outcome::gone;
    case 429:
      return Outcome::throttled;
    default:
      return status >= 500 ? Outcome::server_error : Outcome::refused;
  }
}

Outcome outcomeOf(const Error& error) {
  switch (error.reason) {
    case Reason::timeout:
      return Outcome::timeout;
    case Reason::untrusted_key:
      return Outcome::tls;
    case Reason::protocol:
      return Outcome::malformed;
    case Reason::too_large:
      return Outcome::too_large;
    case Reason::unavailable:
      return Outcome::unreachable;
    default:
      return Outcome::credentials;
  }
}

}  // namespace fallbackd::kube
