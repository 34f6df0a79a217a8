// SPDX-License-Identifier: Apache-2.0
// fallbackd-spawner: started by fallbackd with one end of a socket as descriptor 3; useless by itself.
#include "spawner/descriptors.hpp"
#include "spawner/spawner.hpp"
#include "spawner/tell.hpp"

#include <cstdio>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

using fallbackd::launcher::Spawner;

namespace {
constexpr int kSocket = fallbackd::launcher::kSpawnerSocket;
}

int main() {
  // First of all, and for every clone of this process: some belong to a pod while they still hold the host's
  // privileges.
  if (!fallbackd::launcher::hide()) {
    std::perror("fallbackd-spawner: make itself untraceable");
    return 1;
  }
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kSocket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
    std::fputs("fallbackd-spawner is started by fallbackd, not by hand\n", stderr);
    return 2;
  }
  ::close_range(kSocket + 1, ~0U, 0);
  ::fcntl(kSocket, F_SETFD, FD_CLOEXEC);
  ::umask(0022);
  Spawner spawner{fallbackd::sys::UniqueFd(kSocket)};
  const auto ready = spawner.setUp();
  if (!ready) {
    spawner.reportFailure(ready.error());
    ::_exit(1);
  }
  const auto done = spawner.run();
  if (!done) std::fprintf(stderr, "fallbackd-spawner: %s\n", done.error().message().c_str());
  // Skips the sanitizers' final checks, which need a /proc that no longer exists.
  ::_exit(done ? 0 : 1);
}
