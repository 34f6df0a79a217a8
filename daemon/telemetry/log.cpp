// SPDX-License-Identifier: Apache-2.0
#include "telemetry/log.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

namespace fallbackd::telemetry {

namespace {

using config::LogFormat;
using config::LogLevel;

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warn", "error"};

std::string number(double value) {
  std::array<char, 32> text{};
  const int size = std::snprintf(text.data(), text.size(), "%.3f", value);
  return {text.data(), static_cast<std::size_t>(size)};
}

constexpr std::size_t kLongest = 4096;  // of a value: CRI's logs split lines at 16 KiB

std::string clean(std::string_view text) {
  return cleanUtf8(text, kLongest, "…");
}

/// A value for people: bare if that is unambiguous, otherwise a JSON string.
std::string humanValue(const Field& field) {
  return std::visit(
      [](const auto& value) -> std::string {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          const auto text = clean(value);
          const bool bare = !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
            return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == '\\';
          });
          return bare ? text : boost::json::serialize(boost::json::string(text));
        } else if constexpr (std::is_same_v<T, bool>) {
          return value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, double>) {
          return number(value);
        } else {
          return std::to_string(value);
        }
      },
      field.value);
}

std::string humanLine(LogLevel level, std::string_view message, FieldList fields) {
  // Milliseconds are enough for people: 2026-01-31T23:59:59.123Z
  std::string line = rfc3339(Clock::system().wall()).substr(0, 23) + "Z ";
  std::string name{kLevelNames.at(static_cast<std::size_t>(level))};
  name.resize(6, ' ');
  line.append(name).append(message);
  for (const auto& field : fields) line.append("  ").append(field.key).append("=").append(humanValue(field));
  return line;
}

std::string jsonLine(LogLevel level, std::string_view message, FieldList fields) {
  boost::json::object object;
  object["time"] = rfc3339(Clock::system().wall());
  object["level"] = kLevelNames.at(static_cast<std::size_t>(level));
  object["msg"] = message;
  for (const auto& field : fields) {
    std::visit(
        [&](const auto& value) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) {
            object[field.key] = clean(value);
          } else {
            object[field.key] = value;
          }
        },
        field.value);
  }
  return boost::json::serialize(object);
}

/// Whether stderr goes to journald: the check that systemd.exec(5) describes.
bool stderrIsJournal() {
  const char* named = std::getenv("JOURNAL_STREAM");  // NOLINT(concurrency-mt-unsafe): at the start
  struct stat facts {};
  if (named == nullptr || ::fstat(STDERR_FILENO, &facts) != 0) return false;
  return std::to_string(facts.st_dev) + ":" + std::to_string(facts.st_ino) == named;
}

/// The priority prefix that journald reads from a line: sd-daemon(3).
std::string_view journalPriority(LogLevel level) {
  constexpr std::array<std::string_view, 4> kPrefixes{"<7>", "<6>", "<4>", "<3>"};
  return kPrefixes.at(static_cast<std::size_t>(level));
}

}  // namespace

std::string logLine(LogFormat format, LogLevel level, std::string_view message, FieldList fields) {
  return format == LogFormat::json ? jsonLine(level, message, fields) : humanLine(level, message, fields);
}

Log::Log(LogFormat format, LogLevel level) : format_(format), level_(level), journal_(stderrIsJournal()) {}

void Log::reconfigure(LogFormat format, LogLevel level) {
  format_ = format;
  level_ = level;
}

void Log::write(LogLevel level, std::string_view message, FieldList fields) {
  if (level < level_) return;
  auto line = logLine(format_, level, message, fields);
  if (journal_) line.insert(0, journalPriority(level));
  line.push_back('\n');
  // stderr has no buffer, and its lock keeps the lines of two threads apart. If nothing reads a line, it is
  // lost.
  static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));
}

}  // namespace fallbackd::telemetry
