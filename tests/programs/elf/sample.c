// SPDX-License-Identifier: Apache-2.0
// A program to inspect: exits with the given number, or prints its pid. Its health check answers as
// configured at build time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "--health-check") == 0) {
#ifdef HANGING
    for (;;) pause();
#endif
#ifdef LEAVING
    if (fork() == 0) {
      for (;;) pause();
    }
#endif
#ifdef ILL
    return 3;
#endif
    return 0;
  }
  if (argc > 1 && strcmp(argv[1], "--pid") == 0) {
    printf("%d %d %s\n", (int)getpid(), argc, argc > 2 ? argv[argc - 1] : "");
    return 0;
  }
  return argc > 1 ? atoi(argv[1]) : 0;
}
