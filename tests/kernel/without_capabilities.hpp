// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fallbackd::test {

/// Takes capabilities, one bit each and all below 32, from the effective set of the calling thread. False if
/// the kernel refuses.
inline bool giveUpCapabilities(std::uint32_t bits) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return false;
  sets[0].effective &= ~bits;
  return ::syscall(SYS_capset, &header, sets.data()) == 0;
}

}  // namespace fallbackd::test
