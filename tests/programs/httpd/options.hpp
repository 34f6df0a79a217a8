// SPDX-License-Identifier: Apache-2.0
// The command line of shop-httpd.
#pragma once

#include <cstdint>
#include <string>

namespace shop {

enum class Mode : std::uint8_t { serve, health_check, version, ready };

struct Options {
  Mode mode = Mode::serve;
  std::uint16_t port = 8080;
  std::string configFile;  // empty: none
  std::string readyIf;     // --ready-if: the answer is whether this file exists
  std::string role;        // --role, else the environment's ROLE, else "standalone"
  unsigned slowStartMillis = 0;
  unsigned drainSeconds = 0;  // serves that long after SIGTERM
  bool graceful = false;      // after SIGTERM it answers the connected clients, and ends
  bool sharePort = false;     // SO_REUSEPORT
  bool failHealthCheck = false;
  bool hungry = false;  // GET /eat takes memory until the kernel kills it
  bool flood = false;   // writes lines to stdout as fast as possible while it serves
};

/// Fills `options`; returns what is wrong with the command line, or an empty text.
std::string parseOptions(int argc, char** argv, Options& options);

}  // namespace shop
