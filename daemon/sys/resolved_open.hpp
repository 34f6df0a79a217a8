// SPDX-License-Identifier: Apache-2.0
// openat2(2), as the spawner's child may call it, too: neither allocates nor uses the C library's thread data
// beyond errno. Kernel 5.6.
#pragma once

#include <cstdint>
#include <linux/openat2.h>

namespace fallbackd::sys {

/// The descriptor, always CLOEXEC; -1 with errno. Tries again a few times while the kernel asks for it: a
/// walk that may not leave its folder cannot be trusted if something is renamed or mounted meanwhile,
/// anywhere.
int openResolved(int folder, const char* path, std::uint64_t flags, std::uint64_t resolve);

}  // namespace fallbackd::sys
