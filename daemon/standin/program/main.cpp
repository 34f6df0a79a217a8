// SPDX-License-Identifier: Apache-2.0
// fallbackd-stand-in: process 1 of a stand-in's container. It exists, passes on signals and ends as it is
// told. Signals that it gets go into a pipe, one byte each, from which fallbackd reads; fallbackd tells it
// the exit code as the value of a queued signal. Without fallbackd it waits until the runtime kills it.
#include "standin/program/protocol.hpp"

#include <asm/unistd.h>
#include <csignal>
#include <fcntl.h>
#include <sys/wait.h>

namespace {

#if defined(__x86_64__)
long call(long number, long a = 0, long b = 0, long c = 0, long d = 0) {
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return number;
}
__asm__(".globl _start\n_start:\n  xorl %ebp, %ebp\n  andq $-16, %rsp\n  call standIn\n  hlt\n");
#elif defined(__aarch64__)
long call(long number, long a = 0, long b = 0, long c = 0, long d = 0) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
}
__asm__(".globl _start\n_start:\n  mov x29, #0\n  bl standIn\n");
#else
#error "the system calls of this architecture are not known"
#endif

long address(const void* pointer) {
  return reinterpret_cast<long>(pointer);
}

[[noreturn]] void end(int code) {
  for (;;) call(__NR_exit_group, code);
}

constexpr long kMaskBytes = 8;  // of the kernel's sigset_t
constexpr int kFailed = 125;

}  // namespace

extern "C" [[noreturn]] void standIn() {
  // Blocked signals are kept for process 1, which would lose those that it does not handle.
  const unsigned long all = ~0UL;
  call(__NR_rt_sigprocmask, SIG_SETMASK, address(&all), 0, kMaskBytes);
  int ends[2] = {-1, -1};
  if (call(__NR_pipe2, address(ends), O_CLOEXEC | O_NONBLOCK) != 0) end(kFailed);
  if (call(__NR_dup3, ends[0], fallbackd::standin::kSignalsFd, O_CLOEXEC) < 0) end(kFailed);
  for (;;) {
    siginfo_t info;
    info.si_code = 0;  // the compiler does not see the kernel fill it
    info.si_value.sival_int = 0;
    const long number = call(__NR_rt_sigtimedwait, address(&all), address(&info), 0, kMaskBytes);
    if (number <= 0) continue;
    if (number == SIGCHLD) {
      // Processes that probes left behind.
      while (call(__NR_wait4, -1, 0, WNOHANG, 0) > 0) {
      }
      continue;
    }
    if (number == fallbackd::standin::kEndSignal && info.si_code == SI_QUEUE)
      end(info.si_value.sival_int & 0xff);
    const auto byte = static_cast<unsigned char>(number);
    call(__NR_write, ends[1], address(&byte), 1);
  }
}
