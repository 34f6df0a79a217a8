// SPDX-License-Identifier: Apache-2.0
// A pod sandbox without a container runtime: a process in its own network, IPC and UTS namespaces, like
// pause, and a cgroup for the pod in every hierarchy.
#pragma once

#include "cri/types.hpp"
#include "sys/cgroup.hpp"

#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::test {

class FakeSandbox {
 public:
  struct Shape {
    bool hostNetwork = false;
    bool hostIpc = false;
    bool userNamespace = false;  // its ids 0 to 65535 are kFirstId and up on the host
    bool sharedPids = false;     // the pod's containers share the pause process's PID namespace
    bool hostPid = false;
    // What the pause process finds at /proc if it has its own PID namespace.
    enum class Proc { own, of_host, something_else } proc = Proc::own;
  };
  static constexpr unsigned kFirstId = 100000;

  /// `folder`: its resolv.conf, shm and log folder are created there.
  FakeSandbox(const std::filesystem::path& folder, const std::vector<sys::CgroupHierarchy>& hierarchies);
  FakeSandbox(const std::filesystem::path& folder, const std::vector<sys::CgroupHierarchy>& hierarchies,
              Shape shape);
  FakeSandbox(const FakeSandbox&) = delete;
  FakeSandbox& operator=(const FakeSandbox&) = delete;
  ~FakeSandbox();

  [[nodiscard]] const cri::SandboxStatus& status() const { return status_; }
  [[nodiscard]] pid_t pause() const { return status_.pausePid; }
  /// The pod's cgroup in each hierarchy.
  [[nodiscard]] const std::vector<std::string>& cgroups() const { return cgroups_; }
  /// As a runtime does: the pause process in a cgroup with the sandbox's name, below the pod's.
  void enterOwnCgroup();
  /// Moves it to a cgroup of the same name below another pod's cgroup.
  void leaveOwnCgroupFor(const std::string& otherPod);
  void killPause();

 private:
  void enterCgroup(const std::string& path);

  cri::SandboxStatus status_;
  std::vector<std::string> cgroups_;
  std::vector<std::string> ownCgroups_;
  bool running_ = false;
};

/// "net:[4026531840]"
std::string namespaceLink(pid_t pid, const std::string& kind);

}  // namespace fallbackd::test
