// SPDX-License-Identifier: Apache-2.0
// The seccomp filters of fallbacks, compiled by the daemon and loaded by the child with one system call. A
// program is an array of struct sock_filter, the form in which it crosses the spawner's socket. Pure except
// for libseccomp; takes a few milliseconds.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace fallbackd::launcher {

/// What runtimes call RuntimeDefault: containerd's default profile, expressed as what it denies, for a
/// process with these capabilities (one bit each). Denied calls return EPERM; those that the C library can do
/// without (clone3, calls newer than this list) return ENOSYS.
Result<std::string> compileDefaultFilter(std::uint64_t capabilities);

/// A profile in the format of kubelet's Localhost type: the OCI runtime specification's JSON (defaultAction,
/// architectures, syscalls with names, action, errnoRet and args). Names that libseccomp does not know are
/// skipped, as runtimes do. execveat is always allowed: it starts the binary. If the profile denies by
/// default, calls newer than all calls that it names return ENOSYS, so that programs do without them. Stage
/// identity; reason invalid with what is wrong.
Result<std::string> compileFilterProfile(std::string_view json);

}  // namespace fallbackd::launcher
