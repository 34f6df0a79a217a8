// SPDX-License-Identifier: Apache-2.0
// What the files of operators' orders have in common.
#pragma once

#include "base/clock.hpp"
#include "config/reader.hpp"

#include <string>
#include <string_view>

namespace fallbackd::config {

inline constexpr std::string_view kOrderVersion = "fallbackd.io/v1";

/// Reports an apiVersion that is missing or not known.
void checkOrderVersion(const MapReader& map);
/// A date and time that has to be there; the epoch where it is not.
Wall::time_point readOrderTime(const MapReader& map, std::string_view key);
/// Empty where there is none.
std::string readOrderReason(const MapReader& map);
/// A scalar that YAML reads as this very text, which is one line.
std::string orderScalar(std::string_view text);

}  // namespace fallbackd::config
