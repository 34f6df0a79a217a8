#include "launcher/sandbox_gate.hpp"

#include "sys/process.hpp"

#include <string>
#include <unistd.h>

namespace fallbackd::launcher {

namespace {

tl::unexpected<Error> sandboxGone(const cri::SandboxStatus& status) {
  return fail(
      Stage::sandbox, Reason::sandbox_gone,
      "pause process " + std::to_string(status.pausePid) + " of sandbox " + status.sandbox.id + " is gone");
}

Result<bool> sharedWithHost(pid_t pause, const char* kind) {
  FB_TRY(const auto theirs, sys::namespaceOf(Stage::sandbox, pause, kind));
  FB_TRY(const auto ours, sys::namespaceOf(Stage::sandbox, ::getpid(), kind));
  if (theirs == ours) return true;
  // Under the DaemonSet our own may differ from the node's. Some machines let nobody look at process 1.
  const auto nodes = sys::namespaceOf(Stage::sandbox, 1, kind);
  if (!nodes && nodes.error().reason != Reason::not_permitted) return tl::unexpected<Error>(nodes.error());
  return nodes && theirs == *nodes;
}

tl::unexpected<Error> onHost(const cri::SandboxStatus& status, const char* kind) {
  return fail(Stage::sandbox, Reason::host_namespace,
              "sandbox " + status.sandbox.id + " is in the host's " + kind + " namespace");
}

Result<> checkNamespaces(const cri::SandboxStatus& status, bool allowHostNetwork) {
  // By the runtime's word first, then by what is: either alone might err.
  const bool wantsHost = status.network == cri::NamespaceMode::node;
  if (wantsHost && !allowHostNetwork) return onHost(status, "net");
  if (status.ipc == cri::NamespaceMode::node) return onHost(status, "ipc");
  for (const char* kind : {"net", "ipc", "uts"}) {
    FB_TRY(const bool shared, sharedWithHost(status.pausePid, kind));
    const bool allowed = wantsHost && std::string_view(kind) != "ipc";
    if (shared && !allowed) return onHost(status, kind);
  }
  FB_TRY(const bool sameUsers, sharedWithHost(status.pausePid, "user"));
  if (!sameUsers) {
    return fail(Stage::sandbox, Reason::not_permitted,
                "sandbox " + status.sandbox.id + " has a user namespace of its own, which is not supported");
  }
  return {};
}

}  // namespace

Result<sys::PidFd> openSandbox(const cri::SandboxStatus& status, bool allowHostNetwork) {
  if (status.pausePid <= 1) return sandboxGone(status);
  auto process = sys::openPidFd(Stage::sandbox, status.pausePid);
  if (!process) {
    if (process.error().reason == Reason::not_found) return sandboxGone(status);
    return process;
  }
  const auto checked = checkNamespaces(status, allowHostNetwork);
  // Still running: the number was its own all the time, and what was read under it is true.
  if (!sys::isRunning(*process)) return sandboxGone(status);
  if (!checked) return tl::unexpected<Error>(checked.error());
  return process;
}

}  // namespace fallbackd::launcher
