// SPDX-License-Identifier: Apache-2.0
// Notifies systemd, for a Type=notify unit: datagrams to the socket in NOTIFY_SOCKET, see sd_notify(3).
// Elsewhere, for example in a container, all of this does nothing.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::app {

class ServiceManager {
 public:
  /// Reads NOTIFY_SOCKET and WATCHDOG_USEC and removes them from the environment. Before any thread exists.
  static ServiceManager fromEnvironment();

  /// "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=...". Never blocks. False if the manager's socket does
  /// not take it now; a missing manager is not an error.
  bool tell(std::string_view what) const;
  /// Repeats it until the manager's socket has taken it. This object must outlive the call. Cancellable.
  [[nodiscard]] boost::asio::awaitable<void> insist(std::string what) const;
  /// How often to send WATCHDOG=1: half of the time after which systemd considers the unit hung.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdogInterval() const { return watchdog_; }

 private:
  std::string socket_;  // empty: there is no manager; "@...": an abstract socket
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace fallbackd::app
