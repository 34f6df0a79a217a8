// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"

#include "base/strings.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <thread>

namespace fallbackd {

namespace {

using std::chrono::nanoseconds;

struct Unit {
  std::string_view name;
  std::int64_t nanos;
};
// Longest names first, so that "ms" is not read as "m".
constexpr std::array kUnits{Unit{"ns", 1},
                            Unit{"us", 1'000},
                            Unit{"ms", 1'000'000},
                            Unit{"s", 1'000'000'000},
                            Unit{"m", 60'000'000'000},
                            Unit{"h", 3'600'000'000'000},
                            Unit{"d", 86'400'000'000'000}};

/// Takes exactly `width` digits from the front of `text`.
std::optional<int> takeNumber(std::string_view& text, std::size_t width) {
  if (text.size() < width) return std::nullopt;
  int value = 0;
  for (std::size_t i = 0; i < width; ++i) {
    if (!isDigit(text[i])) return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(width);
  return value;
}

bool takeChar(std::string_view& text, char wanted) {
  if (text.empty() || text.front() != wanted) return false;
  text.remove_prefix(1);
  return true;
}

/// "Z" or "+hh:mm" at the very end of a time stamp, in seconds east of UTC.
std::optional<int> takeOffset(std::string_view& text) {
  if (takeChar(text, 'Z') || takeChar(text, 'z')) return 0;
  const bool east = takeChar(text, '+');
  if (!east && !takeChar(text, '-')) return std::nullopt;
  const auto hours = takeNumber(text, 2);
  if (!hours || *hours > 23 || !takeChar(text, ':')) return std::nullopt;
  const auto minutes = takeNumber(text, 2);
  if (!minutes || *minutes > 59) return std::nullopt;
  const int seconds = (*hours * 60 + *minutes) * 60;
  return east ? seconds : -seconds;
}

/// A parsed time stamp. Its seconds can hold every four-digit year; nanoseconds cannot.
struct Fields {
  int year = 0;
  std::chrono::seconds seconds{0};  // since 1970
  nanoseconds fraction{0};
};

std::optional<Fields> parseFields(std::string_view text) {
  using namespace std::chrono;
  const auto y = takeNumber(text, 4);
  if (!y || !takeChar(text, '-')) return std::nullopt;
  const auto mo = takeNumber(text, 2);
  if (!mo || !takeChar(text, '-')) return std::nullopt;
  const auto d = takeNumber(text, 2);
  if (!d || !(takeChar(text, 'T') || takeChar(text, 't'))) return std::nullopt;
  const auto h = takeNumber(text, 2);
  if (!h || !takeChar(text, ':')) return std::nullopt;
  const auto mi = takeNumber(text, 2);
  if (!mi || !takeChar(text, ':')) return std::nullopt;
  const auto s = takeNumber(text, 2);
  if (!s) return std::nullopt;
  std::int64_t nanos = 0;
  if (takeChar(text, '.')) {
    std::size_t digits = 0;
    for (std::int64_t scale = 100'000'000; !text.empty() && isDigit(text.front()); scale /= 10, ++digits) {
      nanos += (text.front() - '0') * scale;
      text.remove_prefix(1);
    }
    if (digits == 0) return std::nullopt;
  }
  const auto offset = takeOffset(text);
  const year_month_day date{year{*y}, month{static_cast<unsigned>(*mo)}, day{static_cast<unsigned>(*d)}};
  if (!offset || !text.empty() || !date.ok() || *h > 23 || *mi > 59 || *s > 60) return std::nullopt;
  return Fields{*y,
                sys_days{date}.time_since_epoch() + hours{*h} + minutes{*mi} + seconds{*s} - seconds{*offset},
                nanoseconds{nanos}};
}

/// Works for years from 1678 to 2261.
Wall::time_point at(const Fields& fields) {
  return Wall::time_point{std::chrono::duration_cast<Wall::duration>(fields.seconds + fields.fraction)};
}

template <class Point>
Point laterOf(Point when, nanoseconds by) {
  const auto wanted = std::chrono::duration_cast<typename Point::duration>(by);
  return when > Point::max() - wanted ? Point::max() : when + wanted;
}

class SystemClock final : public Clock {
 public:
  [[nodiscard]] Stamp now() const override { return Monotonic::now(); }
  [[nodiscard]] Wall::time_point wall() const override { return Wall::now(); }
  void sleep(std::chrono::nanoseconds length) const override { std::this_thread::sleep_for(length); }
};

}  // namespace

const Clock& Clock::system() {
  static const SystemClock clock;
  return clock;
}

double toMillis(Monotonic::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

std::string rfc3339(Wall::time_point when) {
  const auto nanos = std::chrono::duration_cast<nanoseconds>(when.time_since_epoch()).count();
  auto seconds = static_cast<std::time_t>(nanos / 1'000'000'000);
  auto rest = nanos % 1'000'000'000;
  if (rest < 0) {
    rest += 1'000'000'000;
    --seconds;
  }
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ",
                                 parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                                 parts.tm_min, parts.tm_sec, static_cast<long>(rest));
  return {text.data(), static_cast<std::size_t>(size)};
}

std::optional<Wall::time_point> parseRfc3339(std::string_view text) {
  const auto fields = parseFields(text);
  // Nanoseconds since 1970 fit 64 bits only from 1678 to 2261.
  if (!fields || fields->year < 1678 || fields->year > 2261) return std::nullopt;
  return at(*fields);
}

std::optional<Wall::time_point> parseDateTime(std::string_view text) {
  using namespace std::chrono;
  constexpr seconds kFirst = sys_days{year{2000} / 1 / 1}.time_since_epoch();
  constexpr seconds kEnd = sys_days{year{10'000} / 1 / 1}.time_since_epoch();
  const auto fields = parseFields(text);
  if (!fields || fields->seconds < kFirst || fields->seconds >= kEnd) return std::nullopt;
  const auto last = Wall::time_point::max();
  if (fields->seconds >= floor<seconds>(last.time_since_epoch())) return last;
  return at(*fields);
}

std::optional<Wall::time_point> parseDate(std::string_view text) {
  if (const auto day = parseDateTime(std::string(text) + "T00:00:00Z")) return day;
  return parseDateTime(text);
}

Wall::time_point later(Wall::time_point when, nanoseconds by) {
  return laterOf(when, by);
}

Stamp later(Stamp when, nanoseconds by) {
  return laterOf(when, by);
}

std::optional<nanoseconds> parseDuration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  if (text == "0") return nanoseconds{0};
  double total = 0;
  while (!text.empty()) {
    double value = 0;
    if (!isDigit(text.front())) return std::nullopt;
    const auto [end, code] =
        std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (code != std::errc{}) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const Unit* found = nullptr;
    for (const Unit& unit : kUnits) {
      if (text.starts_with(unit.name)) {
        found = &unit;
        break;
      }
    }
    if (found == nullptr) return std::nullopt;
    text.remove_prefix(found->name.size());
    total += value * static_cast<double>(found->nanos);
  }
  if (!(total < 9.2e18)) return std::nullopt;
  return nanoseconds{std::llround(total)};
}

std::string formatDuration(nanoseconds duration) {
  const std::int64_t nanos = duration.count();
  if (nanos == 0) return "0s";
  for (auto unit = kUnits.rbegin(); unit != kUnits.rend(); ++unit) {
    if (nanos % unit->nanos == 0) return std::to_string(nanos / unit->nanos).append(unit->name);
  }
  return std::to_string(nanos).append("ns");
}

}  // namespace fallbackd
