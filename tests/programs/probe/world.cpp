// SPDX-License-Identifier: Apache-2.0
// Everything that a process inherits or sees, one "KEY<TAB>VALUE" per line, to compare two ways of starting
// one.
#include "probe.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <string>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <vector>

extern char** environ;

namespace probe {

namespace {

void say(const std::string& key, const std::string& value) {
  std::printf("%s\t%s\n", key.c_str(), value.c_str());
}

std::string failure() {
  return std::string("(") + std::strerror(errno) + ")";
}

std::string link(const std::string& path) {
  char target[4096] = {};
  return ::readlink(path.c_str(), target, sizeof target - 1) < 0 ? failure() : target;
}

/// Lines of a file.
std::vector<std::string> lines(const std::string& path) {
  std::vector<std::string> all;
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return {failure()};
  char line[8192];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    line[std::strcspn(line, "\n")] = '\0';
    all.emplace_back(line);
  }
  std::fclose(file);
  return all;
}

std::string content(const std::string& path) {
  std::string text;
  for (const auto& line : lines(path)) text += (text.empty() ? "" : " | ") + line;
  std::replace(text.begin(), text.end(), '\t', ' ');
  return text;
}

std::vector<std::string> names(const char* path) {
  std::vector<std::string> all;
  DIR* folder = ::opendir(path);
  while (const dirent* entry = folder != nullptr ? ::readdir(folder) : nullptr) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      all.emplace_back(entry->d_name);
  }
  if (folder != nullptr) ::closedir(folder);
  std::sort(all.begin(), all.end());
  return all;
}

/// "file 0644 0:0", "folder ...", "device 1:3 ...".
std::string kindOf(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return failure();
  char text[128];
  const char* kind = S_ISDIR(info.st_mode)    ? "folder"
                     : S_ISLNK(info.st_mode)  ? "link"
                     : S_ISCHR(info.st_mode)  ? "device"
                     : S_ISFIFO(info.st_mode) ? "FIFO"
                                              : "file";
  std::snprintf(text, sizeof text, "%s %04o %u:%u", kind, static_cast<unsigned>(info.st_mode & 07777),
                info.st_uid, info.st_gid);
  std::string all = text;
  if (S_ISCHR(info.st_mode)) {
    all += " is " + std::to_string(::major(info.st_rdev)) + ":" + std::to_string(::minor(info.st_rdev));
  }
  if (S_ISLNK(info.st_mode)) all += " to " + link(path);
  return all;
}

void status() {
  for (const auto& line : lines("/proc/self/status")) {
    const auto colon = line.find(':');
    const std::string key = line.substr(0, colon);
    std::string value = colon == std::string::npos ? "" : line.substr(colon + 1);
    std::replace(value.begin(), value.end(), '\t', ' ');
    value.erase(0, value.find_first_not_of(' '));
    for (const char* wanted : {"Umask",
                               "Uid",
                               "Gid",
                               "Groups",
                               "Threads",
                               "SigPnd",
                               "ShdPnd",
                               "SigBlk",
                               "SigIgn",
                               "SigCgt",
                               "CapInh",
                               "CapPrm",
                               "CapEff",
                               "CapBnd",
                               "CapAmb",
                               "NoNewPrivs",
                               "Seccomp",
                               "Seccomp_filters",
                               "Speculation_Store_Bypass",
                               "SpeculationIndirectBranch",
                               "Cpus_allowed_list",
                               "Mems_allowed_list",
                               "THP_enabled",
                               "CoreDumping"}) {
      if (key == wanted) say(key, value);
    }
  }
}

/// Each mount by its target: type, options, and for a tmpfs its size and mode.
void mounts() {
  for (const auto& line : lines("/proc/self/mountinfo")) {
    std::vector<std::string> fields;
    for (std::size_t at = 0; at <= line.size();) {
      const auto end = std::min(line.find(' ', at), line.size());
      fields.push_back(line.substr(at, end - at));
      at = end + 1;
    }
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    std::string extra;
    if (dash[1] == "tmpfs") {
      for (const char* option : {"size=", "mode="}) {
        const auto at = dash[3].find(option);
        if (at != std::string::npos) extra += " " + dash[3].substr(at, dash[3].find(',', at) - at);
      }
    }
    std::string shared;
    for (auto field = fields.begin() + 6; field != dash; ++field)
      shared += " " + field->substr(0, field->find(':'));
    say("mount " + fields[4], dash[1] + " " + fields[5] + extra + shared);
  }
}

void limits() {
  const char* const all[] = {"cpu",      "fsize",  "data",    "stack", "core",  "rss",
                             "nproc",    "nofile", "memlock", "as",    "locks", "sigpending",
                             "msgqueue", "nice",   "rtprio",  "rttime"};
  for (std::size_t i = 0; i < std::size(all); ++i) {
    rlimit value{};
    ::prlimit(0, static_cast<__rlimit_resource>(i), nullptr, &value);
    const auto text = [](rlim_t limit) {
      return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit);
    };
    say(std::string("rlimit ") + all[i], text(value.rlim_cur) + " " + text(value.rlim_max));
  }
}

void descriptors() {
  for (int fd = 0; fd < 4096; ++fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) continue;
    struct stat info {};
    ::fstat(fd, &info);
    const char* mode = (flags & O_ACCMODE) == O_RDONLY   ? "read"
                       : (flags & O_ACCMODE) == O_WRONLY ? "write"
                                                         : "read-write";
    say("fd " + std::to_string(fd), std::string(S_ISFIFO(info.st_mode)   ? "pipe "
                                                : S_ISCHR(info.st_mode)  ? "device "
                                                : S_ISSOCK(info.st_mode) ? "socket "
                                                                         : "file ") +
                                        mode + ((flags & O_NONBLOCK) != 0 ? " nonblocking" : ""));
  }
}

void paths() {
  for (const char* path : {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                           "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                           "/sys/firmware", "/sys/devices/virtual/powercap"}) {
    struct stat info {};
    std::string seen = "visible";
    if (::stat(path, &info) != 0) {
      seen = "absent";
    } else if (S_ISDIR(info.st_mode) ? names(path).empty() : info.st_rdev == ::makedev(1, 3)) {
      seen = "masked";
    }
    say(std::string("masked ") + path, seen);
  }
  for (const char* path : {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) {
    struct statvfs info {};
    say(std::string("read-only ") + path, ::statvfs(path, &info) != 0      ? "absent"
                                          : (info.f_flag & ST_RDONLY) != 0 ? "read-only"
                                                                           : "not read-only");
  }
  for (const char* path : {"/", "/dev", "/etc", "/proc", "/sys", "/tmp", "/run", "/var"})
    say(std::string("path ") + path, kindOf(path));
  for (const auto& name : names("/dev")) say("device /dev/" + name, kindOf("/dev/" + name));
  for (const auto& name : names("/")) say("root /" + name, kindOf("/" + name));
  for (const char* file : {"hosts", "hostname", "resolv.conf", "passwd", "group"}) {
    const std::string path = std::string("/etc/") + file;
    say("file " + path, content(path));
    say("kind " + path, kindOf(path));
  }
  for (const char* folder : {"/", "/etc", "/tmp", "/dev/shm", "/scratch", "/etc/app", "/proc/sys", "/dev"}) {
    const std::string path = std::string(folder) + "/written-by-probe";
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    say(std::string("write to ") + folder, fd < 0 ? failure() : "works");
    if (fd >= 0) ::close(fd);
  }
}

void process() {
  char where[4096] = {};
  say("cwd", ::getcwd(where, sizeof where) != nullptr ? where : failure());
  say("pid", std::to_string(::getpid()));
  say("parent", std::to_string(::getppid()));
  say("session leader", ::getsid(0) == ::getpid() ? "yes" : "no");
  say("group leader", ::getpgid(0) == ::getpid() ? "yes" : "no");
  const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
  say("controlling terminal", terminal < 0 ? "none" : "there is one");
  if (terminal >= 0) ::close(terminal);
  say("oom_score_adj", content("/proc/self/oom_score_adj"));
  say("coredump_filter", content("/proc/self/coredump_filter"));
  say("loginuid", content("/proc/self/loginuid"));
  say("timerslack", std::to_string(::prctl(PR_GET_TIMERSLACK)));
  say("securebits", std::to_string(::prctl(PR_GET_SECUREBITS)));
  say("dumpable", std::to_string(::prctl(PR_GET_DUMPABLE)));
  say("keepcaps", std::to_string(::prctl(PR_GET_KEEPCAPS)));
  int number = 0;
  ::prctl(PR_GET_PDEATHSIG, &number);
  say("parent death signal", std::to_string(number));
  ::prctl(PR_GET_CHILD_SUBREAPER, &number);
  say("subreaper", std::to_string(number));
  const int persona = ::personality(0xffffffff);
  say("personality", persona < 0 ? failure() : std::to_string(persona));
  say("nice", std::to_string(::getpriority(PRIO_PROCESS, 0)));
  say("scheduler", std::to_string(::sched_getscheduler(0)));
  const long io = ::syscall(SYS_ioprio_get, 1, 0);
  say("ioprio", io < 0 ? failure() : std::to_string(io));
  const long ring = ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0);
  say("keyring", ring < 0 ? failure() : "readable");
  say("lsm label", content("/proc/self/attr/current"));
  utsname host{};
  ::uname(&host);
  say("hostname", host.nodename);
  say("domainname", host.domainname);
  std::string interfaces;
  for (const auto& line : lines("/proc/net/dev")) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    interfaces += " " + name.substr(name.find_first_not_of(' '));
  }
  say("interfaces", interfaces);
}

}  // namespace

void world() {
  for (const char* kind : {"net", "ipc", "uts", "pid", "mnt", "user", "cgroup", "time"}) {
    say(std::string("namespace ") + kind, link(std::string("/proc/self/ns/") + kind));
  }
  for (const auto& line : lines("/proc/self/cgroup")) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    const std::string controllers = line.substr(first + 1, second - first - 1);
    say("cgroup seen inside, " + (controllers.empty() ? "v2" : controllers), line.substr(second + 1));
  }
  status();
  process();
  limits();
  descriptors();
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    say("environment " + text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
  }
  mounts();
  paths();
  std::puts("end");
  std::fflush(stdout);
}

}  // namespace probe
