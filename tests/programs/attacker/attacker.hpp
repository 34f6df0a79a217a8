// SPDX-License-Identifier: Apache-2.0
// A hostile neighbour in a pod with a shared process namespace: attacks every process that appears, in every
// way that Linux offers. Needs a /proc of its own PID namespace. The lines of its report:
//   ready
//   victim PID COMM            a process appeared
//   reached KIND PID DETAIL    before the fallback runs, while the process holds something of the host
//   touched KIND PID DETAIL    before the fallback runs, when the process holds nothing of the host any more
//   found PID WHAT             what a process stopped by ptrace had, when inspected at leisure
//   after KIND PID open|ERRNO  the same ways once the fallback runs
//   end victims=N reached=N touched=N
#pragma once

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace attacker {

struct Options {
  // A word of the fallback's command line; it appears once the fallback has been executed.
  std::string token = "--port=8080";
  // The name of the fallback's file, for the moment before its command line appears.
  std::string program = "memfd:";
  std::string secret;    // must not be found in a victim's memory
  std::string report;    // a file to append to; empty: standard output
  unsigned uid = 65532;  // the fallback's user, as seen from here
  int seconds = 60;      // exits after this time
  int patience = 0;      // how many milliseconds to retry a refused seizure once the fallback runs
  int victims = 0;       // exits after this many have executed or ended; 0: no limit
  bool kill = false;     // also sends SIGKILL, which ends the launch
};

/// Writes one line at once, so that nothing is lost if this program is killed.
void say(const std::string& line);

/// A process's progress. A phase may be over at the next look, but never comes back.
enum class Phase { hosts, bare, executed, gone };
Phase phaseOf(pid_t pid, const Options& options);

/// "uid=0 caps=000001ffffffffff comm=fallbackd-spawn": for the report.
std::string describe(pid_t pid);

/// One way into another process.
struct Way {
  std::string_view name;
  /// 0 if it is open, otherwise the errno.
  int (*tryIt)(pid_t pid, int pidfd);
  bool holds;  // seizes the victim, which is then inspected at leisure and released
};
const std::vector<Way>& ways();

/// For a seized victim: stops it, reports what it has, releases it. Returns the phase in which it was seized.
Phase inspect(pid_t pid, const Options& options);

/// Stops a seized process; false if it ended or does not stop within two seconds.
bool stopSeized(pid_t pid, int& state);

std::string readAll(const std::string& path);

}  // namespace attacker
