// SPDX-License-Identifier: Apache-2.0
// The progress of a long copy.
#pragma once

#include <cstdint>
#include <functional>

namespace fallbackd::sys {

/// Receives how many more bytes have been copied; may be empty.
using CopyProgress = std::function<void(std::uint64_t bytes)>;

}  // namespace fallbackd::sys
