// SPDX-License-Identifier: Apache-2.0
// Files without a name, in memory.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>

namespace fallbackd::sys {

/// An empty file for data. `name` is what /proc shows. It cannot be made executable (MFD_NOEXEC_SEAL): where
/// vm.memfd_noexec is 2, Linux 6.3 to 6.5 refuse a file without that flag. Kernels before 6.3 do not know the
/// flag; there it is an ordinary memfd.
Result<UniqueFd> memoryFile(Stage stage, const std::string& name);

}  // namespace fallbackd::sys
