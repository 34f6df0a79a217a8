// The format of container log files: "RFC3339NANO stdout|stderr F|P CONTENT". Pure; no I/O.
#pragma once

#include "base/clock.hpp"

#include <string>
#include <string_view>

namespace fallbackd::launcher {

/// Turns the bytes of one stream into log lines. A line above kMaxContent comes in parts, all but the last
/// marked P (partial), as containerd and kubelet have it.
class CriLogFramer {
 public:
  static constexpr std::size_t kMaxContent = 16 * 1024;  // bytes

  /// `stream`: "stdout" or "stderr".
  explicit CriLogFramer(std::string stream) : stream_(std::move(stream)) {}

  /// The lines that `bytes` completes; the rest is kept for the next call.
  std::string feed(std::string_view bytes, Wall::time_point now);
  /// What is left without a newline, as a partial line; empty where nothing is.
  std::string finish(Wall::time_point now);

 private:
  void line(std::string& out, std::string_view tag, Wall::time_point now);

  std::string stream_;
  std::string pending_;  // at most kMaxContent bytes
};

}  // namespace fallbackd::launcher
