// SPDX-License-Identifier: Apache-2.0
// Queries the daemon over its root-only socket.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include <boost/json/value.hpp>

namespace CLI {
class App;
}

namespace fallbackd::ctl {

struct ClientOptions {
  std::string socket = "/run/fallbackd/fallbackd.sock";
  std::string format = "table";
  [[nodiscard]] bool table() const { return format == "table"; }
};

/// --socket and -o.
void addClientOptions(CLI::App& command, ClientOptions& options);

/// The body of one GET, limited to a few seconds. Stage cli.
Result<std::string> ask(const std::string& socket, const std::string& target);
/// The same, parsed as JSON.
Result<boost::json::value> askJson(const std::string& socket, const std::string& target);

/// Passes each text of the daemon's events to `take` until that returns false, the daemon ends, or the limit
/// is over (reason timeout). Stage cli.
Result<> listen(const std::string& socket, const std::function<bool(const std::string&)>& take,
                std::optional<std::chrono::seconds> limit = {});

}  // namespace fallbackd::ctl
