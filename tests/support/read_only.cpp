// SPDX-License-Identifier: Apache-2.0
#include "read_only.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <sched.h>
#include <string_view>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace fallbackd::test {

namespace {

namespace fs = std::filesystem;

constexpr int kExitFailure = 125;  // like env(1) if it cannot run its command
constexpr std::size_t kMaxMounts = 8 << 20;
// Tests of cgroups and namespaces write here. Nothing there survives a reboot.
constexpr std::array<std::string_view, 3> kKept{"/proc", "/sys/fs/cgroup", "/dev"};

struct MountPoint {
  std::string path;
  bool readOnly = false;
};

bool isAtOrBelow(std::string_view path, std::string_view folder) {
  return path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

Result<std::vector<MountPoint>> mountPoints() {
  FB_TRY(const auto text, sys::readFile(Stage::cli, "/proc/self/mountinfo", kMaxMounts));
  std::vector<MountPoint> found;
  for (const auto line : split(text, '\n')) {
    const auto words = split(line, ' ');
    if (words.size() < 6) continue;
    const auto options = split(words[5], ',');
    found.push_back(
        {std::string(words[4]), std::find(options.begin(), options.end(), "ro") != options.end()});
  }
  return found;
}

Result<> setReadOnly(const std::string& path, unsigned flags, std::uint64_t set, std::uint64_t clear) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  if (::mount_setattr(AT_FDCWD, path.c_str(), flags, &attributes, sizeof attributes) == 0) return {};
  return failErrno(Stage::cli, "set the flags of the mount at " + path);
}

/// Mounts that were read-only before (parts of /proc in a container) stay read-only.
Result<> makeWritableAgain(const std::vector<MountPoint>& before, const std::vector<std::string>& kept) {
  for (const auto& mount : before) {
    const bool wanted = std::any_of(kept.begin(), kept.end(),
                                    [&](const auto& folder) { return isAtOrBelow(mount.path, folder); });
    if (wanted && !mount.readOnly) FB_CHECK(setReadOnly(mount.path, 0, 0, MOUNT_ATTR_RDONLY));
  }
  return {};
}

Result<> becomeGuarded(const std::vector<fs::path>& writable, Scratch scratch) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return failErrno(Stage::cli, "make a mount namespace");
  }
  if (scratch == Scratch::memory &&
      ::mount("tmpfs", writable.front().c_str(), "tmpfs", 0, "mode=0700") != 0) {
    return failErrno(Stage::cli, "mount a tmpfs at " + writable.front().string());
  }
  FB_CHECK(makeMachineReadOnly(writable));
  return keepTemporaryFilesIn(writable.front());
}

[[noreturn]] void beChild(pid_t parent, const std::vector<fs::path>& writable, Unguarded unguarded,
                          Scratch scratch, const std::function<int()>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExitFailure);
  if (const auto guarded = becomeGuarded(writable, scratch); !guarded) {
    std::fprintf(stderr, "the machine cannot be made read-only: %s\n", guarded.error().message().c_str());
    if (unguarded == Unguarded::refuse) ::_exit(kExitFailure);
  }
  std::exit(body());  // NOLINT(concurrency-mt-unsafe): up to the body
}

}  // namespace

Result<> makeMachineReadOnly(const std::vector<fs::path>& writable) {
  std::vector<std::string> kept(kKept.begin(), kKept.end());
  for (const auto& folder : writable) {
    // A separate mount, so that it can have its own flags.
    if (::mount(folder.c_str(), folder.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
      return failErrno(Stage::cli, "bind " + folder.string());
    kept.push_back(folder);
  }
  FB_TRY(const auto before, mountPoints());
  FB_CHECK(setReadOnly("/", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0));
  FB_CHECK(makeWritableAgain(before, kept));
  FB_TRY(const auto after, mountPoints());
  for (const auto& mount : after) {
    const bool allowed = std::any_of(kept.begin(), kept.end(),
                                     [&](const auto& folder) { return isAtOrBelow(mount.path, folder); });
    if (!allowed && !mount.readOnly)
      return fail(Stage::cli, Reason::not_permitted, mount.path + " is still writable");
  }
  return {};
}

Result<> keepTemporaryFilesIn(const fs::path& folder) {
  ::setenv("TMPDIR", folder.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): only one thread yet
  // skopeo stores its copies here, whatever TMPDIR says.
  if (::mount(folder.c_str(), "/var/tmp", nullptr, MS_BIND, nullptr) != 0 && errno != ENOENT)
    return failErrno(Stage::cli, "cover /var/tmp");
  return {};
}

std::vector<fs::path> outputFolders(const std::string& gtestOutput) {
  std::vector<fs::path> folders;
  const auto add = [&](const fs::path& given) {
    std::error_code none;
    const auto path = fs::absolute(given, none);
    auto folder = fs::is_directory(path, none) ? path : path.parent_path();
    folder = fs::canonical(folder, none);
    // The whole machine is not a folder for results.
    if (!none && folder != "/") folders.push_back(std::move(folder));
  };
  if (const auto colon = gtestOutput.find(':'); colon != std::string::npos)
    add(gtestOutput.substr(colon + 1));
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const auto name = text.substr(0, text.find('='));
    const bool result = name.ends_with("_JSON") || name.ends_with("_SCREENSHOTS");
    if (result && text.size() > name.size() + 1) add(text.substr(name.size() + 1));
  }
  return folders;
}

int runGuarded(const std::vector<fs::path>& outputs, Unguarded unguarded, Scratch scratch,
               const std::function<int()>& body) {
  std::error_code none;
  const auto parent = fs::canonical(fs::temp_directory_path(none), none);
  const auto folder =
      none ? fail(Stage::cli, Reason::system, "find the folder of temporary files")
           : sys::ScratchFolder::make(Stage::cli, parent, "fbt.");  // short: sockets are below it
  if (!folder) {
    std::fprintf(stderr, "%s\n", folder.error().message().c_str());
    return kExitFailure;
  }
  std::vector<fs::path> writable{folder->path()};
  writable.insert(writable.end(), outputs.begin(), outputs.end());
  std::fflush(nullptr);  // otherwise buffered output would be written twice
  const pid_t self = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) {
    std::perror("fork");
    return kExitFailure;
  }
  if (child == 0) beChild(self, writable, unguarded, scratch, body);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace fallbackd::test
