// SPDX-License-Identifier: Apache-2.0
// Reports that something cannot be watched, and that it can be again: each change once, however often it is
// tried. One thread.
#pragma once

#include "base/error.hpp"

#include <functional>
#include <utility>

namespace fallbackd::sys {

class WatchNews {
 public:
  /// Receives the error while it cannot be watched.
  using Told = std::function<void(const Result<>&)>;

  /// Counts as watched until an attempt fails.
  explicit WatchNews(Told told) : told_(std::move(told)) {}

  void attempted(const Result<>& watched) {
    if (watched.has_value() == watched_) return;
    watched_ = watched.has_value();
    if (told_) told_(watched);
  }

 private:
  Told told_;
  bool watched_ = true;
};

}  // namespace fallbackd::sys
