// Whether a sandbox may be joined, and what of it: the pause process is held by pidfd first and looked at
// then, so that no other process can take its place unseen.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"
#include "cri/types.hpp"
#include "launcher/protocol.hpp"
#include "sys/fd.hpp"
#include "sys/process.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::launcher {

/// A user namespace of the pod's own, and what its ids are on the host.
struct SandboxUsers {
  sys::NamespaceFd users;
  sys::IdMap uids;
  sys::IdMap gids;
};

struct OpenSandbox {
  sys::PidFd pause;
  /// The kernel says that the pause process is this sandbox's: it is in a cgroup of the sandbox's name below
  /// the pod's, which the runtime gives to nobody else. Where the runtime names its cgroups otherwise, it has
  /// to be asked.
  bool named = false;
  PidNamespace pids = PidNamespace::own;
  sys::NamespaceId pidNamespace;  // the pause process's, where the pod's containers share one
  std::optional<SandboxUsers> users;
  sys::NamespaceFd network;  // the pod's, to ask its processes whether they serve
};

/// Our own namespaces, and those of process 1: under the DaemonSet they may differ. Both live as long as we
/// do.
class HostNamespaces {
 public:
  /// Stage sandbox.
  static Result<HostNamespaces> read();
  /// `kind` as in /proc/PID/ns.
  [[nodiscard]] bool contain(std::string_view kind, const sys::NamespaceId& other) const;

 private:
  std::multimap<std::string, sys::NamespaceId, std::less<>> all_;
};

/// Opens the pause process and compares its namespaces with the host's.
/// Stage sandbox; sandbox_gone where it runs no more, host_namespace where joining would mean to be on the
/// host: network (and with it the host name), PID and IPC only with the setting that allows it and for a pod
/// that asked for it.
Result<OpenSandbox> openSandbox(const cri::SandboxStatus& status, const config::LauncherSettings& settings,
                                const HostNamespaces& host);

}  // namespace fallbackd::launcher
