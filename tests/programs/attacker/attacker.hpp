// SPDX-License-Identifier: Apache-2.0
// A hostile neighbour in a pod that shares its process namespace: goes for every process that appears, by
// every way that Linux has into another process. Needs a /proc of its own PID namespace. Report, a line each:
//   ready
//   victim PID COMM                 a process appeared
//   reached KIND PID DETAIL         before the fallback was executed, while the process had something of the
//   host's touched KIND PID DETAIL         before the fallback was executed, but nothing of the host's was
//   left in it found PID WHAT                  what a process that was stopped by ptrace had, looked at at
//   leisure after KIND PID open|ERRNO       the same ways once the fallback runs end victims=N reached=N
//   touched=N
#pragma once

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace attacker {

struct Options {
  std::string token =
      "--port=8080";  // a word of the fallback's command line: it is there once it was executed
  std::string program =
      "memfd:";          // how the fallback's file is called, for the moment before it has that line
  std::string secret;    // what must not be found in a victim's memory
  std::string report;    // a file to append to; empty: standard output
  unsigned uid = 65532;  // the fallback's user, as seen from here
  int seconds = 60;      // ends by itself after that
  int patience = 0;      // milliseconds for a seizure that is refused once the fallback runs
  int victims = 0;       // or once so many executed or ended; 0: no such limit
  bool kill = false;     // SIGKILL as well, which ends the launch
};

/// Writes one line at once, so that nothing is lost when somebody ends this program.
void say(const std::string& line);

/// Where a process is on its way. What one look finds may be over at the next, but never comes back.
enum class Phase { hosts, bare, executed, gone };
Phase phaseOf(pid_t pid, const Options& options);

/// "uid=0 caps=000001ffffffffff comm=fallbackd-spawn": for the report.
std::string describe(pid_t pid);

/// One way into another process.
struct Way {
  std::string_view name;
  /// 0 where it is open, else errno.
  int (*tryIt)(pid_t pid, int pidfd);
  bool holds;  // seizes: what was open is inspected at leisure and let go
};
const std::vector<Way>& ways();

/// The victim is seized. Stops it, says what it has, lets it go. Gives the phase in which it was seized.
Phase inspect(pid_t pid, const Options& options);

/// Of a process that is seized; false where it ended or does not stop within two seconds.
bool stopSeized(pid_t pid, int& state);

std::string readAll(const std::string& path);

}  // namespace attacker
