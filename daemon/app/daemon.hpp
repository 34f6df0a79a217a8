// SPDX-License-Identifier: Apache-2.0
// The daemon as a whole: creates every part, connects the parts, and stops them.
#pragma once

#include "app/options.hpp"
#include "config/load.hpp"

#include <memory>

namespace fallbackd::app {

class Daemon {
 public:
  /// `loaded` has a configuration.
  Daemon(Options options, config::Loaded loaded);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// Runs until SIGTERM or SIGINT; returns the exit code: 0, or 1 if it could not start (logged).
  int run();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace fallbackd::app
