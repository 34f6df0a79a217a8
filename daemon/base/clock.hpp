// SPDX-License-Identifier: Apache-2.0
// Time: monotonic stamps for durations, wall time for people and expiry dates. It is read from a Clock: code
// on an event loop uses the loop's clock (base/async/loop_clock.hpp), all other code the system's.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd {

using Monotonic = std::chrono::steady_clock;  // CLOCK_MONOTONIC: the same for every process of the machine
using Stamp = Monotonic::time_point;
using Wall = std::chrono::system_clock;

/// May be read from any thread.
class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;
  [[nodiscard]] virtual Stamp now() const = 0;
  [[nodiscard]] virtual Wall::time_point wall() const = 0;
  /// Blocks the calling thread: not for an event loop.
  virtual void sleep(std::chrono::nanoseconds length) const = 0;

  /// The only place that reads the machine's clocks.
  static const Clock& system();
};

/// Milliseconds with a fraction, as shown in logs and tables.
double toMillis(Monotonic::duration duration);

/// RFC 3339 in UTC with nanoseconds, the format of CRI log files: 2026-01-31T23:59:59.123456789Z.
std::string rfc3339(Wall::time_point when);

/// Parses a time stamp written by rfc3339() or by other programs: RFC 3339 ("2026-01-31T23:59:59Z", fraction
/// and offset allowed), 1678 to 2261. Empty for anything else.
std::optional<Wall::time_point> parseRfc3339(std::string_view text);

/// Parses a date that a person chose, for example an expiry: RFC 3339, 2000 to 9999. A date beyond the clock
/// (after 2262-04-11) becomes the clock's last moment. Empty for anything else.
std::optional<Wall::time_point> parseDateTime(std::string_view text);

/// The same, or a day alone ("2027-01-31"), which means its beginning in UTC.
std::optional<Wall::time_point> parseDate(std::string_view text);

/// `when` plus `by` (not negative), limited to the clock's last moment. Deadlines are computed with this and
/// then compared: the difference of two times need not fit a duration.
Wall::time_point later(Wall::time_point when, std::chrono::nanoseconds by);
Stamp later(Stamp when, std::chrono::nanoseconds by);

/// Parses "250ms", "1.5s", "2m", "1h30m", "7d". Empty if it is not a duration or does not fit.
std::optional<std::chrono::nanoseconds> parseDuration(std::string_view text);

/// Formats a duration for parseDuration(), with the largest unit that loses nothing.
std::string formatDuration(std::chrono::nanoseconds duration);

}  // namespace fallbackd
