// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace shop {

namespace {

template <class Number>
bool parseNumber(std::string_view text, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && rest == end;
}

bool takeValue(std::string_view argument, std::string_view name, std::string_view& value) {
  if (argument.substr(0, name.size()) != name) return false;
  value = argument.substr(name.size());
  return true;
}

}  // namespace

std::string parseOptions(int argc, char** argv, Options& options) {
  const char* const role = std::getenv("ROLE");  // NOLINT(concurrency-mt-unsafe): one thread only
  options.role = role != nullptr ? role : "standalone";
  for (int index = 1; index < argc; ++index) {
    const std::string_view argument = argv[index];
    std::string_view value;
    if (argument == "--health-check") {
      options.mode = Mode::health_check;
    } else if (argument == "--version") {
      options.mode = Mode::version;
    } else if (argument == "--fail-health-check") {
      options.failHealthCheck = true;
    } else if (argument == "--graceful") {
      options.graceful = true;
    } else if (argument == "--share-port") {
      options.sharePort = true;
    } else if (argument == "--hungry") {
      options.hungry = true;
    } else if (argument == "--flood") {
      options.flood = true;
    } else if (takeValue(argument, "--port=", value)) {
      if (!parseNumber(value, options.port) || options.port == 0) return "bad port " + std::string(value);
    } else if (takeValue(argument, "--ready-if=", value)) {
      options.mode = Mode::ready;
      options.readyIf = value;
    } else if (takeValue(argument, "--config=", value)) {
      options.configFile = value;
    } else if (takeValue(argument, "--role=", value)) {
      options.role = value;
    } else if (takeValue(argument, "--slow-start=", value)) {
      if (!parseNumber(value, options.slowStartMillis)) return "bad --slow-start " + std::string(value);
    } else if (takeValue(argument, "--drain=", value)) {
      if (!parseNumber(value, options.drainSeconds)) return "bad --drain " + std::string(value);
    } else {
      return "unknown option " + std::string(argument);
    }
  }
  return {};
}

}  // namespace shop
