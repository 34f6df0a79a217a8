// SPDX-License-Identifier: Apache-2.0
// Shared by both kinds of filter: libseccomp's context, and its program as bytes.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <linux/filter.h>
#include <memory>
#include <string>
#include <vector>

#include <seccomp.h>

namespace fallbackd::launcher {

struct SeccompDeleter {
  void operator()(void* context) const { ::seccomp_release(context); }
};
using SeccompContext = std::unique_ptr<void, SeccompDeleter>;

/// This machine's architecture in the kernel's numbers (AUDIT_ARCH_...).
std::uint32_t nativeAudit();

/// "load the call's number; if it is `first` or higher, ENOSYS": for the native architecture only.
std::vector<sock_filter> denyCallsFrom(std::uint32_t first);

/// The context's program after `prologue`, whose jumps must stay within it.
Result<std::string> exportProgram(const SeccompContext& context, std::vector<sock_filter> prologue);

}  // namespace fallbackd::launcher
