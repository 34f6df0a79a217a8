// SPDX-License-Identifier: Apache-2.0
#include "spawner/transfer.hpp"

#include <csignal>
#include <sched.h>
#include <sys/syscall.h>

namespace fallbackd::launcher {

Result<Transfer> Transfer::begin(pid_t outside) {
  FB_CHECK(sys::beginTracing(outside));
  return Transfer(outside);
}

Result<> Transfer::stopped(pid_t process, int status, std::set<pid_t>& strays) {
  using Kind = sys::Stop::Kind;
  const auto stop = sys::stopOf(status);
  if (process == outside_) {
    if (stop.kind == Kind::executed && step_ == Step::executing) return executed();
    if (stop.kind == Kind::end_of_call && step_ == Step::leaving_execveat) return fork();
    if (stop.kind == Kind::forked && step_ == Step::forking) return forked(strays);
    if (stop.kind == Kind::trap && step_ == Step::forking) return notForked();
  } else {
    if (stop.kind == Kind::began && step_ == Step::born) return makeSession();
    if (stop.kind == Kind::trap && step_ == Step::making_session) return letGo();
  }
  // A signal from another process: delivered as it would be without us.
  return sys::resume(process, stop.kind == Kind::signal ? stop.signal : 0);
}

/// The return value of execveat is still to be written to a register.
Result<> Transfer::executed() {
  FB_TRY(const auto registers, sys::registersOf(outside_));
  start_ = registers.outsideOfCall();
  step_ = Step::leaving_execveat;
  return sys::resumeToEndOfCall(outside_);
}

Result<> Transfer::fork() {
  FB_TRY(code_, sys::plantCall(outside_, start_.next()));
  FB_CHECK(sys::setRegisters(outside_, start_.calling(SYS_clone, CLONE_PARENT | SIGCHLD)));
  step_ = Step::forking;
  return sys::resume(outside_, 0);
}

Result<> Transfer::forked(std::set<pid_t>& strays) {
  FB_TRY(inside_, sys::forkedBy(outside_));
  step_ = Step::born;
  ::kill(outside_, SIGKILL);
  return strays.erase(inside_) > 0 ? makeSession() : Result<>{};
}

/// It reached the stop after the call.
Result<> Transfer::notForked() const {
  FB_TRY(const auto registers, sys::registersOf(outside_));
  return fail(Stage::join, Reason::system, "fork into the sandbox's PID namespace",
              static_cast<int>(-registers.result()));
}

Result<> Transfer::makeSession() {
  FB_CHECK(sys::setRegisters(inside_, start_.calling(SYS_setsid, 0)));
  step_ = Step::making_session;
  return sys::resume(inside_, 0);
}

Result<> Transfer::letGo() {
  FB_CHECK(sys::putBack(inside_, start_.next(), code_));
  FB_CHECK(sys::setRegisters(inside_, start_));
  FB_CHECK(sys::stopTracing(inside_));
  step_ = Step::done;
  return {};
}

}  // namespace fallbackd::launcher
