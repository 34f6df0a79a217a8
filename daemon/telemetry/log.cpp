#include "telemetry/log.hpp"

#include "base/clock.hpp"

#include <array>
#include <cstdio>
#include <unistd.h>

#include <boost/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace fallbackd::telemetry {

namespace {

using config::LogFormat;
using config::LogLevel;

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warn", "error"};

spdlog::level::level_enum toSpdlog(LogLevel level) {
  constexpr std::array kLevels{spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                               spdlog::level::err};
  return kLevels.at(static_cast<std::size_t>(level));
}

std::string number(double value) {
  std::array<char, 32> text{};
  const int size = std::snprintf(text.data(), text.size(), "%.3f", value);
  return {text.data(), static_cast<std::size_t>(size)};
}

/// A value that a person reads: bare where that is unambiguous, a JSON string where it is not.
std::string humanValue(const Field& field) {
  return std::visit(
      [](const auto& value) -> std::string {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          const bool bare = !value.empty() && value.find_first_of(" \"=\t\r\n\\") == std::string::npos;
          return bare ? value : boost::json::serialize(boost::json::string(value));
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

std::string humanLine(LogLevel level, std::string_view message, Fields fields) {
  // Milliseconds are enough for people: 2026-01-31T23:59:59.123Z
  std::string line = rfc3339(Wall::now()).substr(0, 23) + "Z ";
  std::string name{kLevelNames.at(static_cast<std::size_t>(level))};
  name.resize(6, ' ');
  line.append(name).append(message);
  for (const auto& field : fields) line.append("  ").append(field.key).append("=").append(humanValue(field));
  return line;
}

std::string jsonLine(LogLevel level, std::string_view message, Fields fields) {
  boost::json::object object;
  object["time"] = rfc3339(Wall::now());
  object["level"] = kLevelNames.at(static_cast<std::size_t>(level));
  object["msg"] = message;
  for (const auto& field : fields) {
    std::visit([&](const auto& value) { object[field.key] = value; }, field.value);
  }
  return boost::json::serialize(object);
}

}  // namespace

Log::Log(LogFormat format, LogLevel level)
    : logger_(
          std::make_shared<spdlog::logger>("fallbackd", std::make_shared<spdlog::sinks::stderr_sink_mt>())),
      format_(format) {
  logger_->set_pattern("%v");
  logger_->flush_on(spdlog::level::debug);
  reconfigure(format, level);
}

Log::~Log() = default;

void Log::reconfigure(LogFormat format, LogLevel level) {
  format_ = format;
  logger_->set_level(toSpdlog(level));
}

void Log::write(LogLevel level, std::string_view message, Fields fields) {
  if (!logger_->should_log(toSpdlog(level))) return;
  const auto line =
      format_ == LogFormat::json ? jsonLine(level, message, fields) : humanLine(level, message, fields);
  logger_->log(toSpdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace fallbackd::telemetry
