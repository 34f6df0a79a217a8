// SPDX-License-Identifier: Apache-2.0
// fallbackd-worker: started by fallbackd with one end of a socket as descriptor 3; useless by itself. Works
// on files that a pod controls, and so may hang for ever; see workers/pool.hpp.
#include "launcher/pod_files.hpp"

#include <cstdio>
#include <exception>

int main() {
  try {
    const int code = fallbackd::workers::serve(&fallbackd::launcher::performOnPodFiles);
    if (code == 2) std::fputs("fallbackd-worker is started by fallbackd, not by hand\n", stderr);
    return code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fallbackd-worker: %s\n", error.what());
    return 1;
  }
}
