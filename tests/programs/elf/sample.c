// SPDX-License-Identifier: Apache-2.0
// A program to inspect: exits with the given number, or prints its pid. Its health check answers as
// configured at build time. It does not use the C library, because every test of the cache would hash, copy
// and compress 800 KB more.
#include <asm/unistd.h>
#include <signal.h>

// The kernel starts here: the stack holds the number of arguments and then the arguments.
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl begin\n");
#endif

// Enough data that each test which changes or cuts a part of the file hits it.
static volatile char data[16384] = {1};

static long call(long number, long a, long b, long c) {
#if defined(__x86_64__)
  register long d __asm__("r10") = 0;
  register long e __asm__("r8") = 0;
  __asm__ volatile("syscall"
                   : "+a"(number)
                   : "D"(a), "S"(b), "d"(c), "r"(d), "r"(e)
                   : "rcx", "r11", "memory");
  return number;
#elif defined(__aarch64__)
  register long at __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = 0;
  register long x4 __asm__("x4") = 0;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(at), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
#endif
}

static void leave(int code) {
  for (;;) call(__NR_exit_group, code, 0, 0);
}

#if defined(HANGING) || defined(LEAVING)
static void hang(void) {
  for (;;) call(__NR_ppoll, 0, 0, 0);
}
#endif

static int same(const char* one, const char* other) {
  while (*one != 0 && *one == *other) {
    ++one;
    ++other;
  }
  return *one == *other;
}

static void print(const char* text) {
  long length = 0;
  while (text[length] != 0) ++length;
  call(__NR_write, 1, (long)text, length);
}

static void printNumber(long number) {
  char digits[24];
  char* at = digits + sizeof digits;
  *--at = 0;
  do {
    *--at = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  print(at);
}

static int numberIn(const char* text) {
  int number = 0;
  for (; *text >= '0' && *text <= '9'; ++text) number = number * 10 + (*text - '0');
  return number;
}

__attribute__((used)) void begin(const long* stack) {
  const long count = data[0] * stack[0];
  const char* const* arguments = (const char* const*)(stack + 1);
  if (count > 1 && same(arguments[1], "--health-check")) {
#ifdef HANGING
    hang();
#endif
#ifdef LEAVING
    if (call(__NR_clone, SIGCHLD, 0, 0) == 0) hang();
#endif
#ifdef ILL
    leave(3);
#endif
    leave(0);
  }
  if (count > 1 && same(arguments[1], "--pid")) {
    printNumber(call(__NR_getpid, 0, 0, 0));
    print(" ");
    printNumber(count);
    print(" ");
    print(count > 2 ? arguments[count - 1] : "");
    print("\n");
    leave(0);
  }
  leave(count > 1 ? numberIn(arguments[1]) : 0);
}
