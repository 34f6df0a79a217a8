// SPDX-License-Identifier: Apache-2.0
// What spare and child report to the spawner. The struct itself is the message: filling and sending it
// allocates nothing.
#pragma once

#include "base/error.hpp"
#include "spawner/steps.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace fallbackd::launcher {

/// What spare and child write to the launch's socket, one message each. The kernel names the sender.
struct ChildReport {
  enum class Kind : std::uint8_t {
    born,
    executing,
    failed,
    unhealthy,
    healthy
  };  // healthy: and nothing else
  enum class Health : std::uint8_t { exited, signaled, timed_out };
  Kind kind = Kind::failed;
  Step step = Step::exec;
  Health health = Health::exited;
  int errnum = 0;
  int value = 0;                // exit code or signal of the health check
  bool entersPids = false;      // with "executing": it must be moved into the sandbox's PID namespace
  std::int64_t preparedNs = 0;  // CLOCK_MONOTONIC; both with "executing"
  std::int64_t healthCheckedNs = 0;
  char object[512]{};  // which folder, device, file, mask or volume; truncated if longer
};

/// Empty for anything but a complete report with valid values.
std::optional<ChildReport> decodeChildReport(std::span<const char> bytes);

/// What a "failed" or "unhealthy" report means for the daemon.
Error failureOf(const ChildReport& report);

}  // namespace fallbackd::launcher
