// SPDX-License-Identifier: Apache-2.0
#include "coverage/verdict.hpp"

#include <algorithm>

namespace fallbackd::coverage {

namespace {

constexpr std::array<std::string_view, kVerdicts> kNames{
#define X(name) #name,
    FALLBACKD_COVERAGE_VERDICTS(X)
#undef X
};

}  // namespace

std::string_view toString(Verdict verdict) {
  return kNames.at(static_cast<std::size_t>(verdict));
}

std::optional<Verdict> parseVerdict(std::string_view text) {
  const auto* const found = std::find(kNames.begin(), kNames.end(), text);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Verdict>(found - kNames.begin());
}

bool isProblem(Verdict verdict) {
  switch (verdict) {
    case Verdict::rescued:
    case Verdict::limited:
    case Verdict::not_needed:
    case Verdict::init_container:
      return false;
    default:
      return true;
  }
}

}  // namespace fallbackd::coverage
