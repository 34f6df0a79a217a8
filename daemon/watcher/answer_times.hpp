// SPDX-License-Identifier: Apache-2.0
// How long each registry usually takes to begin an answer.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <string>

namespace fallbackd::watcher {

class AnswerTimes {
 public:
  /// Remembers at most `maxHosts` hosts; beyond that, forgets any other one.
  explicit AnswerTimes(std::size_t maxHosts) : maxHosts_(maxHosts) {}

  void add(const std::string& host, std::chrono::nanoseconds took);

  /// The median of the last few, so that one slow or one quick answer does not decide; of two, the slower.
  /// Zero if none is known.
  [[nodiscard]] std::chrono::nanoseconds usual(const std::string& host) const;

 private:
  std::size_t maxHosts_;
  std::map<std::string, std::deque<std::chrono::nanoseconds>> byHost_;
};

}  // namespace fallbackd::watcher
