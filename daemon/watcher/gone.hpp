// SPDX-License-Identifier: Apache-2.0
// Ids that events have reported as gone. A list may still have them: it was on its way, or CRI learns of the
// end later than we do. CRI never uses an id twice. One thread.
#pragma once

#include "base/clock.hpp"

#include <map>
#include <set>
#include <string>

namespace fallbackd::watcher {

class Gone {
 public:
  void add(const std::string& id, Stamp now) { since_[id] = now; }
  [[nodiscard]] bool contains(const std::string& id) const { return since_.contains(id); }
  /// Forgets ids that are missing from a list that was asked for after they had gone.
  void listed(const std::set<std::string>& ids, Stamp asked) {
    std::erase_if(since_, [&](const auto& one) { return one.second < asked && !ids.contains(one.first); });
  }

 private:
  std::map<std::string, Stamp> since_;
};

}  // namespace fallbackd::watcher
