// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/http_status.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::watcher {

namespace {

constexpr std::array kPhrases{
    std::pair{std::string_view("Bad Request"), 400},
    std::pair{std::string_view("Unauthorized"), 401},
    std::pair{std::string_view("Payment Required"), 402},
    std::pair{std::string_view("Forbidden"), 403},
    std::pair{std::string_view("Method Not Allowed"), 405},
    std::pair{std::string_view("Proxy Authentication Required"), 407},
    std::pair{std::string_view("Request Timeout"), 408},
    std::pair{std::string_view("Request Time-out"), 408},
    std::pair{std::string_view("Too Many Requests"), 429},
    std::pair{std::string_view("Internal Server Error"), 500},
    std::pair{std::string_view("Not Implemented"), 501},
    std::pair{std::string_view("Bad Gateway"), 502},
    std::pair{std::string_view("Service Unavailable"), 503},
    std::pair{std::string_view("Service Temporarily Unavailable"), 503},
    std::pair{std::string_view("Gateway Timeout"), 504},
    std::pair{std::string_view("Gateway Time-out"), 504},
};

// The codes that containerd knows; it prints any other as "unknown".
constexpr std::array<std::string_view, 6> kCodes{"unknown", "unsupported", "unauthorized",
                                                 "denied",  "unavailable", "toomanyrequests"};

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::optional<int> statusAt(std::string_view text) {
  if (text.size() < 3 || (text.size() > 3 && text[3] >= '0' && text[3] <= '9')) return std::nullopt;
  int status = 0;
  for (const char c : text.substr(0, 3)) {
    if (c < '0' || c > '9') return std::nullopt;
    status = status * 10 + (c - '0');
  }
  return status;
}

Effect effectOfStatus(int status, Operation operation) {
  switch (status) {
    case 401:
    case 402:
    case 403:
    case 407:
    case 451:
      return Effect::unauthorized;
    case 404:
    case 410:
      // A token service that is not there says nothing about the image.
      return operation == Operation::token ? Effect::unknown : Effect::not_found;
    case 408:
    case 499:  // a proxy between us stopped waiting for the registry
      return Effect::timeout;
    case 429:
      return Effect::rate_limited;
    default:
      break;
  }
  return status >= 500 && status <= 599 ? Effect::server_error : Effect::unknown;
}

std::optional<int> statusOfPhrase(std::string_view phrase) {
  // Some proxies explain themselves in brackets, and some write capitals.
  phrase = phrase.substr(0, phrase.find(" ("));
  const auto same = [](char a, char b) { return lower(a) == lower(b); };
  const auto found = std::find_if(kPhrases.begin(), kPhrases.end(), [&](const auto& one) {
    return std::equal(phrase.begin(), phrase.end(), one.first.begin(), one.first.end(), same);
  });
  return found == kPhrases.end() ? std::nullopt : std::optional(found->second);
}

bool beginsServerError(std::string_view line) {
  if (line.starts_with("errors:")) return true;
  return std::any_of(kCodes.begin(), kCodes.end(), [&](std::string_view code) {
    return line.starts_with(code) &&
           (line.size() == code.size() || line[code.size()] == ':' || line[code.size()] == '\n');
  });
}

}  // namespace fallbackd::watcher
