// SPDX-License-Identifier: Apache-2.0
// The program of a pod in a comparison: it accepts any arguments and prints them, what it sees of its mounts,
// and its world, one "KEY<TAB>VALUE" per line. Exits at SIGTERM.
#include "probe.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <map>
#include <set>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr std::size_t kMaxShown = 4096;

std::string failure() {
  return std::string("(") + std::strerror(errno) + ")";
}

std::string oneLine(std::string text) {
  for (char& letter : text) {
    if (letter == '\n' || letter == '\t') letter = ' ';
  }
  return text;
}

std::string contentOf(const std::string& file) {
  std::FILE* stream = std::fopen(file.c_str(), "re");
  if (stream == nullptr) return failure();
  char bytes[kMaxShown];
  const std::size_t length = std::fread(bytes, 1, sizeof bytes, stream);
  std::fclose(stream);
  return oneLine({bytes, length});
}

/// Collects files with their content, by name; follows links.
void collect(const std::string& path, const std::string& name, int depth,
             std::map<std::string, std::string>& all) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    all[name] = failure();
  } else if (S_ISREG(info.st_mode)) {
    all[name] = contentOf(path);
  } else if (S_ISDIR(info.st_mode)) {
    DIR* folder = depth > 0 ? ::opendir(path.c_str()) : nullptr;
    while (const dirent* entry = folder != nullptr ? ::readdir(folder) : nullptr) {
      if (std::strcmp(entry->d_name, "written-by-probe") == 0) continue;  // by the pod's other process
      if (entry->d_name[0] == '.' && (entry->d_name[1] == '.' || entry->d_name[1] == '\0')) continue;
      collect(path + "/" + entry->d_name, name + "/" + entry->d_name, depth - 1, all);
    }
    if (folder != nullptr) ::closedir(folder);
  }
}

/// Targets of all mounts that are not the kernel's own.
std::set<std::string> mountPoints() {
  std::set<std::string> points;
  std::FILE* stream = std::fopen("/proc/self/mountinfo", "re");
  char line[8192];
  while (stream != nullptr && std::fgets(line, sizeof line, stream) != nullptr) {
    char target[4096];
    if (std::sscanf(line, "%*s %*s %*s %*s %4095s", target) != 1) continue;
    const std::string path = target;
    const bool kernels = path == "/" || path == "/dev" || path.rfind("/proc", 0) == 0 ||
                         path.rfind("/sys", 0) == 0 || path.rfind("/dev/", 0) == 0;
    // The three files are compared by name, whether they are mounts or not.
    const bool file = path == "/etc/hosts" || path == "/etc/hostname" || path == "/etc/resolv.conf";
    if ((!kernels && !file) || path == "/dev/shm") points.insert(path);
  }
  if (stream != nullptr) std::fclose(stream);
  return points;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strncmp(argv[1], "--health-check", 14) == 0) return 0;
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  for (int i = 0; i < argc; ++i) std::printf("arg %d\t%s\n", i, oneLine(argv[i]).c_str());
  for (const auto& point : mountPoints()) {
    std::map<std::string, std::string> files;
    collect(point, "", 3, files);
    std::string text;
    for (const auto& [name, content] : files) text += (text.empty() ? "" : ", ") + name + "=" + content;
    std::printf("content %s\t%s\n", point.c_str(), text.c_str());
    std::printf("writable %s\t%s\n", point.c_str(),
                ::access(point.c_str(), W_OK) == 0 ? "yes" : failure().c_str());
  }
  probe::world();
  // SIGTERM is blocked only now: the report shows what was inherited.
  sigprocmask(SIG_BLOCK, &term, nullptr);
  int number = 0;
  sigwait(&term, &number);
  return 0;
}
