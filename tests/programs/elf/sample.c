// A program for looking at: ends with the number given; its health check answers as it was built to.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "--health-check") == 0) {
#ifdef HANGING
    for (;;) pause();
#endif
#ifdef ILL
    return 3;
#endif
    return 0;
  }
  return argc > 1 ? atoi(argv[1]) : 0;
}
