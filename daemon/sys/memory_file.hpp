// SPDX-License-Identifier: Apache-2.0
// Files without a name, in memory.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>

namespace fallbackd::sys {

/// An empty file for data. `name` is what /proc shows. Nobody can make it executable: where vm.memfd_noexec
/// is 2, Linux 6.3 to 6.5 refuse what does not ask for that. Before 6.3, which does not know the flag, an
/// ordinary memfd.
Result<UniqueFd> memoryFile(Stage stage, const std::string& name);

}  // namespace fallbackd::sys
