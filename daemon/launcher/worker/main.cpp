// SPDX-License-Identifier: Apache-2.0
// fallbackd-worker: started by fallbackd with one end of a socket as descriptor 3; useless by itself. Works
// on files that a pod controls and runs programs that are not ours, so it may hang for ever; see
// workers/pool.hpp.
#include "launcher/pod_files.hpp"
#include "workers/program.hpp"

#include <cstdio>
#include <exception>
#include <utility>

namespace {

using namespace fallbackd;

Result<workers::Outcome> perform(const workers::Question& question, std::vector<sys::UniqueFd> fds) {
  if (question.work != workers::Work::run_program) {
    return launcher::performOnPodFiles(question, std::move(fds));
  }
  auto output = workers::runProgram(question.bytes);
  if (!output) return tl::unexpected<Error>(std::move(output).error());
  return workers::Outcome{std::move(*output), {}};
}

}  // namespace

int main() {
  try {
    const int code = fallbackd::workers::serve(&perform);
    if (code == 2) std::fputs("fallbackd-worker is started by fallbackd, not by hand\n", stderr);
    return code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fallbackd-worker: %s\n", error.what());
    return 1;
  }
}
