// SPDX-License-Identifier: Apache-2.0
// What the mirror served lately, for callers that must distinguish its answers from a registry's.
// Thread-safe.
#pragma once

#include "base/clock.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <string>

namespace fallbackd::mirror {

class Served {
 public:
  static constexpr std::size_t kMaxKept = 1024;

  /// `name`: ImageReference::toString().
  void note(const std::string& name, Stamp now) {
    const std::lock_guard lock(guard_);
    if (latest_.size() >= kMaxKept && !latest_.contains(name)) {
      latest_.erase(std::min_element(latest_.begin(), latest_.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; }));
    }
    latest_[name] = now;
  }
  [[nodiscard]] bool since(const std::string& name, Stamp begin) const {
    const std::lock_guard lock(guard_);
    const auto found = latest_.find(name);
    return found != latest_.end() && found->second >= begin;
  }

 private:
  mutable std::mutex guard_;
  std::map<std::string, Stamp> latest_;
};

}  // namespace fallbackd::mirror
