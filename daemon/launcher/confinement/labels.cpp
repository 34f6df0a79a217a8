// SPDX-License-Identifier: Apache-2.0
#include "launcher/confinement/labels.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <sys/xattr.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::launcher {

namespace {

using config::SecurityProfile;

constexpr std::size_t kMaxKernelList = 1 << 20;
constexpr std::string_view kDefaultProfile = "cri-containerd.apparmor.d";  // containerd's own name for it

bool hasAppArmor(const KernelFolders& kernel) {
  const auto enabled = sys::readFile(Stage::identity, kernel.sys + "/module/apparmor/parameters/enabled", 16);
  return enabled && trim(*enabled) == "Y";
}

/// The file system type of a module that was enabled at boot is known to the kernel, wherever it is mounted.
bool hasSeLinux(const KernelFolders& kernel) {
  const auto known = sys::readFile(Stage::identity, kernel.proc + "/filesystems", kMaxKernelList);
  if (!known) return false;
  const auto lines = split(*known, '\n');
  return std::any_of(lines.begin(), lines.end(),
                     [](std::string_view line) { return line.ends_with("\tselinuxfs"); });
}

/// Kernels before 5.8 have one folder for all modules.
std::string attributesOf(const KernelFolders& kernel) {
  return ::access((kernel.proc + "/self/attr/apparmor/exec").c_str(), F_OK) == 0 ? "attr/apparmor/" : "attr/";
}

/// Asks for permission to change to the profile; nothing changes. Also true if the kernel cannot be asked:
/// then the kernel will refuse the label.
bool kernelKnows(const KernelFolders& kernel, std::string_view profile) {
  const std::string file = kernel.proc + "/thread-self/" + attributesOf(kernel) + "current";
  const sys::UniqueFd current(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  const std::string question = "permprofile " + std::string(profile);
  return !current || ::write(current.get(), question.data(), question.size()) >= 0 || errno != ENOENT;
}

bool isLoaded(const KernelFolders& kernel, std::string_view profile) {
  const auto list =
      sys::readFile(Stage::identity, kernel.sys + "/kernel/security/apparmor/profiles", kMaxKernelList);
  if (!list) return kernelKnows(kernel, profile);  // no securityfs: fallbackd is in a container
  const auto lines = split(*list, '\n');
  const std::string prefix = std::string(profile) + " (";
  return std::any_of(lines.begin(), lines.end(),
                     [&](std::string_view line) { return line.starts_with(prefix); });
}

Result<> addAppArmor(const KernelFolders& kernel, const SecurityProfile& wanted,
                     std::vector<ProcessAttribute>& out, std::vector<std::string>& notes) {
  if (wanted.type == SecurityProfile::Type::unconfined) return {};
  const bool named = wanted.type == SecurityProfile::Type::localhost;
  // Not a profile: the kernel would confine nothing.
  if (named && wanted.localhost == "unconfined")
    return fail(Stage::identity, Reason::not_permitted, "AppArmor profile unconfined is not a profile");
  const std::string profile = named ? wanted.localhost : std::string(kDefaultProfile);
  if (!isLoaded(kernel, profile)) {
    if (named)
      return fail(Stage::identity, Reason::not_found, "AppArmor profile " + profile + " is not loaded");
    notes.push_back(
        "AppArmor is enabled, but containerd's default profile is not loaded: the fallback runs without one");
    return {};
  }
  out.push_back({attributesOf(kernel) + "exec", "exec " + profile});
  return {};
}

/// The kernel ends some labels with a zero or a newline.
std::string withoutEnd(std::string label) {
  while (!label.empty() && (label.back() == '\0' || label.back() == '\n')) label.pop_back();
  return label;
}

Result<> addSeLinux(const KernelFolders& kernel, pid_t pause, const std::string& wanted,
                    std::vector<ProcessAttribute>& out) {
  std::string label = wanted;
  if (label.empty()) {
    const std::string file = kernel.proc + "/" + std::to_string(pause) + "/attr/current";
    FB_TRY(label, sys::readFile(Stage::identity, file, 4096));
    label = withoutEnd(std::move(label));
  }
  out.push_back({"attr/exec", label});
  return {};
}

}  // namespace

Result<std::vector<ProcessAttribute>> processLabels(const KernelFolders& kernel, pid_t pause,
                                                    const config::Security& security,
                                                    std::vector<std::string>& notes) {
  std::vector<ProcessAttribute> attributes;
  if (hasAppArmor(kernel)) {
    FB_CHECK(addAppArmor(kernel, security.appArmor, attributes, notes));
  } else if (security.appArmor.type == SecurityProfile::Type::localhost) {
    return fail(Stage::identity, Reason::unavailable,
                "AppArmor profile " + security.appArmor.localhost + " on a node without AppArmor");
  }
  if (hasSeLinux(kernel)) FB_CHECK(addSeLinux(kernel, pause, security.seLinuxLabel, attributes));
  return attributes;
}

std::string withoutCategories(const std::string& label) {
  const auto parts = split(label, ':');
  if (parts.size() < 4) return label;
  const auto level = parts[3].substr(0, parts[3].find('-'));
  return std::string(parts[0]) + ":" + std::string(parts[1]) + ":" + std::string(parts[2]) + ":" +
         std::string(level);
}

Result<std::string> fileLabel(const KernelFolders& kernel, pid_t pause) {
  if (!hasSeLinux(kernel)) return std::string();
  const std::string program = kernel.proc + "/" + std::to_string(pause) + "/exe";
  std::string label(4096, '\0');
  const ssize_t length = ::getxattr(program.c_str(), kSeLinuxLabel, label.data(), label.size());
  if (length < 0) return failErrno(Stage::identity, "read the SELinux label of " + program);
  label.resize(static_cast<std::size_t>(length));
  return withoutCategories(withoutEnd(std::move(label)));
}

Result<> labelFile(int file, const std::string& label) {
  std::string present(label.size() + 1, '\0');
  const ssize_t length = ::fgetxattr(file, kSeLinuxLabel, present.data(), present.size());
  if (length >= 0) present.resize(static_cast<std::size_t>(length));
  if (length >= 0 && withoutEnd(std::move(present)) == label) return {};
  if (::fsetxattr(file, kSeLinuxLabel, label.c_str(), label.size() + 1, 0) != 0) {
    return failErrno(Stage::identity, "give a file the SELinux label " + label);
  }
  return {};
}

}  // namespace fallbackd::launcher
