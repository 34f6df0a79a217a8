// SPDX-License-Identifier: Apache-2.0
// What /proc shows to everyone about a victim, and what it shows to a process that has seized it.
#include "attacker.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace attacker {

namespace {

constexpr std::size_t kChunk = 1 << 16;
constexpr std::size_t kMaxScanned = 8 << 20;  // of a victim's memory
constexpr int kMaxFds = 64;

std::string fileOf(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

std::string linkOf(const std::string& path) {
  std::array<char, 256> text{};
  const ssize_t got = ::readlink(path.c_str(), text.data(), text.size());
  return got < 0 ? "" : std::string(text.data(), static_cast<std::size_t>(got));
}

/// The text after "Uid:" and so on, up to the end of the line.
std::string_view lineOf(std::string_view status, std::string_view name) {
  const auto at = status.find(name);
  if (at == std::string_view::npos) return {};
  const auto begin = at + name.size();
  return status.substr(begin, std::min(status.find('\n', begin), status.size()) - begin);
}

bool allAre(std::string_view line, unsigned wanted) {
  const std::string text(line);
  const char* at = text.c_str();
  bool any = false;
  for (char* end = nullptr;; at = end) {
    const unsigned long value = std::strtoul(at, &end, 10);
    if (end == at) return any;
    if (value != wanted) return false;
    any = true;
  }
}

/// During execveat the memory already belongs to the new program before its command line is written.
bool hasExecuted(pid_t pid, const Options& options) {
  const std::string line = readAll(fileOf(pid, "cmdline"));
  if (line.find(options.token) != std::string::npos) return true;
  return line.empty() && (readAll(fileOf(pid, "comm")).find(options.program) != std::string_view::npos ||
                          linkOf(fileOf(pid, "exe")).find(options.program) != std::string::npos);
}

bool noCapabilities(std::string_view status) {
  for (const char* set : {"CapInh:", "CapPrm:", "CapEff:"}) {
    const auto line = lineOf(status, set);
    if (line.find_first_not_of("\t 0") != std::string_view::npos) return false;
  }
  return true;
}

void findFds(pid_t pid) {
  const std::string folder = fileOf(pid, "fd");
  DIR* const dir = ::opendir(folder.c_str());
  if (dir == nullptr) return;
  for (int i = 0; i < kMaxFds; ++i) {
    const dirent* const entry = ::readdir(dir);
    if (entry == nullptr) break;
    if (entry->d_name[0] == '.') continue;
    say("found " + std::to_string(pid) + " fd " + entry->d_name + " " + linkOf(folder + "/" + entry->d_name));
  }
  ::closedir(dir);
}

std::size_t readMemory(pid_t pid, unsigned long address, std::array<char, kChunk>& buffer,
                       std::size_t count) {
  const iovec local{buffer.data(), count};
  auto* const there = reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): another's
  const iovec remote{there, count};
  const ssize_t got = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

/// Reports maps, and the secret in the mapped memory.
void findMemory(pid_t pid, const std::string& secret) {
  static std::array<char, kChunk> buffer;
  const std::string maps = readAll(fileOf(pid, "maps"));
  std::size_t scanned = 0;
  std::string file;
  for (std::size_t at = 0; at < maps.size();) {
    const auto end = std::min(maps.find('\n', at), maps.size());
    const std::string line = maps.substr(at, end - at);
    at = end + 1;
    unsigned long from = 0;
    unsigned long to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &from, &to) != 2) continue;
    const auto slash = line.find('/');
    if (slash != std::string::npos && line.substr(slash) != file) {
      file = line.substr(slash);
      say("found " + std::to_string(pid) + " map " + file);
    }
    for (; !secret.empty() && from < to && scanned < kMaxScanned; from += kChunk) {
      const std::size_t got = readMemory(pid, from, buffer, std::min<unsigned long>(kChunk, to - from));
      scanned += got;
      if (::memmem(buffer.data(), got, secret.data(), secret.size()) == nullptr) continue;
      say("found " + std::to_string(pid) + " secret in its memory");
      break;
    }
  }
}

}  // namespace

std::string readAll(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t got = 0; (got = ::read(fd, buffer.data(), buffer.size())) > 0 && text.size() < kMaxScanned;) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(fd);
  return text;
}

Phase phaseOf(pid_t pid, const Options& options) {
  const std::string status = readAll(fileOf(pid, "status"));
  if (status.empty() || lineOf(status, "State:").find_first_of("ZX") != std::string_view::npos)
    return Phase::gone;
  if (hasExecuted(pid, options)) return Phase::executed;
  // An exiting process no longer has memory, and so has no arguments.
  if (lineOf(readAll(fileOf(pid, "status")), "VmSize:").empty()) return Phase::gone;
  const bool bare = allAre(lineOf(status, "Uid:"), options.uid) && noCapabilities(status);
  return bare ? Phase::bare : Phase::hosts;
}

std::string describe(pid_t pid) {
  const std::string status = readAll(fileOf(pid, "status"));
  const auto word = [&](const char* name) {
    std::string_view line = lineOf(status, name);
    line.remove_prefix(std::min(line.find_first_not_of("\t "), line.size()));
    return std::string(line.substr(0, line.find_first_of("\t ")));
  };
  return "uid=" + word("Uid:") + " caps=" + word("CapPrm:") + " comm=" + word("Name:");
}

bool stopSeized(pid_t pid, int& state) {
  constexpr int kMaxMillis = 2000;
  if (::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr) != 0) return false;
  for (int i = 0; i < kMaxMillis * 10; ++i) {
    const pid_t got = ::waitpid(pid, &state, __WALL | WNOHANG);
    if (got != 0) return got == pid && WIFSTOPPED(state);
    ::usleep(100);
  }
  return false;
}

Phase inspect(pid_t pid, const Options& options) {
  int state = 0;
  if (!stopSeized(pid, state)) return Phase::gone;
  // Stopped after execution: it was seized before, but nothing from before is left.
  const bool byExec = state >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8));
  const Phase phase = byExec ? Phase::bare : phaseOf(pid, options);
  const std::string who = std::to_string(pid);
  if (phase == Phase::hosts || phase == Phase::bare) {
    say("found " + who + " " + describe(pid) + (byExec ? " stopped by execveat" : ""));
    for (const char* link : {"root", "cwd", "exe", "ns/mnt", "ns/user"}) {
      say("found " + who + " " + link + " " + linkOf(fileOf(pid, link)));
    }
    findFds(pid);
    if (!byExec) findMemory(pid, options.secret);
  }
  ::ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
  return phase;
}

}  // namespace attacker
