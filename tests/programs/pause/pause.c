// SPDX-License-Identifier: Apache-2.0
/* The sandbox's own process: holds the pod's namespaces, reaps orphans, exits on request. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

int main(void) {
  /* Blocks the signals before waiting for them, so that none that arrives early is lost, even as pid 1. */
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGTERM);
  if (sigprocmask(SIG_BLOCK, &wanted, NULL) != 0) return EXIT_FAILURE;
  for (;;) {
    const int received = sigwaitinfo(&wanted, NULL);
    if (received == SIGINT || received == SIGTERM) return EXIT_SUCCESS;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
  }
}
