// SPDX-License-Identifier: Apache-2.0
#include "isolate.hpp"

#include "node_view.hpp"
#include "process.hpp"
#include "read_only.hpp"
#include "run_dir.hpp"
#include "run_remains.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// Four processes: the outer one, which cleans up; the gate, which enters cgroups and namespaces (only its
// children are in the new PID namespace); pid 1, which reaps orphans; and the body.

namespace fallbackd::e2e {

namespace {

constexpr int kExitFailure = 125;  // the isolation itself failed, as in env(1) and docker(1)

struct Inside {
  std::function<int()> body;
  std::vector<std::filesystem::path> outputs;
};

sigset_t watchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&set, number);
  return set;
}

/// Waits for `child`, forwards signals to it, and reaps all other children. The signals are blocked.
int shepherd(pid_t child) {
  const sigset_t watched = watchedSignals();
  for (;;) {
    const int number = ::sigwaitinfo(&watched, nullptr);
    if (number > 0 && number != SIGCHLD) ::kill(child, number);
    int status = 0;
    for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended == child) return exitCodeOf(status);
    }
  }
}

[[noreturn]] void giveUp(const Error& error) {
  std::fprintf(stderr, "isolation: %s\n", error.message().c_str());
  ::_exit(kExitFailure);
}

/// The kernel kills the caller when its parent dies. `lifeline` covers the time before the call: its other
/// end is open as long as the parent lives.
void dieWithParent(int lifeline) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd polled{lifeline, POLLIN, 0};
  if (::poll(&polled, 1, 0) != 0) ::_exit(kExitFailure);
}

std::array<sys::UniqueFd, 2> makeLifeline() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) giveUp(failErrno(Stage::cli, "pipe").value());
  return {sys::UniqueFd(ends[0]), sys::UniqueFd(ends[1])};
}

[[noreturn]] void beBody(const sigset_t& mask, const std::function<int()>& body) {
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  std::exit(body());  // NOLINT(concurrency-mt-unsafe): up to the body
}

[[noreturn]] void beInit(const RunRemains& run, const sigset_t& mask, const Inside& inside) {
  if (const auto made = makeNodeView(run.folder(), inside.outputs); !made) giveUp(made.error());
  setRunDir(run.folder());
  const pid_t child = ::fork();
  if (child < 0) giveUp(failErrno(Stage::cli, "fork").value());
  if (child == 0) beBody(mask, inside.body);
  ::_exit(shepherd(child));
}

[[noreturn]] void beGate(const RunRemains& run, const sigset_t& mask, const Inside& inside) {
  if (const auto joined = run.joinRoot(); !joined) giveUp(joined.error());
  if (::unshare(CLONE_NEWCGROUP | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) !=
      0) {
    giveUp(failErrno(Stage::cli, "create namespaces").value());
  }
  if (const auto joined = run.joinLeaf(); !joined) giveUp(joined.error());
  auto lifeline = makeLifeline();
  const pid_t child = ::fork();
  if (child < 0) giveUp(failErrno(Stage::cli, "fork").value());
  if (child == 0) {
    lifeline[1].reset();
    dieWithParent(lifeline[0].get());
    beInit(run, mask, inside);
  }
  ::_exit(shepherd(child));
}

}  // namespace

int runIsolated(int /*argc*/, char** argv, const std::function<int()>& body,
                std::vector<std::filesystem::path> outputs) {
  if (::geteuid() != 0) {
    std::fprintf(stderr, "%s: needs root, to create namespaces and run containerd\n", argv[0]);
    return kExitFailure;
  }
  std::fflush(nullptr);        // otherwise each of the four processes would write what is buffered now
  ::signal(SIGCHLD, SIG_DFL);  // if inherited as ignored, ended children would be lost
  const sigset_t watched = watchedSignals();
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &watched, &before);
  const auto wanted = test::outputFolders("");
  outputs.insert(outputs.end(), wanted.begin(), wanted.end());
  const Inside inside{body, std::move(outputs)};
  auto run = RunRemains::make();
  if (!run) {
    std::fprintf(stderr, "%s: %s\n", argv[0], run.error().message().c_str());
    return kExitFailure;
  }
  auto lifeline = makeLifeline();
  const pid_t child = ::fork();
  if (child < 0) giveUp(failErrno(Stage::cli, "fork").value());
  if (child == 0) {
    run->dropLock();
    lifeline[1].reset();
    dieWithParent(lifeline[0].get());
    beGate(*run, before, inside);
  }
  int code = shepherd(child);
  if (const auto removed = run->remove(); !removed) {
    std::fprintf(stderr, "%s: %s\n", argv[0], removed.error().message().c_str());
    if (code == 0) code = kExitFailure;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return code;
}

}  // namespace fallbackd::e2e
