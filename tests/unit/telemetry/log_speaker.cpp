// SPDX-License-Identifier: Apache-2.0
// Logs one line at each level.
#include "telemetry/log.hpp"

int main() {
  fallbackd::telemetry::Log log(fallbackd::config::LogFormat::human, fallbackd::config::LogLevel::info);
  log.info("info");
  log.warn("warn");
  log.error("error");
}
