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
  int watch = 0;           // what addWatch returned; -1 for an overflow of the queue
  std::uint32_t mask = 0;  // IN_...
  std::string name;        // in the watched folder; empty for the folder itself
};

class Inotify {
 public:
  static Result<Inotify> create(Stage stage);

  /// Watches a folder or file; a second call for the same one returns the same number.
  Result<int> addWatch(Stage stage, const std::string& path, std::uint32_t mask);

  /// Forgets a watch; one that is gone already is no error.
  void removeWatch(int watch);

  /// Takes what is there without blocking; empty where nothing is.
  std::vector<FileEvent> read();

  /// For waiting with poll or Asio; stays owned here.
  [[nodiscard]] int nativeHandle() const { return fd_.get(); }

 private:
  explicit Inotify(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace fallbackd::sys
