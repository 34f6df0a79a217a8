#include "launcher/cri_log.hpp"

#include <algorithm>

namespace fallbackd::launcher {

void CriLogFramer::line(std::string& out, std::string_view tag, Wall::time_point now) {
  out.append(rfc3339(now)).append(" ").append(stream_).append(" ").append(tag).append(" ");
  out.append(pending_).append("\n");
  pending_.clear();
}

std::string CriLogFramer::feed(std::string_view bytes, Wall::time_point now) {
  std::string out;
  while (!bytes.empty()) {
    const auto newline = bytes.find('\n');
    const auto length = std::min(newline, bytes.size());
    // A full buffer goes out only when more follows: a newline right behind it completes the line.
    if (length > 0 && pending_.size() == kMaxContent) line(out, "P", now);
    const auto fits = std::min(length, kMaxContent - pending_.size());
    pending_.append(bytes.substr(0, fits));
    bytes.remove_prefix(fits);
    if (fits == length && newline != std::string_view::npos) {
      line(out, "F", now);
      bytes.remove_prefix(1);
    }
  }
  return out;
}

std::string CriLogFramer::finish(Wall::time_point now) {
  std::string out;
  if (!pending_.empty()) line(out, "P", now);
  return out;
}

}  // namespace fallbackd::launcher
