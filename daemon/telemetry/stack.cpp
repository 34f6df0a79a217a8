// SPDX-License-Identifier: Apache-2.0
#include "telemetry/stack.hpp"

#include "base/strings.hpp"
#include "sys/fd.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <memory>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>

namespace fallbackd::telemetry {

namespace {

constexpr int kMaxFrames = 64;
constexpr int kHandlerFrames = 2;  // the handler itself and the kernel's frame below it
constexpr int kAnswerLimitMs = 500;

// Written by the handler, whatever state its thread is in; so it takes no lock and allocates nothing.
std::array<void*, kMaxFrames> frames;
std::atomic<int> frameCount{0};
std::atomic<std::uint64_t> asked{0};
std::atomic<std::uint64_t> answered{0};

int signalNumber() {
  return SIGRTMIN + 5;  // CPU profilers use SIGPROF
}

void takeFrames(int /*number*/) {
  const int error = errno;
  const auto question = asked.load();
  if (question != answered.load()) {
    frameCount = ::backtrace(frames.data(), kMaxFrames);
    answered = question;
  }
  errno = error;
}

std::string textOf(const std::string& path) {
  const sys::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> buffer{};
  const ssize_t size = file ? ::read(file.get(), buffer.data(), buffer.size()) : -1;
  return {buffer.data(), static_cast<std::size_t>(size > 0 ? size : 0)};
}

std::string nameOf(void* address) {
  Dl_info info{};
  std::array<char, 64> where{};
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) {
    std::snprintf(where.data(), where.size(), "%p", address);
    return where.data();
  }
  const auto offset = [&](const void* base) {
    const auto at = reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(base);
    std::snprintf(where.data(), where.size(), "+0x%zx", static_cast<std::size_t>(at));
    return std::string(where.data());
  };
  const std::string_view file(info.dli_fname);
  const std::string inFile(file.substr(file.rfind('/') + 1));
  if (info.dli_sname == nullptr) return inFile + offset(info.dli_fbase);
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> plain(
      abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), &std::free);
  return (status == 0 ? plain.get() : info.dli_sname) + offset(info.dli_saddr) + " in " + inFile;
}

void append(std::string& stack, std::string_view heading, std::string_view text) {
  for (const auto line : split(text, '\n')) {
    if (!trim(line).empty()) stack.append(heading).append(trim(line)).append("\n");
  }
}

}  // namespace

void prepareStacks() {
  // The first call loads a library, which a handler must not do.
  std::array<void*, 1> one{};
  static_cast<void>(::backtrace(one.data(), 1));
  struct sigaction action {};
  action.sa_handler = &takeFrames;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(signalNumber(), &action, nullptr);
}

std::string stackOf(pid_t thread) {
  std::string stack;
  const std::string folder = "/proc/self/task/" + std::to_string(thread);
  append(stack, "kernel: ", textOf(folder + "/stack"));
  if (stack.empty()) append(stack, "kernel: waiting in ", textOf(folder + "/wchan"));
  append(stack, "system call: ", textOf(folder + "/syscall"));

  const auto question = ++asked;
  if (::syscall(SYS_tgkill, ::getpid(), thread, signalNumber()) != 0) return stack + "no such thread\n";
  for (int waited = 0; answered.load() != question && waited < kAnswerLimitMs; ++waited) {
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  if (answered.load() != question) {
    return stack + "program: not available, the thread does not return from the kernel\n";
  }
  for (int i = kHandlerFrames; i < frameCount.load(); ++i) {
    stack.append("program: ").append(nameOf(frames.at(static_cast<std::size_t>(i)))).append("\n");
  }
  return stack;
}

}  // namespace fallbackd::telemetry
