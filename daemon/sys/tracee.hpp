// A process that this one traces: stops, registers, calls made in its place. x86-64 and arm64.
// Each call wants the process stopped, but begin(). Nothing here waits; stage join.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <sys/types.h>
#include <sys/user.h>

namespace fallbackd::sys {

/// What a process is about to do next, all of it.
class Registers {
 public:
  /// The program counter.
  [[nodiscard]] std::uintptr_t next() const;
  /// What a system call that just ended gave: its result, or the negative errno.
  [[nodiscard]] long result() const;
  /// These registers, with a system call and its first argument in place of what was there.
  [[nodiscard]] Registers calling(long number, unsigned long first) const;
  /// As a program finds them that does not return from a system call.
  [[nodiscard]] Registers outsideOfCall() const;

 private:
  friend Result<Registers> registersOf(pid_t process);
  friend Result<> setRegisters(pid_t process, const Registers& registers);
  user_regs_struct all_{};
};

/// Traces it until it ends, with its children; it dies with the tracer. While it is traced its seccomp filter
/// is suspended, where the kernel lets us. Reason not_permitted where tracing is forbidden
/// (kernel.yama.ptrace_scope 3, or no CAP_SYS_PTRACE).
Result<> beginTracing(pid_t process);

Result<Registers> registersOf(pid_t process);
Result<> setRegisters(pid_t process, const Registers& registers);

/// Puts "system call, stop" where the process would go on; gives back what was there.
Result<long> plantCall(pid_t process, std::uintptr_t place);
Result<> putBack(pid_t process, std::uintptr_t place, long original);

/// Runs on, after delivering `signal` where it is not 0.
Result<> resume(pid_t process, int signal);
/// Runs on to the end of the system call that it is in.
Result<> resumeToEndOfCall(pid_t process);
/// Runs on and is not traced any more.
Result<> stopTracing(pid_t process);

/// The new process, after a stop for a fork, as this process counts.
Result<pid_t> forkedBy(pid_t process);

/// Why a process stopped, from the status that waitid(2) gives.
struct Stop {
  enum class Kind : std::uint8_t { executed, forked, began, end_of_call, trap, signal };
  Kind kind = Kind::signal;
  int signal = 0;
};
Stop stopOf(int status);

}  // namespace fallbackd::sys
