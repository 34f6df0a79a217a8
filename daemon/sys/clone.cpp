// SPDX-License-Identifier: Apache-2.0
#include "sys/clone.hpp"

#include <cerrno>
#include <sched.h>
#include <sys/syscall.h>

// The C library's functions do not fit: the new process runs on another stack, on which there is nothing to
// return to, and the old one must not touch anything that the new one uses, such as errno or a sanitizer's
// state.
long fallbackd_clone_sharing(clone_args* arguments, void (*entry)(void*), void* argument) {
  arguments->flags |= CLONE_VM;
#if defined(__x86_64__)
  long result = SYS_clone3;
  register void (*run)(void*) asm("r8") = entry;
  register void* with asm("r9") = argument;
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "js 1f\n\t"
      "jnz 2f\n\t"
      "xorl %%ebp, %%ebp\n\t"  // the outermost frame
      "movq %%r9, %%rdi\n\t"
      "callq *%%r8\n\t"
      "hlt\n"
      "2:\n\t"
      "movl %[close], %%eax\n\t"
      "xorl %%edi, %%edi\n\t"
      "movl $-1, %%esi\n\t"
      "xorl %%edx, %%edx\n\t"
      "syscall\n"
      "3:\n\t"
      "movl %[wait], %%eax\n\t"
      "syscall\n\t"
      "jmp 3b\n"
      "1:"
      : "+a"(result)
      : "D"(arguments), "S"(sizeof *arguments), "r"(run),
        "r"(with), [close] "i"(SYS_close_range), [wait] "i"(SYS_pause)
      : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
  register long result asm("x0") = reinterpret_cast<long>(arguments);
  register unsigned long size asm("x1") = sizeof *arguments;
  register void (*run)(void*) asm("x2") = entry;
  register void* with asm("x3") = argument;
  register long number asm("x8") = SYS_clone3;
  asm volatile(
      "svc 0\n\t"
      "tbnz x0, 63, 1f\n\t"
      "cbnz x0, 2f\n\t"
      "mov x29, xzr\n\t"  // the outermost frame
      "mov x0, x3\n\t"
      "blr x2\n\t"
      "brk 0\n"
      "2:\n\t"
      "mov x8, %[close]\n\t"
      "mov x0, xzr\n\t"
      "mov w1, -1\n\t"
      "mov x2, xzr\n\t"
      "svc 0\n"
      "3:\n\t"
      "mov x8, %[wait]\n\t"
      "mov x0, xzr\n\t"
      "mov x1, xzr\n\t"
      "mov x2, xzr\n\t"
      "mov x3, xzr\n\t"
      "svc 0\n\t"
      "b 3b\n"
      "1:"
      : "+r"(result)
      : "r"(size), "r"(run), "r"(with), "r"(number), [close] "i"(SYS_close_range), [wait] "i"(SYS_ppoll)
      : "x30", "memory", "cc");
#else
#error "switching to a new process's stack is implemented for x86-64 and arm64 only"
#endif
  errno = static_cast<int>(-result);
  return -1;
}
