// SPDX-License-Identifier: Apache-2.0
#include "recovery/incident.hpp"

#include "base/strings.hpp"

#include <span>
#include <sys/random.h>

namespace fallbackd::recovery {

std::string_view toString(State state) {
  constexpr std::array kNames{
#define X(name) std::string_view{#name},
      FALLBACKD_STATES(X)
#undef X
  };
  return kNames.at(static_cast<std::size_t>(state));
}

std::string newRecoveryId() {
  std::array<std::byte, 6> bytes{};
  // This can fail only when entropy is short at boot; a repeated id would merely be refused by its folder.
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    const auto now = Clock::system().now().time_since_epoch().count();
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes.at(i) = static_cast<std::byte>(now >> (8 * i));
  }
  return toHex(bytes);
}

}  // namespace fallbackd::recovery
