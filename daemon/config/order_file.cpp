// SPDX-License-Identifier: Apache-2.0
#include "config/order_file.hpp"

#include "base/strings.hpp"
#include "config/pause.hpp"

namespace fallbackd::config {

void checkOrderVersion(const MapReader& map) {
  static_cast<void>(map.require("apiVersion", kOrderVersion));
  std::string version;
  if (map.read("apiVersion", version) && version != kOrderVersion) {
    map.problem("apiVersion", fallbackd::quoted(version) + " is not known",
                "write " + std::string(kOrderVersion));
  }
}

Wall::time_point readOrderTime(const MapReader& map, std::string_view key) {
  static_cast<void>(map.require(key, "2027-01-31T08:30:00Z"));
  std::string text;
  if (!map.read(key, text)) return {};
  const auto when = parseDate(text);
  if (when) return *when;
  map.problem(key, fallbackd::quoted(text) + " is not a date and time", "write 2027-01-31T08:30:00Z");
  return {};
}

std::string readOrderReason(const MapReader& map) {
  std::string reason;
  map.read("reason", reason);
  if (reason.size() > kMaxPauseReason) {
    map.problem("reason", "has more than " + std::to_string(kMaxPauseReason) + " bytes");
  }
  return reason;
}

std::string orderScalar(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + "'";
}

}  // namespace fallbackd::config
