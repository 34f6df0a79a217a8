// SPDX-License-Identifier: Apache-2.0
// The daemon's log: one line per event, with fields; for people or as JSON lines. Written to stderr, where
// journald (with each line's priority) and the container runtime pick it up. README.md in this folder lists
// the fields. Thread-safe. Only the app layer and the recovery log.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace fallbackd::telemetry {

struct Field {
  std::string_view key;
  std::variant<std::string, std::int64_t, double, bool> value;

  Field(std::string_view k, std::string_view v) : key(k), value(std::string(v)) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(std::string(v)) {}
  Field(std::string_view k, double v) : key(k), value(v) {}
  Field(std::string_view k, bool v) : key(k), value(v) {}
  template <class Integer>
  requires std::is_integral_v<Integer> Field(std::string_view k, Integer v)
      : key(k), value(static_cast<std::int64_t>(v)) {}
};
using Fields = std::initializer_list<Field>;
/// Fields that were collected at run time.
using FieldList = std::span<const Field>;

/// One line without its end. Whatever the fields contain, it is one line of UTF-8 and does not control a
/// terminal.
std::string logLine(config::LogFormat format, config::LogLevel level, std::string_view message,
                    FieldList fields);
inline std::string logLine(config::LogFormat format, config::LogLevel level, std::string_view message,
                           Fields fields) {
  return logLine(format, level, message, FieldList(fields.begin(), fields.size()));
}

class Log {
 public:
  Log(config::LogFormat format, config::LogLevel level);
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// After a reload of the configuration.
  void reconfigure(config::LogFormat format, config::LogLevel level);

  void debug(std::string_view message, Fields fields = {}) {
    write(config::LogLevel::debug, message, {fields.begin(), fields.size()});
  }
  void info(std::string_view message, Fields fields = {}) {
    write(config::LogLevel::info, message, {fields.begin(), fields.size()});
  }
  void warn(std::string_view message, Fields fields = {}) {
    write(config::LogLevel::warn, message, {fields.begin(), fields.size()});
  }
  void error(std::string_view message, Fields fields = {}) {
    write(config::LogLevel::error, message, {fields.begin(), fields.size()});
  }
  void write(config::LogLevel level, std::string_view message, FieldList fields);

 private:
  std::atomic<config::LogFormat> format_;
  std::atomic<config::LogLevel> level_;
  bool journal_;  // lines begin with their priority
};

}  // namespace fallbackd::telemetry
