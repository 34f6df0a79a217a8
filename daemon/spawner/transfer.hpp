// SPDX-License-Identifier: Apache-2.0
// Moves an executed program into a PID namespace that a pod's containers share.
//
// Only a child is ever born into another PID namespace, and from its birth on the pod's other containers see
// it: one with CAP_SYS_PTRACE can take it over. So the process that enters is a copy of one that has already
// executed the binary and holds nothing of the host's. The spawner traces the process outside the namespace
// through execveat, has it fork before its first instruction, lets the copy make its own session and run, and
// kills the original. docs/adr lists the alternatives that were rejected.
#pragma once

#include "base/error.hpp"
#include "sys/tracee.hpp"

#include <set>
#include <sys/types.h>

namespace fallbackd::launcher {

/// One transfer; owned by its launch. Single thread; every call returns at once, and the kernel's stops drive
/// it. A failed transfer is left as it is: the launch kills both processes.
class Transfer {
 public:
  /// Begins with the process that is about to execute. Reason not_permitted if the node forbids tracing.
  static Result<Transfer> begin(pid_t outside);

  /// One of the two stopped, with waitid's status. `strays`: stopped processes that do not belong to a
  /// transfer yet; the copy may stop before its birth is reported, and is then taken from there.
  Result<> stopped(pid_t process, int status, std::set<pid_t>& strays);

  [[nodiscard]] bool concerns(pid_t process) const { return process == outside_ || process == inside_; }
  /// The copy, once it is born; otherwise 0.
  [[nodiscard]] pid_t inside() const { return inside_; }
  /// It runs and is no longer traced.
  [[nodiscard]] bool done() const { return step_ == Step::done; }

 private:
  enum class Step : std::uint8_t { executing, leaving_execveat, forking, born, making_session, done };

  explicit Transfer(pid_t outside) : outside_(outside) {}
  Result<> executed();
  Result<> fork();
  Result<> forked(std::set<pid_t>& strays);
  [[nodiscard]] Result<> notForked() const;
  Result<> makeSession();
  Result<> letGo();

  pid_t outside_;
  pid_t inside_ = 0;
  Step step_ = Step::executing;
  sys::Registers start_;  // as the program finds them
  long code_ = 0;         // the original code at its first instruction
};

}  // namespace fallbackd::launcher
