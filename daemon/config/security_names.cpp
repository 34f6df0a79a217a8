// SPDX-License-Identifier: Apache-2.0
#include "config/security_names.hpp"

#include <algorithm>
#include <array>
#include <sys/resource.h>

namespace fallbackd::config {

namespace {

constexpr std::array<std::string_view, 41> kCapabilities{"CHOWN",
                                                         "DAC_OVERRIDE",
                                                         "DAC_READ_SEARCH",
                                                         "FOWNER",
                                                         "FSETID",
                                                         "KILL",
                                                         "SETGID",
                                                         "SETUID",
                                                         "SETPCAP",
                                                         "LINUX_IMMUTABLE",
                                                         "NET_BIND_SERVICE",
                                                         "NET_BROADCAST",
                                                         "NET_ADMIN",
                                                         "NET_RAW",
                                                         "IPC_LOCK",
                                                         "IPC_OWNER",
                                                         "SYS_MODULE",
                                                         "SYS_RAWIO",
                                                         "SYS_CHROOT",
                                                         "SYS_PTRACE",
                                                         "SYS_PACCT",
                                                         "SYS_ADMIN",
                                                         "SYS_BOOT",
                                                         "SYS_NICE",
                                                         "SYS_RESOURCE",
                                                         "SYS_TIME",
                                                         "SYS_TTY_CONFIG",
                                                         "MKNOD",
                                                         "LEASE",
                                                         "AUDIT_WRITE",
                                                         "AUDIT_CONTROL",
                                                         "SETFCAP",
                                                         "MAC_OVERRIDE",
                                                         "MAC_ADMIN",
                                                         "SYSLOG",
                                                         "WAKE_ALARM",
                                                         "BLOCK_SUSPEND",
                                                         "AUDIT_READ",
                                                         "PERFMON",
                                                         "BPF",
                                                         "CHECKPOINT_RESTORE"};

constexpr std::array<std::string_view, 16> kRlimits{
    "as",   "core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue",
    "nice", "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack"};
constexpr std::array<int, 16> kRlimitNumbers{RLIMIT_AS,     RLIMIT_CORE,   RLIMIT_CPU,        RLIMIT_DATA,
                                             RLIMIT_FSIZE,  RLIMIT_LOCKS,  RLIMIT_MEMLOCK,    RLIMIT_MSGQUEUE,
                                             RLIMIT_NICE,   RLIMIT_NOFILE, RLIMIT_NPROC,      RLIMIT_RSS,
                                             RLIMIT_RTPRIO, RLIMIT_RTTIME, RLIMIT_SIGPENDING, RLIMIT_STACK};

}  // namespace

std::optional<unsigned> parseCapability(std::string_view name) {
  if (name.starts_with("CAP_")) name.remove_prefix(4);
  const auto found = std::find(kCapabilities.begin(), kCapabilities.end(), name);
  if (found == kCapabilities.end()) return std::nullopt;
  return static_cast<unsigned>(found - kCapabilities.begin());
}

std::span<const std::string_view> capabilityNames() {
  return kCapabilities;
}

std::string capabilityList(std::uint64_t capabilities) {
  std::string list;
  for (std::size_t number = 0; number < kCapabilities.size(); ++number) {
    if ((capabilities >> number & 1U) == 0) continue;
    if (!list.empty()) list.append(", ");
    list.append(kCapabilities.at(number));
  }
  return list;
}

std::optional<int> parseRlimit(std::string_view name) {
  const auto found = std::find(kRlimits.begin(), kRlimits.end(), name);
  if (found == kRlimits.end()) return std::nullopt;
  return kRlimitNumbers.at(static_cast<std::size_t>(found - kRlimits.begin()));
}

std::span<const std::string_view> rlimitNames() {
  return kRlimits;
}

}  // namespace fallbackd::config
