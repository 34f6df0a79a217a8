#include "launcher/spawner/tell.hpp"

#include <cerrno>
#include <ctime>
#include <unistd.h>

#include <climits>

namespace fallbackd::launcher {

// One write(2) that the kernel does not tear.
static_assert(sizeof(ChildReport) <= PIPE_BUF);

std::int64_t monotonicNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void tell(int pipe, const ChildReport& report) {
  // With the spawner gone nobody counts this process any more: it must not go on. SIGPIPE does it for all
  // users but pid 1, whom the kernel spares.
  if (::write(pipe, &report, sizeof report) != sizeof report) ::_exit(1);
}

void giveUp(int pipe, Step step, std::string_view object) {
  ChildReport failure;
  failure.kind = ChildReport::Kind::failed;
  failure.step = step;
  failure.errnum = errno;
  object.copy(failure.object, sizeof failure.object - 1);
  tell(pipe, failure);
  ::_exit(1);
}

}  // namespace fallbackd::launcher
