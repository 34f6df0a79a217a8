// SPDX-License-Identifier: Apache-2.0
#include "watcher/answer_times.hpp"

#include <algorithm>
#include <vector>

namespace fallbackd::watcher {

namespace {

constexpr std::size_t kRemembered = 8;

}  // namespace

void AnswerTimes::add(const std::string& host, std::chrono::nanoseconds took) {
  if (!byHost_.contains(host) && byHost_.size() >= maxHosts_) byHost_.erase(byHost_.begin());
  auto& last = byHost_[host];
  last.push_back(took);
  if (last.size() > kRemembered) last.pop_front();
}

std::chrono::nanoseconds AnswerTimes::usual(const std::string& host) const {
  const auto found = byHost_.find(host);
  if (found == byHost_.end()) return {};
  std::vector<std::chrono::nanoseconds> sorted(found->second.begin(), found->second.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

}  // namespace fallbackd::watcher
