// SPDX-License-Identifier: Apache-2.0
// Which folders tell that the configuration changed: those of the files, and every folder on the way to
// them, through symlinks, so that one that is replaced or comes later is noticed too.
#pragma once

#include "base/error.hpp"
#include "sys/inotify.hpp"

#include <functional>
#include <map>
#include <set>
#include <string>

namespace fallbackd::config {

/// Not thread-safe; nothing blocks but the look at the folders. Stage config.
class WatchedPaths {
 public:
  /// Both may be missing yet. Watches nothing before the first follow().
  static Result<WatchedPaths> create(const std::string& mainFile, const std::string& dropInDir);

  /// Looks at the paths anew. To be called after each change, before the files are read: what happens from
  /// then on is told.
  Result<> follow();

  /// Takes the events that are there; whether one of them matters.
  bool drain();

  /// For waiting until there are events; stays owned here.
  [[nodiscard]] int nativeHandle() const { return inotify_.nativeHandle(); }

 private:
  struct Watch {
    std::set<std::string, std::less<>> names;  // that matter in this folder
    bool dropIns = false;                      // so do the names of drop-ins
    bool self = false;                         // a file: all that happens to it matters
  };
  using Watches = std::map<int, Watch>;

  WatchedPaths(sys::Inotify inotify, std::string mainFile, std::string dropInDir);
  Result<std::string> followPath(const std::string& path, Watches& watches);
  Result<> followDropIns(Watches& watches);

  sys::Inotify inotify_;
  std::string mainFile_;
  std::string dropInDir_;
  Watches watches_;
};

}  // namespace fallbackd::config
