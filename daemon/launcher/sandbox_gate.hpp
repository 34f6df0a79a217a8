// SPDX-License-Identifier: Apache-2.0
// Whether a sandbox may be joined, and which of its namespaces. The pidfd of the pause process is opened
// first and the process is examined after that, so that no other process can take its place unnoticed.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"
#include "cri/types.hpp"
#include "spawner/protocol.hpp"
#include "sys/fd.hpp"
#include "sys/process.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::launcher {

/// The pod's own user namespace, and how its ids map to the host.
struct SandboxUsers {
  sys::NamespaceFd users;
  sys::IdMap uids;
  sys::IdMap gids;
};

struct OpenSandbox {
  sys::PidFd pause;
  /// The kernel confirms that the pause process belongs to this sandbox: it is in a cgroup named after the
  /// sandbox below the pod's, and the runtime gives that name to no other cgroup. If the runtime names its
  /// cgroups differently, it has to be asked.
  bool named = false;
  PidNamespace pids = PidNamespace::own;
  sys::NamespaceId pidNamespace;  // the pause process's, if the pod's containers share one
  std::optional<SandboxUsers> users;
  sys::NamespaceFd network;  // the pod's, for probing its processes
};

/// Our own namespaces, and those of process 1: in the DaemonSet they may differ. Both live as long as we do.
class HostNamespaces {
 public:
  /// Stage sandbox.
  static Result<HostNamespaces> read();
  /// `kind` as in /proc/PID/ns.
  [[nodiscard]] bool contain(std::string_view kind, const sys::NamespaceId& other) const;

 private:
  std::multimap<std::string, sys::NamespaceId, std::less<>> all_;
};

/// Opens the pause process and compares its namespaces with the host's. Stage sandbox; sandbox_gone if it no
/// longer runs, host_namespace if joining would mean being on the host: network (and the host name), PID and
/// IPC only with the setting that allows it and for a pod that requested it.
Result<OpenSandbox> openSandbox(const cri::SandboxStatus& status, const config::LauncherSettings& settings,
                                const HostNamespaces& host);

}  // namespace fallbackd::launcher
