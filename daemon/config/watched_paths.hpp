// SPDX-License-Identifier: Apache-2.0
// Finds the folders whose events show that the configuration changed: the folders of the files, and every
// folder on the path to them, through symlinks, so that a folder that is replaced or created later is
// noticed, too.
#pragma once

#include "base/error.hpp"
#include "sys/inotify.hpp"

#include <functional>
#include <map>
#include <set>
#include <string>

namespace fallbackd::config {

/// Not thread-safe. Blocks only to look at the folders. Stage config.
class WatchedPaths {
 public:
  /// Either may not exist yet. Watches nothing before the first follow().
  static Result<WatchedPaths> create(const std::string& mainFile, const std::string& dropInDir);

  /// Looks at the paths again. Call it after each change, before the files are read; later changes are then
  /// reported.
  Result<> follow();

  /// Reads the pending events; returns whether any of them matters.
  bool drain();

  /// For waiting until there are events; owned by this object.
  [[nodiscard]] int nativeHandle() const { return inotify_.nativeHandle(); }

 private:
  struct Watch {
    std::set<std::string, std::less<>> names;  // names in this folder that matter
    bool dropIns = false;                      // names of drop-ins matter, too
    bool self = false;                         // a file: every event on it matters
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
