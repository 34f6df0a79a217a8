// SPDX-License-Identifier: Apache-2.0
// A spawner that answers each order with a lie. The name of its program, spawner-liar-LIE, selects the lie.
// It reports its own child, which is outside every leaf.
#include "spawner/protocol.hpp"
#include "sys/message_socket.hpp"
#include "sys/process.hpp"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <random>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace fallbackd;
using namespace fallbackd::launcher;

namespace {

std::string lie() {
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  const std::string self(path.data(), static_cast<std::size_t>(size < 0 ? 0 : size));
  return self.substr(self.rfind("-liar-") + 6);
}

void say(const sys::UniqueFd& socket, const Report& report, const sys::UniqueFd* fd = nullptr) {
  const auto bytes = encode(report);
  const std::array<int, 1> number{fd != nullptr ? fd->get() : -1};
  if (bytes) {
    static_cast<void>(
        sys::sendMessage(socket, *bytes, std::span(number.data(), fd != nullptr ? 1 : 0), false));
  }
}

pid_t makeBystander() {
  const pid_t parent = ::getpid();
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (::getppid() == parent) ::pause();  // it may have exited already
    ::_exit(0);
  }
  return pid;
}

void answer(const sys::UniqueFd& socket, const std::string& what, std::uint64_t id) {
  const pid_t bystander = makeBystander();
  StartedReport started;
  started.id = id;
  started.pid = bystander;
  const sys::UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, bystander, 0)));
  if (what == "foreign") {
    say(socket, started, &process);
  } else if (what == "number") {
    started.pid = ::getppid();
    say(socket, started, &process);
  } else if (what == "no-pidfd") {
    say(socket, started);
  } else if (what == "no-process") {
    const sys::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    say(socket, started, &null);
  } else if (what == "spare-again") {
    say(socket, SpareReport{id}, &process);
  } else if (what == "noise") {
    std::minstd_rand random(id);
    for (int i = 0; i < 32; ++i) {
      std::string bytes(1 + random() % 200, '\0');
      for (char& byte : bytes) byte = static_cast<char>(random());
      static_cast<void>(sys::sendMessage(socket, bytes, {}, false));
    }
  }
}

}  // namespace

int main() {
  const sys::UniqueFd socket(3);
  const std::string what = lie();
  say(socket, ReadyReport{});
  for (std::uint64_t id = 1;; ++id) {
    auto order = sys::receiveMessage(socket, false);
    if (!order || order->bytes.empty()) return 0;
    auto orders = sys::makeMessageSockets();
    if (!orders) return 1;
    say(socket, SpareReport{id}, &(*orders)[0]);
    (*orders)[0].reset();
    const auto launch = sys::receiveMessage((*orders)[1], false);
    if (!launch || launch->bytes.empty()) continue;
    answer(socket, what, id);
  }
}
