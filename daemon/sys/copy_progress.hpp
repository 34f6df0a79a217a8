// SPDX-License-Identifier: Apache-2.0
// Who wants to know how far a long copy is.
#pragma once

#include <cstdint>
#include <functional>

namespace fallbackd::sys {

/// Hears how many bytes more have been copied; may be empty.
using CopyProgress = std::function<void(std::uint64_t bytes)>;

}  // namespace fallbackd::sys
