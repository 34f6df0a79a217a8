// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/input.hpp"

#include "coverage/manifests.hpp"
#include "sys/fd.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace fallbackd::ctl {

Result<std::string> readInput(const std::string& file) {
  if (file != "-") return sys::readFile(Stage::cli, file, coverage::kMaxManifestBytes);
  if (::isatty(STDIN_FILENO) != 0) {
    return fail(
        Stage::cli, Reason::usage,
        "expects Kubernetes objects on standard input, for example from `kubectl get deploy NAME -o yaml`");
  }
  const sys::UniqueFd in(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  return sys::readAll(Stage::cli, in, coverage::kMaxManifestBytes, "standard input");
}

}  // namespace fallbackd::ctl
