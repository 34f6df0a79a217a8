// SPDX-License-Identifier: Apache-2.0
#include "sys/process.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <poll.h>
#include <sstream>
#include <string>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace fallbackd::sys {

namespace {

constexpr std::size_t kMaxStat = 4096;
// Fields of /proc/PID/stat, counted from the state, which is field 3.
constexpr std::size_t kFlagsAfterName = 6;       // field 9
constexpr std::size_t kStartTimeAfterName = 19;  // field 22
constexpr std::uint64_t kExiting = 0x4;          // PF_EXITING of include/linux/sched.h

// Missing from Debian 12's kernel headers: include/uapi/linux/pidfd.h of 6.15.
struct PidFdInfo {
  std::uint64_t mask = 0;
  std::uint64_t cgroupId = 0;
  std::uint32_t pid = 0;
  std::uint32_t tgid = 0;
  std::uint32_t ppid = 0;
  std::uint32_t ids[8] = {};
  std::int32_t exitCode = 0;
};
constexpr std::uint64_t kInfoExit = 1ULL << 3;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidFdInfo);

std::optional<std::uint64_t> numberIn(std::string_view word) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> limitIn(std::string_view word) {
  return word == "unlimited" ? RLIM_INFINITY : numberIn(word);
}

Result<std::uint64_t> statField(Stage stage, pid_t pid, std::size_t afterName, const char* name) {
  FB_TRY(const auto text, readFile(stage, "/proc/" + std::to_string(pid) + "/stat", kMaxStat));
  // The program's name is in parentheses and may itself contain spaces and parentheses.
  const auto nameEnd = text.rfind(") ");
  if (nameEnd != std::string::npos) {
    const auto fields = split(std::string_view(text).substr(nameEnd + 2), ' ');
    const auto value = fields.size() > afterName ? numberIn(fields[afterName]) : std::nullopt;
    if (value) return *value;
  }
  return fail(stage, Reason::invalid, std::string(name) + " of process " + std::to_string(pid));
}

}  // namespace

Result<OpenFileLimits> openFileLimitsOf(Stage stage, pid_t pid) {
  constexpr std::string_view kRow = "Max open files";
  FB_TRY(const auto text, readFile(stage, "/proc/" + std::to_string(pid) + "/limits", kMaxStat));
  for (const auto line : split(text, '\n')) {
    if (!line.starts_with(kRow)) continue;
    std::vector<std::string_view> words = split(line.substr(kRow.size()), ' ');
    std::erase(words, std::string_view());
    if (words.size() < 2) break;
    const auto soft = limitIn(words[0]);
    const auto hard = limitIn(words[1]);
    if (soft && hard) return OpenFileLimits{*soft, *hard};
  }
  return fail(stage, Reason::invalid, "limits of process " + std::to_string(pid));
}

Result<PidFd> openPidFd(Stage stage, pid_t pid) {
  PidFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) {
    return fail(stage, errno == ESRCH ? Reason::not_found : Reason::system,
                "open process " + std::to_string(pid), errno);
  }
  return fd;
}

Result<pid_t> pidOf(Stage stage, const PidFd& process) {
  FB_TRY(const auto text, readFile(stage, "/proc/self/fdinfo/" + std::to_string(process.get()), kMaxStat));
  for (const auto line : split(text, '\n')) {
    constexpr std::string_view kName = "Pid:";
    if (!line.starts_with(kName)) continue;
    const auto number = trim(line.substr(kName.size()));
    pid_t pid = 0;
    const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), pid);
    if (code == std::errc{} && end == number.data() + number.size()) return std::max(pid, 0);
  }
  return fail(stage, Reason::invalid, "a descriptor is not a pidfd");
}

Result<bool> hasEnded(Stage stage, const PidFd& process) {
  pollfd polled{process.get(), POLLIN, 0};
  int ready = -1;
  do {
    ready = ::poll(&polled, 1, 0);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return failErrno(stage, "ask whether a process has ended");
  if (!process.valid() || (polled.revents & POLLNVAL) != 0) {
    return fail(stage, Reason::invalid, "ask without a process whether it has ended");
  }
  return ready > 0;
}

Result<std::uint64_t> startTimeOf(Stage stage, pid_t pid) {
  return statField(stage, pid, kStartTimeAfterName, "start time");
}

Result<bool> isExiting(Stage stage, pid_t pid) {
  FB_TRY(const auto flags, statField(stage, pid, kFlagsAfterName, "flags"));
  return (flags & kExiting) != 0;
}

Result<> sendSignal(Stage stage, const PidFd& process, int number) {
  if (::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0) != 0 && errno != ESRCH) {
    return failErrno(stage, "send signal " + std::to_string(number));
  }
  return {};
}

Result<> queueSignal(Stage stage, const PidFd& process, int number, int value) {
  siginfo_t info{};
  info.si_signo = number;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_int = value;
  if (::syscall(SYS_pidfd_send_signal, process.get(), number, &info, 0) != 0 && errno != ESRCH) {
    return failErrno(stage, "queue signal " + std::to_string(number));
  }
  return {};
}

Result<UniqueFd> descriptorOf(Stage stage, const PidFd& process, int number) {
  const auto fd = static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0));
  if (fd >= 0) return UniqueFd(fd);
  const std::string what = "take descriptor " + std::to_string(number) + " of a process";
  if (errno == EBADF || errno == ESRCH) return fail(stage, Reason::not_found, what, errno);
  return failErrno(stage, what);
}

Result<Pipe> makePipe(Stage stage) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return failErrno(stage, "make a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<std::string> commOf(Stage stage, pid_t pid) {
  FB_TRY(auto name, readFile(stage, "/proc/" + std::to_string(pid) + "/comm", kMaxStat));
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

Result<std::optional<int>> waitStatusOf(Stage stage, const PidFd& process) {
  PidFdInfo info;
  info.mask = kInfoExit;
  if (::ioctl(process.get(), kGetInfo, &info) != 0) return failErrno(stage, "ask how a process ended");
  return (info.mask & kInfoExit) != 0 ? std::optional<int>(info.exitCode) : std::nullopt;
}

Result<NamespaceId> namespaceOf(Stage stage, pid_t pid, const char* kind) {
  const std::string path = "/proc/" + std::to_string(pid) + "/ns/" + kind;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const Reason reason = errno == ENOENT || errno == ESRCH   ? Reason::not_found
                          : errno == EACCES || errno == EPERM ? Reason::not_permitted
                                                              : Reason::system;
    return fail(stage, reason, "stat " + path, errno);
  }
  return NamespaceId{info.st_dev, info.st_ino};
}

Result<std::vector<std::string>> namespacesOf(Stage stage, pid_t pid) {
  std::vector<std::string> all;
  for (const char* kind : {"pid", "net", "ipc", "uts"}) {
    const std::string path = "/proc/" + std::to_string(pid) + "/ns/" + kind;
    std::array<char, 64> text{};
    const ssize_t size = ::readlink(path.c_str(), text.data(), text.size());
    if (size < 0) return failErrno(stage, "read " + path);
    all.emplace_back(text.data(), static_cast<std::size_t>(size));
  }
  return all;
}

Result<NamespaceFd> openNamespace(Stage stage, pid_t pid, const char* kind) {
  const std::string path = "/proc/" + std::to_string(pid) + "/ns/" + kind;
  NamespaceFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return failErrno(stage, "open " + path);
  return file;
}

IdMap IdMap::parse(std::string_view text) {
  IdMap map;
  std::istringstream lines{std::string(text)};
  for (Range range; lines >> range.inside >> range.outside >> range.count;) map.ranges_.push_back(range);
  return map;
}

std::optional<std::uint32_t> IdMap::outside(std::uint32_t inside) const {
  for (const auto& range : ranges_) {
    if (inside >= range.inside && inside - range.inside < range.count) {
      return range.outside + (inside - range.inside);
    }
  }
  return std::nullopt;
}

Result<IdMap> idMapOf(Stage stage, pid_t pid, const char* file) {
  FB_TRY(const auto text, readFile(stage, "/proc/" + std::to_string(pid) + "/" + file, 64 * 1024));
  return IdMap::parse(text);
}

}  // namespace fallbackd::sys
