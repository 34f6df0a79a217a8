// SPDX-License-Identifier: Apache-2.0
// How spare and child report their progress to the spawner, and how they stay out of others' reach.
#pragma once

#include "spawner/child_report.hpp"

#include <cstdint>
#include <string_view>

namespace fallbackd::launcher {

/// CLOCK_MONOTONIC, the form in which stamps are sent.
std::int64_t monotonicNs();

/// Only a process with CAP_SYS_PTRACE in the node's user namespace may trace this one, read its memory or
/// examine its descriptors. The setting belongs to the memory: a clone keeps it, a change of user may undo it
/// (where fs.suid_dumpable is not 0), execveat does.
bool hide();

/// Sends the report; ends the process if the reader is gone.
void tell(int socket, const ChildReport& report);

/// Sends a failure with the current errno and ends the process.
[[noreturn]] void giveUp(int socket, Step step, std::string_view object = {});

/// The failure that giveUp() would send.
ChildReport failureNow(Step step, std::string_view object = {});

}  // namespace fallbackd::launcher
