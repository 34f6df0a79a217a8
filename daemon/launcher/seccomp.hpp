// The seccomp filters of fallbacks, compiled by the daemon and loaded by the child as one system call. A
// program is struct sock_filter one after the other, as it crosses the spawner's socket. Pure but for
// libseccomp; some milliseconds.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace fallbackd::launcher {

/// What runtimes call RuntimeDefault: containerd's default profile, by what it denies, for a process with
/// these capabilities (a bit for each). Denied calls give EPERM; those that the C library knows how to do
/// without (clone3, calls newer than this list) give ENOSYS.
Result<std::string> compileDefaultFilter(std::uint64_t capabilities);

/// A profile as kubelet's Localhost type has it: the OCI runtime specification's JSON (defaultAction,
/// architectures, syscalls with names, action, errnoRet and args). Names that libseccomp does not know are
/// passed over, as runtimes do. execveat is always allowed: it starts the binary. Where the profile denies by
/// default, calls newer than all that it names give ENOSYS, so that programs do without them. Stage identity;
/// reason invalid with what is wrong.
Result<std::string> compileFilterProfile(std::string_view json);

}  // namespace fallbackd::launcher
