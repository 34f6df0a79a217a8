// Time: monotonic stamps for durations, wall time for people and for expiry dates.
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

/// Milliseconds with a fraction, as logs and tables show them.
double toMillis(Monotonic::duration duration);

/// RFC 3339 in UTC with nanoseconds, as CRI log files want it: 2026-01-31T23:59:59.123456789Z.
std::string rfc3339(Wall::time_point when);

/// Reads a time stamp as rfc3339() and other programs write it: RFC 3339 ("2026-01-31T23:59:59Z", fraction
/// and offset allowed), 1678 to 2261. Empty where it is not one.
std::optional<Wall::time_point> parseRfc3339(std::string_view text);

/// Reads a date that somebody chose, of an expiry for example: RFC 3339, 2000 to 9999. What is beyond the
/// clock (after 2262-04-11) is read as the clock's last moment. Empty where it is not such a date.
std::optional<Wall::time_point> parseDateTime(std::string_view text);

/// The same, or a day alone ("2027-01-31"): its beginning in UTC.
std::optional<Wall::time_point> parseDate(std::string_view text);

/// `when` and `by` (not negative) later; the clock's last moment where that is beyond it. Deadlines are made
/// with this and compared: the difference of two times need not fit a duration.
Wall::time_point later(Wall::time_point when, std::chrono::nanoseconds by);

/// Reads "250ms", "1.5s", "2m", "1h30m", "7d". Empty where it is not a duration or does not fit.
std::optional<std::chrono::nanoseconds> parseDuration(std::string_view text);

/// Writes a duration as parseDuration reads it, with the largest unit that loses nothing.
std::string formatDuration(std::chrono::nanoseconds duration);

}  // namespace fallbackd
