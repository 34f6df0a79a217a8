// SPDX-License-Identifier: Apache-2.0
// The linker (--wrap) puts this between the spawner's code and the C library, to force behaviour that this
// kernel does not show by itself. Each variant of the spawner is built with one of:
//   SHIM_BUSY_CGROUP  clone refuses CLONE_INTO_CGROUP, as kernels before 5.7 and some layouts do
//   SHIM_LOST_CWD=N   the process's Nth getcwd reports a directory outside its root
//   SHIM_STRICT       anything but a system call ends the child: it must neither allocate nor use the
//                     C library's thread data
// Where success would not show that the shim was active, it prints a line to standard error, which tests
// read.
#include "sys/clone.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

[[maybe_unused]] void say(const char* text) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text, std::strlen(text));
}

[[maybe_unused]] bool inChild = false;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

}  // namespace

// The linker dictates the names.
// NOLINTBEGIN(cert-dcl37-c,cert-dcl51-cpp,cert-dcl50-cpp,readability-identifier-naming)
extern "C" {

long __real_fallbackd_clone_sharing(clone_args* arguments, void (*entry)(void*), void* argument);

long __wrap_fallbackd_clone_sharing(clone_args* arguments, void (*entry)(void*), void* argument) {
#ifdef SHIM_BUSY_CGROUP
  if ((arguments->flags & CLONE_INTO_CGROUP) != 0) {
    say("shim: busy\n");
    errno = EBUSY;
    return -1;
  }
#endif
#ifdef SHIM_STRICT
  inChild = true;
  say("shim: strict\n");
#endif
  const long failed = __real_fallbackd_clone_sharing(arguments, entry, argument);
  inChild = false;
  return failed;
}

#ifdef SHIM_LOST_CWD
char* __wrap_getcwd(char* buffer, std::size_t size) {
  static int calls = 0;
  long length = ::syscall(SYS_getcwd, buffer, size);
  if (++calls == SHIM_LOST_CWD) {
    length = static_cast<long>(std::strlen(std::strncpy(buffer, "(unreachable)/", size)));
  }
  return length < 0 ? nullptr : buffer;
}
char* __wrap___getcwd_chk(char* buffer, std::size_t size, std::size_t) {
  return __wrap_getcwd(buffer, size);
}
#endif

#ifdef SHIM_STRICT
#define REFUSED(name)                         \
  if (inChild) {                              \
    say("shim: the child calls " #name "\n"); \
    ::_exit(99);                              \
  }

void* __real_malloc(std::size_t size);
void* __wrap_malloc(std::size_t size) {
  REFUSED(malloc)
  return __real_malloc(size);
}
void* __real_calloc(std::size_t count, std::size_t size);
void* __wrap_calloc(std::size_t count, std::size_t size) {
  REFUSED(calloc)
  return __real_calloc(count, size);
}
void* __real_realloc(void* block, std::size_t size);
void* __wrap_realloc(void* block, std::size_t size) {
  REFUSED(realloc)
  return __real_realloc(block, size);
}
void __real_free(void* block);
void __wrap_free(void* block) {
  REFUSED(free)
  __real_free(block);
}
int __real_raise(int number);
int __wrap_raise(int number) {
  REFUSED(raise)
  return __real_raise(number);
}
int __real_pthread_mutex_lock(void* mutex);
int __wrap_pthread_mutex_lock(void* mutex) {
  REFUSED(pthread_mutex_lock)
  return __real_pthread_mutex_lock(mutex);
}
int __real_pthread_kill(unsigned long thread, int number);
int __wrap_pthread_kill(unsigned long thread, int number) {
  REFUSED(pthread_kill)
  return __real_pthread_kill(thread, number);
}
#endif

}  // extern "C"
// NOLINTEND(cert-dcl37-c,cert-dcl51-cpp,cert-dcl50-cpp,readability-identifier-naming)
