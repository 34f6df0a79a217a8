// SPDX-License-Identifier: Apache-2.0
#include "launcher/sandbox_gate.hpp"

#include "sys/cgroup.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

tl::unexpected<Error> sandboxGone(const cri::SandboxStatus& status) {
  return fail(
      Stage::sandbox, Reason::sandbox_gone,
      "pause process " + std::to_string(status.pausePid) + " of sandbox " + status.sandbox.id + " is gone");
}

Result<bool> sharedWithHost(pid_t pause, const char* kind, const HostNamespaces& host) {
  FB_TRY(const auto theirs, sys::namespaceOf(Stage::sandbox, pause, kind));
  return host.contain(kind, theirs);
}

tl::unexpected<Error> onHost(const cri::SandboxStatus& status, const char* kind) {
  return fail(Stage::sandbox, Reason::host_namespace,
              "sandbox " + status.sandbox.id + " is in the host's " + kind + " namespace");
}

using cri::NamespaceMode;

/// Checks what the runtime says and then what the kernel shows: either alone might be wrong.
Result<> checkNamespaces(const cri::SandboxStatus& status, const config::LauncherSettings& settings,
                         const HostNamespaces& host) {
  const bool hostNetwork = status.network == NamespaceMode::node;
  const bool hostIpc = status.ipc == NamespaceMode::node;
  const bool hostPid = status.pid == NamespaceMode::node;
  if (hostNetwork && !settings.allowHostNetwork) return onHost(status, "net");
  if (hostIpc && !settings.allowHostIpc) return onHost(status, "ipc");
  if (hostPid && !settings.allowHostPid) return onHost(status, "pid");
  struct Namespace {
    const char* kind;
    bool hosts;  // the pod requested the host's
  };
  for (const auto& one : {Namespace{"net", hostNetwork}, {"uts", hostNetwork}, {"ipc", hostIpc}}) {
    FB_TRY(const bool shared, sharedWithHost(status.pausePid, one.kind, host));
    if (shared && !one.hosts) return onHost(status, one.kind);
  }
  return {};
}

/// A container that does not share a PID namespace gets its own, so only a shared one is checked.
Result<> choosePids(const cri::SandboxStatus& status, const HostNamespaces& host, OpenSandbox& sandbox) {
  if (status.pid == NamespaceMode::container) return {};
  FB_TRY(sandbox.pidNamespace, sys::namespaceOf(Stage::sandbox, status.pausePid, "pid"));
  if (status.pid == NamespaceMode::pod) {
    if (host.contain("pid", sandbox.pidNamespace)) return onHost(status, "pid");
    sandbox.pids = PidNamespace::sandbox;
    return {};
  }
  FB_TRY(const auto ours, sys::namespaceOf(Stage::sandbox, ::getpid(), "pid"));
  if (!(ours == sandbox.pidNamespace)) {
    return fail(Stage::sandbox, Reason::not_permitted,
                "sandbox " + status.sandbox.id +
                    " is in the node's PID namespace and fallbackd is not; run it with hostPID");
  }
  sandbox.pids = PidNamespace::host;
  return {};
}

/// "PARENT/SANDBOX" with cgroupfs, "PARENT/cri-containerd-SANDBOX.scope" with systemd. The parent belongs to
/// the pod: a cgroup's name in another pod's tree proves nothing.
bool inCgroupOf(const cri::SandboxStatus& status) {
  const auto parent = sys::expandCgroupParent(status.cgroupParent);
  const auto cgroups = sys::cgroupsOf(status.pausePid);
  const auto& id = status.sandbox.id;
  if (!parent || !cgroups || id.empty()) return false;
  return std::any_of(cgroups->begin(), cgroups->end(), [&](const auto& cgroup) {
    const std::string_view path = cgroup.path;
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos || path.substr(0, slash) != *parent) return false;
    const auto name = path.substr(slash + 1);
    return name == id || name.ends_with("-" + id + ".scope");
  });
}

Result<std::optional<SandboxUsers>> usersOf(const cri::SandboxStatus& status, const HostNamespaces& host) {
  FB_TRY(const bool same, sharedWithHost(status.pausePid, "user", host));
  if (same) return std::optional<SandboxUsers>();
  SandboxUsers users;
  FB_TRY(users.users, sys::openNamespace(Stage::sandbox, status.pausePid, "user"));
  FB_TRY(users.uids, sys::idMapOf(Stage::sandbox, status.pausePid, "uid_map"));
  FB_TRY(users.gids, sys::idMapOf(Stage::sandbox, status.pausePid, "gid_map"));
  return std::optional<SandboxUsers>(std::move(users));
}

}  // namespace

Result<HostNamespaces> HostNamespaces::read() {
  HostNamespaces host;
  for (const char* kind : {"net", "uts", "ipc", "pid", "user"}) {
    FB_TRY(const auto ours, sys::namespaceOf(Stage::sandbox, ::getpid(), kind));
    host.all_.emplace(kind, ours);
    // Some machines forbid examining process 1.
    const auto nodes = sys::namespaceOf(Stage::sandbox, 1, kind);
    if (!nodes && nodes.error().reason != Reason::not_permitted) return tl::unexpected<Error>(nodes.error());
    if (nodes) host.all_.emplace(kind, *nodes);
  }
  return host;
}

bool HostNamespaces::contain(std::string_view kind, const sys::NamespaceId& other) const {
  const auto [first, last] = all_.equal_range(kind);
  return std::any_of(first, last, [&](const auto& one) { return one.second == other; });
}

Result<OpenSandbox> openSandbox(const cri::SandboxStatus& status, const config::LauncherSettings& settings,
                                const HostNamespaces& host) {
  if (status.pausePid <= 1) return sandboxGone(status);
  OpenSandbox sandbox;
  auto process = sys::openPidFd(Stage::sandbox, status.pausePid);
  if (!process) {
    if (process.error().reason == Reason::not_found) return sandboxGone(status);
    return tl::unexpected<Error>(process.error());
  }
  auto checked = checkNamespaces(status, settings, host);
  if (checked) checked = choosePids(status, host, sandbox);
  auto users = usersOf(status, host);
  auto network = sys::openNamespace(Stage::sandbox, status.pausePid, "net");
  sandbox.named = inCgroupOf(status);
  // It is still running: the pid was valid all the time, and what was read under it is true.
  FB_TRY(const bool pauseEnded, sys::hasEnded(Stage::sandbox, *process));
  if (pauseEnded) return sandboxGone(status);
  if (!checked) return tl::unexpected<Error>(checked.error());
  if (!users) return tl::unexpected<Error>(users.error());
  if (!network) return tl::unexpected<Error>(network.error());
  sandbox.pause = std::move(*process);
  sandbox.users = std::move(*users);
  sandbox.network = std::move(*network);
  return sandbox;
}

}  // namespace fallbackd::launcher
