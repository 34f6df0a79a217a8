// SPDX-License-Identifier: Apache-2.0
// inotify, without policy.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <string>
#include <sys/inotify.h>
#include <vector>

namespace fallbackd::sys {

struct FileEvent {
  int watch = 0;           // what addWatch returned; -1: the queue overflowed
  std::uint32_t mask = 0;  // IN_...
  std::string name;        // in the watched folder; empty for the folder itself
};

class Inotify {
 public:
  static Result<Inotify> create(Stage stage);

  /// Watches a folder or file; a second call for the same one returns the same number.
  Result<int> addWatch(Stage stage, const std::string& path, std::uint32_t mask);

  /// Removes a watch; one that is already gone is not an error.
  void removeWatch(int watch);

  /// Reads pending events without blocking; empty if there are none.
  std::vector<FileEvent> read();

  /// For waiting with poll or Asio; still owned by this object.
  [[nodiscard]] int nativeHandle() const { return fd_.get(); }

 private:
  explicit Inotify(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace fallbackd::sys
