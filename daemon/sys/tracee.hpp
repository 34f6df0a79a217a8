// SPDX-License-Identifier: Apache-2.0
// A process traced by this one: stops, registers, system calls made in its place. x86-64 and arm64. Each call
// except begin() requires the process to be stopped. Nothing here waits; stage join.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <sys/types.h>
#include <sys/user.h>

namespace fallbackd::sys {

/// All registers of a process: what it is about to do next.
class Registers {
 public:
  /// The program counter.
  [[nodiscard]] std::uintptr_t next() const;
  /// The result of the system call that just ended, or the negative errno.
  [[nodiscard]] long result() const;
  /// These registers, changed to make a system call with this first argument.
  [[nodiscard]] Registers calling(long number, unsigned long first) const;
  /// As a program finds them that does not return from a system call.
  [[nodiscard]] Registers outsideOfCall() const;

 private:
  friend Result<Registers> registersOf(pid_t process);
  friend Result<> setRegisters(pid_t process, const Registers& registers);
  user_regs_struct all_{};
};

/// Traces it, and its children, until it ends; it dies together with the tracer. Its seccomp filter is
/// suspended meanwhile if the kernel permits. Reason not_permitted if tracing is forbidden
/// (kernel.yama.ptrace_scope 3, or no CAP_SYS_PTRACE).
Result<> beginTracing(pid_t process);

Result<Registers> registersOf(pid_t process);
Result<> setRegisters(pid_t process, const Registers& registers);

/// Puts "system call, stop" at the program counter; returns what was there.
Result<long> plantCall(pid_t process, std::uintptr_t place);
Result<> putBack(pid_t process, std::uintptr_t place, long original);

/// Continues; delivers `signal` first unless it is 0.
Result<> resume(pid_t process, int signal);
/// Continues until the current system call ends.
Result<> resumeToEndOfCall(pid_t process);
/// Continues and is no longer traced.
Result<> stopTracing(pid_t process);

/// The new process after a fork stop, as seen by this process.
Result<pid_t> forkedBy(pid_t process);

/// Why a process stopped, from waitid(2)'s status.
struct Stop {
  enum class Kind : std::uint8_t { executed, forked, began, end_of_call, trap, signal };
  Kind kind = Kind::signal;
  int signal = 0;
};
Stop stopOf(int status);

}  // namespace fallbackd::sys
