// SPDX-License-Identifier: Apache-2.0
#include "sys/tracee.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <elf.h>
#include <string>
#include <sys/ptrace.h>
#include <sys/uio.h>

namespace fallbackd::sys {

namespace {

// Missing from some C libraries: include/uapi/linux/ptrace.h.
constexpr long kSuspendSeccomp = 1L << 21;
constexpr int kEndOfCall = SIGTRAP | 0x80;  // PTRACE_O_TRACESYSGOOD

#if defined(__x86_64__)
constexpr std::array<unsigned char, 3> kCallAndStop{0x0f, 0x05, 0xcc};  // syscall; int3
#elif defined(__aarch64__)
constexpr std::array<unsigned char, 8> kCallAndStop{0x01, 0x00, 0x00, 0xd4,
                                                    0x00, 0x00, 0x20, 0xd4};  // svc; brk
#else
#error "registers of a traced process are implemented for x86-64 and arm64 only"
#endif
static_assert(kCallAndStop.size() <= sizeof(long));

void* asPointer(std::uintptr_t value) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in the other process
  return reinterpret_cast<void*>(value);
}

Result<> request(__ptrace_request what, pid_t process, std::uintptr_t address, std::uintptr_t data,
                 const char* text) {
  if (::ptrace(what, process, asPointer(address), asPointer(data)) == 0) return {};
  return fail(Stage::join, errno == EPERM ? Reason::not_permitted : Reason::system,
              std::string(text) + " process " + std::to_string(process), errno);
}

}  // namespace

#if defined(__x86_64__)
std::uintptr_t Registers::next() const {
  return all_.rip;
}

long Registers::result() const {
  return static_cast<long>(all_.rax);
}

Registers Registers::calling(long number, unsigned long first) const {
  Registers changed = outsideOfCall();
  changed.all_.rax = static_cast<unsigned long>(number);
  changed.all_.rdi = first;
  changed.all_.rsi = changed.all_.rdx = changed.all_.r10 = changed.all_.r8 = changed.all_.r9 = 0;
  return changed;
}

Registers Registers::outsideOfCall() const {
  Registers changed = *this;
  changed.all_.orig_rax = ~0UL;  // no system call to restart
  return changed;
}
#else
std::uintptr_t Registers::next() const {
  return all_.pc;
}

long Registers::result() const {
  return static_cast<long>(all_.regs[0]);
}

Registers Registers::calling(long number, unsigned long first) const {
  Registers changed = *this;
  changed.all_.regs[8] = static_cast<unsigned long>(number);
  changed.all_.regs[0] = first;
  for (int i = 1; i < 6; ++i) changed.all_.regs[i] = 0;
  return changed;
}

Registers Registers::outsideOfCall() const {
  return *this;
}
#endif

Result<> beginTracing(pid_t process) {
  constexpr long kOptions = PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK |
                            PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORK | PTRACE_O_TRACESYSGOOD;
  if (::ptrace(PTRACE_SEIZE, process, nullptr, asPointer(kOptions | kSuspendSeccomp)) == 0) return {};
  return request(PTRACE_SEIZE, process, 0, kOptions, "trace");
}

Result<Registers> registersOf(pid_t process) {
  Registers registers;
  iovec room{&registers.all_, sizeof registers.all_};
  FB_CHECK(request(PTRACE_GETREGSET, process, NT_PRSTATUS, reinterpret_cast<std::uintptr_t>(&room),
                   "read the registers of"));
  return registers;
}

Result<> setRegisters(pid_t process, const Registers& registers) {
  Registers copy = registers;
  iovec room{&copy.all_, sizeof copy.all_};
  return request(PTRACE_SETREGSET, process, NT_PRSTATUS, reinterpret_cast<std::uintptr_t>(&room),
                 "set the registers of");
}

Result<long> plantCall(pid_t process, std::uintptr_t place) {
  errno = 0;
  const long original = ::ptrace(PTRACE_PEEKTEXT, process, asPointer(place), nullptr);
  if (errno != 0) return failErrno(Stage::join, "read the code of process " + std::to_string(process));
  long changed = original;
  std::memcpy(&changed, kCallAndStop.data(), kCallAndStop.size());
  FB_CHECK(putBack(process, place, changed));
  return original;
}

Result<> putBack(pid_t process, std::uintptr_t place, long original) {
  return request(PTRACE_POKETEXT, process, place, static_cast<std::uintptr_t>(original), "write the code of");
}

Result<> resume(pid_t process, int signal) {
  return request(PTRACE_CONT, process, 0, static_cast<std::uintptr_t>(signal), "resume");
}

Result<> resumeToEndOfCall(pid_t process) {
  return request(PTRACE_SYSCALL, process, 0, 0, "resume");
}

Result<> stopTracing(pid_t process) {
  return request(PTRACE_DETACH, process, 0, 0, "let go of");
}

Result<pid_t> forkedBy(pid_t process) {
  unsigned long pid = 0;
  FB_CHECK(request(PTRACE_GETEVENTMSG, process, 0, reinterpret_cast<std::uintptr_t>(&pid),
                   "ask for the child of"));
  return static_cast<pid_t>(pid);
}

Stop stopOf(int status) {
  Stop stop;
  stop.signal = status & 0x7f;
  if (status == kEndOfCall) {
    stop.kind = Stop::Kind::end_of_call;
    return stop;
  }
  switch (status >> 8) {
    case PTRACE_EVENT_EXEC:
      stop.kind = Stop::Kind::executed;
      break;
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
      stop.kind = Stop::Kind::forked;
      break;
    case PTRACE_EVENT_STOP:
      stop.kind = Stop::Kind::began;
      break;
    default:
      stop.kind = stop.signal == SIGTRAP ? Stop::Kind::trap : Stop::Kind::signal;
  }
  return stop;
}

}  // namespace fallbackd::sys
