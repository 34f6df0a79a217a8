// SPDX-License-Identifier: Apache-2.0
#include "sys/inotify.hpp"

#include <array>
#include <cstring>
#include <unistd.h>

namespace fallbackd::sys {

Result<Inotify> Inotify::create(Stage stage) {
  UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) return failErrno(stage, "inotify");
  return Inotify(std::move(fd));
}

Result<int> Inotify::addWatch(Stage stage, const std::string& path, std::uint32_t mask) {
  const int watch = ::inotify_add_watch(fd_.get(), path.c_str(), mask);
  if (watch < 0) {
    return fail(stage, errno == ENOENT || errno == ENOTDIR ? Reason::not_found : Reason::system,
                "watch " + path, errno);
  }
  return watch;
}

void Inotify::removeWatch(int watch) {
  static_cast<void>(::inotify_rm_watch(fd_.get(), watch));
}

std::vector<FileEvent> Inotify::read() {
  std::vector<FileEvent> events;
  std::array<char, 16384> buffer{};
  for (;;) {
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return events;
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = buffer.data() + at + sizeof event;
      events.push_back({event.wd, event.mask, std::string(name, ::strnlen(name, event.len))});
      at += sizeof event + event.len;
    }
  }
}

}  // namespace fallbackd::sys
