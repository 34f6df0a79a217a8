// SPDX-License-Identifier: Apache-2.0
// System calls that fail for one thread of a test, as on a machine that runs out of memory, processes or
// descriptors.
#pragma once

#include <cerrno>
#include <cstddef>
#include <functional>
#include <future>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace fallbackd::test {

using SystemCalls = std::vector<unsigned>;

/// The system calls behind poll(3) and ppoll(3) on this machine.
inline SystemCalls pollCalls() {
#ifdef SYS_poll
  return {SYS_poll, SYS_ppoll};
#else
  return {SYS_ppoll};
#endif
}

/// The system calls behind fstat(3).
inline SystemCalls statCalls() {
#ifdef SYS_newfstatat
  return {SYS_fstat, SYS_newfstatat};
#else
  return {SYS_fstat};
#endif
}

/// The system calls that start a thread.
inline SystemCalls cloneCalls() {
  return {SYS_clone, SYS_clone3};
}

/// The path of a waiting openat(2) or openat2(2). It is read through the kernel, because neither compiler nor
/// sanitizer can see how the two threads take turns.
inline std::string pathOf(const seccomp_data& call) {
  std::string text(512, '\0');
  const iovec here{text.data(), text.size()};
  const iovec there{reinterpret_cast<void*>(call.args[1]), text.size()};
  const auto read = ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0);
  text.resize(read > 0 ? static_cast<std::size_t>(read) : 0);
  return text.substr(0, text.find('\0'));
}

/// Installs a filter with this outcome for the calls of the calling thread and of the threads and processes
/// that it starts. Returns a listener if the flags request it, otherwise 0; negative if the kernel refuses.
inline int filterCalls(const SystemCalls& calls, unsigned outcome, unsigned flags) {
  std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const unsigned call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, outcome));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  return static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter));
}

/// Makes the calls fail for the rest of this thread's life.
inline bool refuseCalls(const SystemCalls& calls, int errnum) {
  return filterCalls(calls, SECCOMP_RET_ERRNO | static_cast<unsigned>(errnum), 0) == 0;
}

/// The threads that decide for a thread of onOwnThread(), which joins them.
inline thread_local std::vector<std::thread>* deciders = nullptr;

/// Answers the calls that arrive at the listener, until no thread has the filter. At that point older kernels
/// wake only a thread that polls, not one that waits for a call.
inline void answerCalls(int listener, const std::function<int(const seccomp_data&)>& decide) {
  for (pollfd calls{listener, POLLIN, 0};;) {
    const int ready = ::poll(&calls, 1, -1);
    if (ready < 0 && errno == EINTR) continue;
    seccomp_notif request{};
    if ((calls.revents & POLLIN) == 0 || ::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) return;
    const int errnum = decide(request.data);
    seccomp_notif_resp answer{.id = request.id, .val = 0, .error = -errnum, .flags = 0};
    if (errnum == 0) answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

/// Each call waits for `decide`, which runs on another thread and returns the errno with which the call
/// fails; 0: the call does not fail. `decide` may read what the arguments point to. Use it on a thread that
/// ends before the test does.
inline bool decideCalls(const SystemCalls& calls, std::function<int(const seccomp_data&)> decide) {
  std::promise<int> listener;
  std::thread decider([decide = std::move(decide), given = listener.get_future()]() mutable {
    const int fd = given.get();
    if (fd < 0) return;
    answerCalls(fd, decide);
    ::close(fd);
  });
  const int fd = filterCalls(calls, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
  listener.set_value(fd);
  if (deciders != nullptr) {
    deciders->push_back(std::move(decider));
  } else {
    decider.detach();
  }
  return fd >= 0;
}

/// The first `times` calls fail, the others do not.
inline bool refuseFirstCalls(int times, const SystemCalls& calls, int errnum) {
  return decideCalls(calls, [times, errnum](const auto&) mutable { return times-- > 0 ? errnum : 0; });
}

/// Runs `work` on its own thread, which takes such a filter with it when it ends. Afterwards the threads that
/// decided for it have ended, too.
template <class Work>
auto onOwnThread(Work work) -> decltype(work()) {
  std::vector<std::thread> started;
  auto done = std::async(std::launch::async, [&]() -> decltype(work()) {
    deciders = &started;
    return work();
  });
  done.wait();
  for (auto& decider : started) decider.join();
  return done.get();
}

}  // namespace fallbackd::test
