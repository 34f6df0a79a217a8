// SPDX-License-Identifier: Apache-2.0
#include "spawner/spare.hpp"

#include "spawner/child.hpp"
#include "spawner/namespaces.hpp"
#include "spawner/root.hpp"
#include "spawner/sandbox_proc.hpp"
#include "spawner/tell.hpp"
#include "sys/clone.hpp"
#include "sys/message_socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

constexpr std::size_t kChildStackBytes = 256 * 1024;
constexpr std::size_t kUsedBytes = 32 * 1024;  // what a launch without sanitizers uses of it
// A spare has one child.
alignas(64) char childStack[kChildStackBytes];  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

/// The spawner's open descriptors do not belong in the spare: with a copy of its socket here, the daemon
/// would not notice that the spawner died.
void closeAllBut(int one, int other) {
  constexpr int kFirst = STDERR_FILENO + 1;
  const auto [low, high] = std::minmax(one, other);
  if (low > kFirst) ::close_range(kFirst, static_cast<unsigned>(low) - 1, 0);
  if (high > low + 1) ::close_range(static_cast<unsigned>(low) + 1, static_cast<unsigned>(high) - 1, 0);
  ::close_range(static_cast<unsigned>(high) + 1, ~0U, 0);
}

void inChild(void* plan) {
  runChild(*static_cast<ChildPlan*>(plan));
}

/// The spawner is its parent, too. The rest of the spare keeps the memory until the child has executed or
/// ended. Tearing it down would delay the program that is starting, so the spawner ends it when there is
/// time.
[[noreturn]] void becomeChild(ChildPlan& plan) {
  clone_args arguments{};
  arguments.flags = CLONE_PARENT | CLONE_CLEAR_SIGHAND;
  arguments.stack = reinterpret_cast<std::uintptr_t>(&childStack);
  arguments.stack_size = kChildStackBytes;
  if (plan.order.unifiedCgroup) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(plan.fds.cgroupFolder.get());
    plan.inUnifiedCgroup = true;
  }
  fallbackd_clone_sharing(&arguments, &inChild, &plan);
  if (plan.inUnifiedCgroup) {
    // Kernels before 5.7 do not know the flag; others refuse it for some layouts. The child then moves itself
    // there, and reports the reason if that fails, too.
    arguments.flags &= ~static_cast<std::uint64_t>(CLONE_INTO_CGROUP);
    arguments.cgroup = 0;
    plan.inUnifiedCgroup = false;
    fallbackd_clone_sharing(&arguments, &inChild, &plan);
  }
  giveUp(plan, Step::clone);
}

/// The next child is in the spawner's PID namespace, not in a new one: invisible to the sandbox's processes.
void keepPidsOutside(ChildPlan& plan) {
  if (!keepChildrenHere()) giveUp(plan, Step::pid_namespace);
  if (plan.order.pids != PidNamespace::sandbox) return;
  plan.sandboxProc = takeSandboxProc(plan.fds.sandbox.get(), plan.order.sandboxPids);
  if (plan.sandboxProc < 0) giveUp(plan, Step::sandbox_proc);
}

/// An order of typical size.
LaunchOrder someOrder() {
  LaunchOrder order;
  order.argv = order.healthArgv = std::vector<std::string>(4, std::string(32, 'a'));
  order.env = std::vector<std::string>(32, "NAME=" + std::string(32, 'v'));
  order.seccomp = std::string(512 * sizeof(sock_filter), '\0');
  order.files = std::vector<RootFile>(4, {"/etc/file", 0644, std::string(512, 'f')});
  order.mounts = std::vector<MountTarget>(4, {"/etc/mount", true});
  return order;
}

/// After a fork both sides share each page until one of them writes to it, which then costs a fault and a
/// copy. Runs a sample order through all steps, so that this is over when a real order arrives.
void rehearse() {
  const auto bytes = encode(someOrder());
  const auto sockets = sys::makeMessageSockets();
  if (!bytes || !sockets) return;
  const std::array<int, 1> fds{(*sockets)[0].get()};
  if (!sys::sendMessage((*sockets)[0], *bytes, fds, true)) return;
  const auto message = sys::receiveMessage((*sockets)[1], true);
  auto order = message ? decodeLaunch(message->bytes) : fail(Stage::spawner, Reason::internal, "rehearse");
  if (order) ChildPlan(std::move(*order), {}, {});
}

}  // namespace

void runSpare(int orders, int reports, const std::vector<ProcessLimit>& limits) {
  closeAllBut(orders, reports);
  if (!hide()) giveUp(reports, Step::hide);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) giveUp(reports, Step::watch_spawner);
  buildBareRoot(reports);
  // For the child: a process cannot move itself into another PID namespace.
  if (::unshare(CLONE_NEWPID) != 0) giveUp(reports, Step::pid_namespace);
  rehearse();
  std::memset(childStack + kChildStackBytes - kUsedBytes, 0, kUsedBytes);  // its pages, too

  const sys::UniqueFd socket(orders);
  auto message = sys::receiveMessage(socket, false);
  if (!message || message->bytes.empty()) ::_exit(0);  // the daemon is gone
  auto order = decodeLaunch(message->bytes);
  auto fds = order ? sortLaunchFds(*order, std::move(message->fds)) : Result<LaunchFds>();
  if (!order || !fds) {
    errno = EPROTO;
    giveUp(reports, Step::take_order);
  }
  ChildPlan plan(std::move(*order), std::move(*fds), limits);
  plan.orders = orders;
  plan.reports = reports;
  if (plan.order.pids != PidNamespace::own) keepPidsOutside(plan);
  becomeChild(plan);
}

}  // namespace fallbackd::launcher
