// What systemd is told of a Type=notify unit: datagrams to the socket that it names in NOTIFY_SOCKET, see
// sd_notify(3). Elsewhere, as in a container, all of this does nothing.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::app {

class ServiceManager {
 public:
  /// Reads NOTIFY_SOCKET and WATCHDOG_USEC, and takes them out of the environment. Before any thread.
  static ServiceManager fromEnvironment();

  /// "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=...". Never blocks; a manager that is gone is no failure.
  void tell(std::string_view what) const;
  /// How often WATCHDOG=1 is wanted: half of the time after which the unit counts as stuck.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdogInterval() const { return watchdog_; }

 private:
  std::string socket_;  // empty: there is no manager; "@..." is an abstract one
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace fallbackd::app
