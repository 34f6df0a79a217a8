// SPDX-License-Identifier: Apache-2.0
// The format of container log files: "RFC3339NANO stdout|stderr F|P CONTENT". Pure; no I/O.
#pragma once

#include "base/clock.hpp"

#include <string>
#include <string_view>

namespace fallbackd::launcher {

/// Converts the bytes of one stream to log lines. A line longer than kMaxContent comes in parts, all but the
/// last marked P (partial), as containerd and kubelet do.
class CriLogFramer {
 public:
  static constexpr std::size_t kMaxContent = 16 * 1024;  // bytes

  /// `stream`: "stdout" or "stderr".
  explicit CriLogFramer(std::string stream) : stream_(std::move(stream)) {}

  /// All of `bytes` as lines. A tail without a newline becomes a part, too: what follows completes it, and
  /// readers of such files join them. Nothing that a crash could lose is held back.
  [[nodiscard]] std::string frame(std::string_view bytes, Wall::time_point now) const;

 private:
  std::string stream_;
};

}  // namespace fallbackd::launcher
