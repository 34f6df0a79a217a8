// SPDX-License-Identifier: Apache-2.0
// The program fallbackd-stand-in, for this machine's architecture.
#pragma once

#include <string_view>

namespace fallbackd::standin {

std::string_view programBytes();

}  // namespace fallbackd::standin
