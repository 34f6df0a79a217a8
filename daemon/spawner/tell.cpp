// SPDX-License-Identifier: Apache-2.0
#include "spawner/tell.hpp"

#include <cerrno>
#include <ctime>
#include <sys/prctl.h>
#include <unistd.h>

namespace fallbackd::launcher {

std::int64_t monotonicNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

bool hide() {
  return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

void tell(int socket, const ChildReport& report) {
  // Without the spawner nothing keeps track of this process: it must not continue. SIGPIPE ends it, except a
  // pid 1, which the kernel spares.
  if (::write(socket, &report, sizeof report) != sizeof report) ::_exit(1);
}

ChildReport failureNow(Step step, std::string_view object) {
  ChildReport failure;
  failure.kind = ChildReport::Kind::failed;
  failure.step = step;
  failure.errnum = errno;
  object.copy(failure.object, sizeof failure.object - 1);
  return failure;
}

void giveUp(int socket, Step step, std::string_view object) {
  tell(socket, failureNow(step, object));
  ::_exit(1);
}

}  // namespace fallbackd::launcher
