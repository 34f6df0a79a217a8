// SPDX-License-Identifier: Apache-2.0
// Owners of file descriptors. Move-only; every descriptor is CLOEXEC at birth; raw numbers stay inside sys/
// and the spawner's child.
#pragma once

#include <unistd.h>
#include <utility>

namespace fallbackd::sys {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }
  /// Releases ownership; the caller closes the descriptor.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

/// A folder; other paths are relative to it.
class DirFd : public UniqueFd {
  using UniqueFd::UniqueFd;
};
/// A process (pidfd_open, CLONE_PIDFD).
class PidFd : public UniqueFd {
  using UniqueFd::UniqueFd;
};
/// A namespace (/proc/PID/ns/...).
class NamespaceFd : public UniqueFd {
  using UniqueFd::UniqueFd;
};

}  // namespace fallbackd::sys
