// SPDX-License-Identifier: Apache-2.0
#include "probe.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char** environ;

namespace probe {

namespace {

void printLink(const char* key, const std::string& path) {
  char target[4096] = {};
  if (::readlink(path.c_str(), target, sizeof target - 1) < 0) std::snprintf(target, sizeof target, "?");
  std::printf("%s %s\n", key, target);
}

/// The lines of a file, each after `key`.
void printFile(const char* key, const char* path) {
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) {
    std::printf("%s !%d\n", key, errno);
    return;
  }
  char line[8192];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    line[std::strcspn(line, "\n")] = '\0';
    std::printf("%s %s\n", key, line);
  }
  std::fclose(file);
}

void printFds() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return;
  std::string all;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] == '.' || std::atoi(entry->d_name) == ::dirfd(folder)) continue;
    all += std::string(" ") + entry->d_name;
  }
  ::closedir(folder);
  std::printf("fds%s\n", all.c_str());
}

int errnoOfOpen(const char* path, int flags) {
  const int fd = ::open(path, flags | O_CLOEXEC, 0644);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

void printTry(const char* key, const char* path, int flags) {
  std::printf("%s %d\n", key, errnoOfOpen(path, flags));
}

/// Number of bytes that can be read from a path, or -errno.
void printReadable(const char* key, const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  char byte = 0;
  const long got = fd < 0 ? -errno : ::read(fd, &byte, 1);
  if (fd >= 0) ::close(fd);
  std::printf("%s %ld\n", key, got);
}

void printNames(const char* key, const char* path) {
  DIR* folder = ::opendir(path);
  std::string all;
  while (const dirent* entry = folder != nullptr ? ::readdir(folder) : nullptr) {
    if (entry->d_name[0] != '.') all += std::string(" ") + entry->d_name;
  }
  if (folder != nullptr) ::closedir(folder);
  std::printf("%s%s\n", key, all.c_str());
}

void printOwner(const char* key, int fd) {
  struct stat info {};
  if (fd >= 0) ::fstat(fd, &info);
  std::printf("%s %u %u\n", key, info.st_uid, info.st_gid);
}

/// The numbers in /proc, in their order there.
void printProcesses() {
  DIR* folder = ::opendir("/proc");
  std::string all;
  while (const dirent* entry = folder != nullptr ? ::readdir(folder) : nullptr) {
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') all += std::string(" ") + entry->d_name;
  }
  if (folder != nullptr) ::closedir(folder);
  std::printf("names.processes %s\n", all.c_str());
}

void printLimits() {
  const struct {
    const char* key;
    decltype(RLIMIT_CORE) resource;
  } limits[] = {
      {"rlimit.core", RLIMIT_CORE}, {"rlimit.nofile", RLIMIT_NOFILE}, {"rlimit.stack", RLIMIT_STACK}};
  for (const auto& limit : limits) {
    rlimit value{};
    ::getrlimit(limit.resource, &value);
    std::printf("%s %llu %llu\n", limit.key, static_cast<unsigned long long>(value.rlim_cur),
                static_cast<unsigned long long>(value.rlim_max));
  }
}

}  // namespace

void report(int argc, char** argv) {
  for (const char* kind : {"net", "ipc", "uts", "pid", "mnt", "user", "cgroup"}) {
    printLink((std::string("ns.") + kind).c_str(), std::string("/proc/self/ns/") + kind);
  }
  std::printf("pid %d\nppid %d\nsid %d\n", ::getpid(), ::getppid(), ::getsid(0));
  int subreaper = -1;
  ::prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  std::printf("subreaper %d\n", subreaper);
  printProcesses();
  const int root = ::open("/", O_PATH | O_CLOEXEC);
  printOwner("owner.root", root);
  ::close(root);
  printOwner("owner.stdout", 1);
  printFile("status", "/proc/self/status");
  printFile("coredump_filter", "/proc/self/coredump_filter");
  printFile("cgroup", "/proc/self/cgroup");
  printFile("mount", "/proc/self/mountinfo");
  printFile("oom_score_adj", "/proc/self/oom_score_adj");
  printFds();
  for (int i = 0; i < argc; ++i) std::printf("arg %s\n", argv[i]);
  for (char** variable = environ; *variable != nullptr; ++variable) std::printf("env %s\n", *variable);
  char where[4096] = {};
  std::printf("cwd %s\n", ::getcwd(where, sizeof where) != nullptr ? where : "?");
  const mode_t mask = ::umask(0);
  std::printf("umask %o\n", static_cast<unsigned>(mask));
  printLimits();
  utsname names{};
  ::uname(&names);
  std::printf("hostname %s\n", names.nodename);
  for (const char* file : {"hosts", "hostname", "resolv.conf", "passwd", "group"}) {
    printFile((std::string("etc.") + file).c_str(), (std::string("/etc/") + file).c_str());
  }
  printTry("write.root", "/x", O_WRONLY | O_CREAT);
  printTry("write.etc", "/etc/x", O_WRONLY | O_CREAT);
  printTry("write.tmp", "/tmp/x", O_WRONLY | O_CREAT);
  printTry("write.shm", "/dev/shm/probe", O_WRONLY | O_CREAT);
  printTry("write.null", "/dev/null", O_WRONLY);
  printTry("write.sysctl", "/proc/sys/kernel/domainname", O_WRONLY);
  printTry("write.config", "/etc/app/new", O_WRONLY | O_CREAT);
  printTry("write.scratch", "/scratch/new", O_WRONLY | O_CREAT);
  printReadable("read.keys", "/proc/keys");
  printReadable("read.timer_list", "/proc/timer_list");
  printReadable("read.urandom", "/dev/urandom");
  printNames("names.acpi", "/proc/acpi");
  printNames("names.root", "/");
  printNames("names.dev", "/dev");
  printNames("names.sys", "/sys");
  printFile("file.config", "/etc/app/config.yaml");
  printFile("file.sub", "/etc/one.conf");
  printReadable("read.certificates", "/etc/ssl/certs/ca-certificates.crt");
  printReadable("read.zone", "/usr/share/zoneinfo/UTC");
  std::puts("end");
  std::fflush(stdout);
}

}  // namespace probe
