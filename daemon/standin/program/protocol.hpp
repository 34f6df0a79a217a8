// SPDX-License-Identifier: Apache-2.0
// What fallbackd and its program in the container agree on. See docs/adr/0012.
#pragma once

namespace fallbackd::standin {

/// The reading end of the program's pipe, which fallbackd takes with pidfd_getfd(2). The program writes a
/// byte for each signal: its number.
inline constexpr int kSignalsFd = 10;

/// Ends the program when it is queued with a value: the exit code.
inline constexpr int kEndSignal = 60;

/// What /proc/PID/comm shows once the program runs: 15 bytes of its name.
inline constexpr const char* kProgramComm = "fallbackd-stand";

inline constexpr const char* kProgramName = "fallbackd-stand-in";

}  // namespace fallbackd::standin
