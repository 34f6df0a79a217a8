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
/// A required date and time; the epoch if it is missing.
Wall::time_point readOrderTime(const MapReader& map, std::string_view key);
/// Empty if there is none.
std::string readOrderReason(const MapReader& map);
/// The YAML scalar for exactly this text, which is one line.
std::string orderScalar(std::string_view text);

}  // namespace fallbackd::config
