// SPDX-License-Identifier: Apache-2.0
// fallbackctl exec: what a launch script in a container would do, safely. Admits the binary, runs its health
// check, then becomes it: same pid, same everything. Works in an empty container.
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "cache/admission.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <limits>
#include <memory>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

namespace {

struct ExecOptions {
  CacheOptions cache;
  std::string ref;
  std::vector<std::string> args;
  std::string healthTimeout = "2s";
  bool noHealthCheck = false;
};

/// argv for execveat; the strings outlive it.
std::vector<char*> argvOf(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const auto& word : words)
    argv.push_back(const_cast<char*>(word.c_str()));  // NOLINT: execveat takes non-const pointers
  argv.push_back(nullptr);
  return argv;
}

int execute(const sys::UniqueFd& binary, const std::vector<std::string>& words) {
  const auto argv = argvOf(words);
  return static_cast<int>(::syscall(SYS_execveat, binary.get(), "", argv.data(), environ, AT_EMPTY_PATH));
}

/// Waits for the child until the deadline; then kills whatever is left of its process group.
Result<int> waitFor(pid_t child, std::chrono::nanoseconds timeout) {
  const sys::PidFd handle(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  bool ended = false;
  if (handle) {
    const auto deadline = Clock::system().now() + timeout;
    for (;;) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::system().now()).count();
      const auto part = std::clamp<std::int64_t>(left, 0, std::numeric_limits<int>::max());
      pollfd wait{handle.get(), POLLIN, 0};
      const int got = ::poll(&wait, 1, static_cast<int>(part));
      if ((got < 0 && errno == EINTR) || (got == 0 && part < left)) continue;
      ended = got > 0;
      break;
    }
  }
  ::kill(-child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) return fail(Stage::health_check, Reason::timeout, "no answer after " + formatDuration(timeout));
  return status;
}

Result<> checkHealth(const cache::Admitted& admitted, std::chrono::nanoseconds timeout) {
  const std::vector<std::string> words{admitted.ref.name, "--health-check"};
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return failErrno(Stage::health_check, "pipe");
  const sys::UniqueFd reader(ends[0]);
  sys::UniqueFd writer(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return failErrno(Stage::health_check, "fork");
  if (child == 0) {
    ::setpgid(0, 0);
    // No process of the check may outlive us.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent) execute(admitted.executable, words);
    const int error = errno;
    static_cast<void>(::write(writer.get(), &error, sizeof error) == sizeof error);
    ::_exit(127);
  }
  writer.reset();
  ::setpgid(child, child);  // on both sides, so that no order of events leaves a gap
  FB_TRY(const int status, waitFor(child, timeout));
  if (WIFSIGNALED(status)) {
    return fail(
        Stage::health_check, Reason::signaled,
        admitted.ref.toString() + " --health-check ended by signal " + std::to_string(WTERMSIG(status)));
  }
  // Closed without a message when the program starts; exit code 127 alone could be the program's own.
  if (int error = 0; ::read(reader.get(), &error, sizeof error) == sizeof error) {
    return failErrno(Stage::health_check, "execute " + admitted.ref.toString(), error);
  }
  if (WEXITSTATUS(status) != 0) {
    return fail(
        Stage::health_check, Reason::unhealthy,
        admitted.ref.toString() + " --health-check ended with " + std::to_string(WEXITSTATUS(status)));
  }
  return {};
}

int run(const ExecOptions& options) {
  const auto choice = options.cache.choice();
  const auto ref = parseBinaryRef(options.ref);
  const auto timeout = parseDuration(options.healthTimeout);
  if (!choice) return kUsage;
  if (!ref || !timeout) {
    complain(!ref ? ref.error().context : "--health-timeout " + options.healthTimeout + " is not a duration");
    return kUsage;
  }
  // In a container the state folder is often read-only: the floor is raised only if a folder was given.
  cache::AdmissionOptions admissionOptions;
  const bool ownState = options.cache.state.has_value() || options.cache.configFile.has_value();
  admissionOptions.floor = ownState ? cache::FloorUse::raise : cache::FloorUse::check;
  cache::Admission admission(choice->settings, admissionOptions);
  const auto admitted = admission.admit(*ref, Clock::system().wall(), choice->namedBy(*ref));
  if (!admitted) return complain(admitted.error());
  if (!options.noHealthCheck) {
    const auto healthy = checkHealth(*admitted, *timeout);
    if (!healthy) return complain(healthy.error());
  }
  std::vector<std::string> words{ref->name};
  words.insert(words.end(), options.args.begin(), options.args.end());
  execute(admitted->executable, words);
  return complain(failErrno(Stage::exec, "execute " + ref->toString()).value());
}

}  // namespace

void addExec(CLI::App& app, Run& runLater) {
  auto options = std::make_shared<ExecOptions>();
  auto* command = app.add_subcommand("exec", "admit a binary, run its health check, then become it");
  options->cache.addTo(*command);
  command->add_option("--health-timeout", options->healthTimeout, "time limit of the health check")
      ->capture_default_str();
  command->add_flag("--no-health-check", options->noHealthCheck, "start it without a health check");
  command->add_option("NAME@VERSION", options->ref, "the binary")->required();
  command->add_option("ARGS", options->args, "its arguments, after --");
  command->positionals_at_end(false);
  command->callback([options, &runLater] { runLater = [options] { return run(*options); }; });
}

}  // namespace fallbackd::ctl
