// SPDX-License-Identifier: Apache-2.0
// A file system that never answers: mounted like any other, but every process that accesses it hangs in an
// uninterruptible sleep, immune even to SIGKILL, until it is destroyed. Needs root and /dev/fuse; the mount
// is in the caller's mount namespace.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <linux/fuse.h>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace fallbackd::test {

class SilentFuse {
 public:
  enum class Answers { nothing, what_its_root_is };

  explicit SilentFuse(std::filesystem::path folder, Answers answers = Answers::nothing)
      : folder_(std::move(folder)), answers_(answers) {
    std::filesystem::create_directories(folder_);
    const std::string options =
        "fd=" + std::to_string(device_.get()) + ",rootmode=40755,user_id=0,group_id=0,allow_other";
    mounted_ = device_.valid() &&
               ::mount("silent", folder_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
    error_ = mounted_ ? 0 : errno;
    if (mounted_) thread_ = std::thread([this] { serve(); });
  }
  SilentFuse(const SilentFuse&) = delete;
  SilentFuse& operator=(const SilentFuse&) = delete;
  ~SilentFuse() { end(); }

  /// Releases every process that hangs in it, with an error.
  void end() {
    if (!mounted_) return;
    mounted_ = false;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
    thread_.join();
    device_.reset();  // closing its last descriptor makes the kernel end the connection
    ::umount2(folder_.c_str(), MNT_DETACH);
  }

  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] std::string error() const { return errnoText(error_); }
  /// How many requests were read and left unanswered.
  [[nodiscard]] unsigned asked() const { return asked_; }

 private:
  void serve() {
    std::array<char, FUSE_MIN_READ_BUFFER * 32> buffer{};
    for (;;) {
      std::array<pollfd, 2> polled{{{device_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
      if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
      if (polled[1].revents != 0) return;
      if (polled[0].revents == 0) continue;
      const ssize_t size = ::read(device_.get(), buffer.data(), buffer.size());
      if (size < static_cast<ssize_t>(sizeof(fuse_in_header))) continue;
      fuse_in_header question{};
      std::memcpy(&question, buffer.data(), sizeof question);
      if (question.opcode == FUSE_INIT) {
        greet(question.unique);
      } else if (question.opcode == FUSE_GETATTR && answers_ == Answers::what_its_root_is) {
        tellRoot(question.unique);
      } else if (question.opcode != FUSE_INTERRUPT && question.opcode != FUSE_FORGET) {
        ++asked_;
      }
    }
  }
  void greet(std::uint64_t unique) const {
    struct {
      fuse_out_header head{};
      fuse_init_out init{};
    } answer;
    answer.head.len = sizeof answer;
    answer.head.unique = unique;
    answer.init.major = FUSE_KERNEL_VERSION;
    answer.init.minor = FUSE_KERNEL_MINOR_VERSION;
    answer.init.max_write = 4096;
    [[maybe_unused]] const ssize_t written = ::write(device_.get(), &answer, sizeof answer);
  }

  void tellRoot(std::uint64_t unique) const {
    struct {
      fuse_out_header head{};
      fuse_attr_out attributes{};
    } answer;
    answer.head.len = sizeof answer;
    answer.head.unique = unique;
    answer.attributes.attr.ino = FUSE_ROOT_ID;
    answer.attributes.attr.mode = S_IFDIR | 0777;
    answer.attributes.attr.nlink = 1;
    [[maybe_unused]] const ssize_t written = ::write(device_.get(), &answer, sizeof answer);
  }

  std::filesystem::path folder_;
  Answers answers_;
  sys::UniqueFd device_{::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
  sys::UniqueFd stop_{::eventfd(0, EFD_CLOEXEC)};
  std::atomic<unsigned> asked_{0};
  bool mounted_ = false;
  int error_ = 0;
  std::thread thread_;
};

}  // namespace fallbackd::test
