#include "sys/clone.hpp"

#include <cerrno>
#include <sched.h>
#include <sys/syscall.h>

// Not by the C library's syscall(): the new process has another stack, on which there is nothing to return
// to.
long fallbackd_clone_sharing(clone_args* arguments, void (*entry)(void*), void* argument) {
  arguments->flags |= CLONE_VM | CLONE_VFORK;
#if defined(__x86_64__)
  long result = SYS_clone3;
  register void (*run)(void*) asm("r8") = entry;
  register void* with asm("r9") = argument;
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"  // the outermost frame
      "movq %%r9, %%rdi\n\t"
      "callq *%%r8\n\t"
      "hlt\n"
      "1:"
      : "+a"(result)
      : "D"(arguments), "S"(sizeof *arguments), "r"(run), "r"(with)
      : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
  register long result asm("x0") = reinterpret_cast<long>(arguments);
  register unsigned long size asm("x1") = sizeof *arguments;
  register void (*run)(void*) asm("x2") = entry;
  register void* with asm("x3") = argument;
  register long number asm("x8") = SYS_clone3;
  asm volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"  // the outermost frame
      "mov x0, x3\n\t"
      "blr x2\n\t"
      "brk 0\n"
      "1:"
      : "+r"(result)
      : "r"(size), "r"(run), "r"(with), "r"(number)
      : "x30", "memory", "cc");
#else
#error "the stack of a new process is known for x86-64 and arm64"
#endif
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}
