#include "launcher/spawner/spare.hpp"

#include "launcher/spawner/child.hpp"
#include "launcher/spawner/tell.hpp"
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

constexpr std::size_t kStackBytes = 256 * 1024;
constexpr std::size_t kUsedBytes = 32 * 1024;  // what a launch without sanitizers needs of it
// A spare has one child.
alignas(64) char childStack[kStackBytes];  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

/// What the spawner has open is not the spare's: with its end of the socket kept here, the daemon would not
/// notice that the spawner died.
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

/// Returns when the child has executed or ended. The spawner is its parent, too.
void cloneChild(ChildPlan& plan) {
  clone_args arguments{};
  arguments.flags = CLONE_PARENT | CLONE_PARENT_SETTID | CLONE_CLEAR_SIGHAND;
  arguments.parent_tid = reinterpret_cast<std::uintptr_t>(&plan.pid);
  arguments.stack = reinterpret_cast<std::uintptr_t>(&childStack);
  arguments.stack_size = kStackBytes;
  if (plan.order.unifiedCgroup) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(plan.fds.cgroupFolder.get());
    plan.inUnifiedCgroup = true;
  }
  long pid = fallbackd_clone_sharing(&arguments, &inChild, &plan);
  if (pid < 0 && plan.inUnifiedCgroup) {
    // Kernels before 5.7 do not know the flag; others refuse it for some layouts. Moving itself there is
    // left to the child, and tells why where that fails too.
    arguments.flags &= ~static_cast<std::uint64_t>(CLONE_INTO_CGROUP);
    arguments.cgroup = 0;
    plan.inUnifiedCgroup = false;
    pid = fallbackd_clone_sharing(&arguments, &inChild, &plan);
  }
  if (pid < 0) giveUp(plan, Step::clone);
}

/// An order as most are, by size.
LaunchOrder someOrder() {
  LaunchOrder order;
  order.id = 1;
  order.argv = order.healthArgv = std::vector<std::string>(4, std::string(32, 'a'));
  order.env = std::vector<std::string>(32, "NAME=" + std::string(32, 'v'));
  order.seccomp = std::string(512 * sizeof(sock_filter), '\0');
  order.files = std::vector<RootFile>(4, {"/etc/file", 0644, std::string(512, 'f')});
  order.mounts = std::vector<MountTarget>(4, {"/etc/mount", true});
  return order;
}

}  // namespace

void rehearse() {
  const auto bytes = encode(Order(someOrder()));
  const auto sockets = sys::makeMessageSockets();
  if (!bytes || !sockets) return;
  const std::array<int, 1> fds{(*sockets)[0].get()};
  if (!sys::sendMessage((*sockets)[0], *bytes, fds, true)) return;
  const auto message = sys::receiveMessage((*sockets)[1], true);
  auto order = message ? decodeOrder(message->bytes) : fail(Stage::spawner, Reason::internal, "rehearse");
  if (order) ChildPlan(std::get<LaunchOrder>(std::move(*order)), {}, {});
}

void runSpare(int orders, int reports, const std::vector<ProcessLimit>& limits) {
  closeAllBut(orders, reports);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) giveUp(reports, Step::watch_spawner);
  buildBareRoot(reports);
  // For the child: nobody enters another PID namespace himself.
  if (::unshare(CLONE_NEWPID) != 0) giveUp(reports, Step::pid_namespace);
  rehearse();
  std::memset(childStack + kStackBytes - kUsedBytes, 0, kUsedBytes);  // its pages, too

  auto message = sys::receiveMessage(sys::UniqueFd(orders), false);
  if (!message || message->bytes.empty()) ::_exit(0);  // the spawner is gone
  auto order = decodeOrder(message->bytes);
  auto* launch = order ? std::get_if<LaunchOrder>(&*order) : nullptr;
  auto fds = launch != nullptr ? sortLaunchFds(*launch, std::move(message->fds)) : Result<LaunchFds>();
  if (launch == nullptr || !fds) {
    errno = EPROTO;
    giveUp(reports, Step::take_order);
  }
  ChildPlan plan(std::move(*launch), std::move(*fds), limits);
  plan.reports = reports;
  if (plan.order.sandboxPids && ::setns(plan.fds.sandbox.get(), CLONE_NEWPID) != 0) {
    giveUp(plan, Step::join_pids);
  }
  cloneChild(plan);
  // Taking its memory down would be in the way of the program that starts just now: the spawner ends it when
  // there is time.
  ::close(reports);
  for (;;) ::pause();
}

}  // namespace fallbackd::launcher
