// SPDX-License-Identifier: Apache-2.0
// The secret that containerd's configuration and the mirror share. The mirror's address can be reached by
// every process in the node's network, including pods with hostNetwork; without the token they get nothing.
#pragma once

#include "base/error.hpp"

#include <string>

namespace fallbackd::mirror {

/// The token in `file`; creates the file, for root alone, if it is missing. Reason unsafe_owner if others
/// could read it. Blocks.
Result<std::string> ensureToken(const std::string& file);

}  // namespace fallbackd::mirror
