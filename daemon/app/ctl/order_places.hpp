// SPDX-License-Identifier: Apache-2.0
// Where a command leaves an order for the daemon, and where it sees that the daemon follows it.
#pragma once

#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace fallbackd::ctl {

struct OrderPlaces {
  std::optional<std::string> configFile;
  std::optional<std::string> state;   // the daemon's state folder
  std::optional<std::string> socket;  // the daemon's
};

/// --config, --state and --socket.
void addOrderPlaces(CLI::App& command, OrderPlaces& places);

/// Fills in from the configuration file what the command line does not set. False, with its diagnostics on
/// stderr, if the file is refused.
bool complete(OrderPlaces& places);

/// Whether the daemon can read it as an order's reason: one line of UTF-8, not too long. If not, reports it.
bool isReason(const std::string& reason);

}  // namespace fallbackd::ctl
