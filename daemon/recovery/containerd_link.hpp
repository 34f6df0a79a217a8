// SPDX-License-Identifier: Apache-2.0
// Whether containerd answers, why not, and when that is worth a line in the log: at once, then once a minute.
#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace fallbackd::recovery {

class ContainerdLink {
 public:
  explicit ContainerdLink(std::string socket) : socket_(std::move(socket)) {}

  enum class News : std::uint8_t {
    none,         // logged a moment ago
    connected,    // it answers
    unreachable,  // it has never answered
    lost,         // it answered until now
    still,        // a minute after the last line
  };
  /// An attempt that succeeded, or failed because of `why`.
  News report(bool up, const std::string& why, Stamp now);

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] const std::string& socket() const { return socket_; }
  /// "Permission denied", or whatever is known. Empty if it is connected, or before the first attempt ended.
  [[nodiscard]] const std::string& why() const { return why_; }

 private:
  std::string socket_;
  std::string why_;
  bool connected_ = false;
  std::optional<Stamp> loggedAt_;  // when the log last said that it does not answer
};

}  // namespace fallbackd::recovery
