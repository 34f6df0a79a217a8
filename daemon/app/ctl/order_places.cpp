// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/order_places.hpp"

#include "app/ctl/cache_options.hpp"
#include "app/ctl/output.hpp"
#include "config/load.hpp"
#include "config/pause.hpp"
#include "config/text_form.hpp"

#include <string>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

void addOrderPlaces(CLI::App& command, OrderPlaces& places) {
  command.add_option("-c,--config", places.configFile,
                     "read state folder and socket from this fallbackd.yaml");
  command.add_option("--state", places.state, "the daemon's state folder (default /var/lib/fallbackd)");
  command.add_option("--socket", places.socket, "fallbackd's socket (default /run/fallbackd/fallbackd.sock)");
}

bool complete(OrderPlaces& places) {
  config::Config settings;
  if (places.configFile) {
    const auto loaded = config::load(*places.configFile);
    for (const auto& diagnostic : loaded.diagnostics) complain(diagnostic.toString());
    if (loaded.config == nullptr) return false;
    settings = *loaded.config;
  }
  places.state = places.state ? fromHere(*places.state) : settings.cache.state;
  if (!places.socket) places.socket = settings.telemetry.socket;
  return true;
}

bool isReason(const std::string& reason) {
  // The daemon takes several lines, or text that it cannot read, for a pause of the whole node.
  const bool isLine = !config::findFault(reason) && reason.find_first_of("\t\r\n") == std::string::npos;
  if (isLine && reason.size() <= config::kMaxPauseReason) return true;
  complain("--reason must be one line of UTF-8, of at most " + std::to_string(config::kMaxPauseReason) +
           " bytes");
  return false;
}

}  // namespace fallbackd::ctl
