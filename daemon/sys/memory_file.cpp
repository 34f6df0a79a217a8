// SPDX-License-Identifier: Apache-2.0
#include "sys/memory_file.hpp"

#include <cerrno>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace fallbackd::sys {

Result<UniqueFd> memoryFile(Stage stage, const std::string& name) {
  UniqueFd file(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_NOEXEC_SEAL));
  if (!file && errno == EINVAL) file = UniqueFd(::memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!file) return failErrno(stage, "make a file in memory for " + name);
  return file;
}

}  // namespace fallbackd::sys
