// SPDX-License-Identifier: Apache-2.0
#include "spawner/inherited.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

constexpr rlim_t kMaxOpenFiles = 1 << 20;  // as runtimes do; more slows programs that close every descriptor

}  // namespace

void resetSignals() {
  constexpr std::size_t kKernelSetBytes = 8;
  const std::array<unsigned char, 64> defaultAction{};  // the kernel's struct, all zero: SIG_DFL
  for (int number = 1; number <= 64; ++number) {
    static_cast<void>(::syscall(SYS_rt_sigaction, number, defaultAction.data(), nullptr, kKernelSetBytes));
  }
}

std::vector<ProcessLimit> containerLimits() {
  std::vector<ProcessLimit> limits{{RLIMIT_CORE, 0, 0}};
  rlimit now{};
  if (::getrlimit(RLIMIT_NOFILE, &now) == 0) {
    const rlim_t most = std::min(now.rlim_max, kMaxOpenFiles);
    limits.push_back({RLIMIT_NOFILE, most, most});
  }
  if (::getrlimit(RLIMIT_STACK, &now) == 0) {
    limits.push_back({RLIMIT_STACK, std::min<rlim_t>(now.rlim_max, 8 << 20), now.rlim_max});
  }
  return limits;
}

}  // namespace fallbackd::launcher
