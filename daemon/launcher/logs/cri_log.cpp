// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/cri_log.hpp"

#include <algorithm>

namespace fallbackd::launcher {

std::string CriLogFramer::frame(std::string_view bytes, Wall::time_point now) const {
  const std::string head = rfc3339(now) + " " + stream_ + " ";
  std::string out;
  while (!bytes.empty()) {
    const auto newline = std::min(bytes.find('\n'), bytes.size());
    const auto length = std::min(newline, kMaxContent);
    // A newline right after a full part completes the line.
    const bool whole = length == newline && newline < bytes.size();
    out.append(head).append(whole ? "F " : "P ").append(bytes.substr(0, length)).append("\n");
    bytes.remove_prefix(whole ? length + 1 : length);
  }
  return out;
}

}  // namespace fallbackd::launcher
