// SPDX-License-Identifier: Apache-2.0
#include "launcher/plan.hpp"

#include "base/paths.hpp"
#include "base/strings.hpp"
#include "launcher/environment.hpp"
#include "launcher/volumes.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <set>

namespace fallbackd::launcher {

namespace {

constexpr std::size_t kMaxResolvConf = 64 * 1024;
constexpr std::uint64_t kTmpBytes = 64ULL
                                    << 20;  // like docker's /dev/shm: enough for scratch, charged to the pod

std::string hostsFile(const cri::SandboxStatus& status, const std::vector<config::HostAlias>& aliases) {
  std::string text =
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n";
  for (const auto& ip : status.ips) {
    if (!status.hostname.empty()) text.append(ip).append("\t").append(status.hostname).append("\n");
  }
  for (const auto& alias : aliases) {
    text.append(alias.ip).append("\t").append(join(alias.names, "\t")).append("\n");
  }
  return text;
}

std::string passwdFile(const config::User& user) {
  std::string text = "root:x:0:0:root:/:/sbin/nologin\n";
  if (user.uid != 0) {
    text.append("fallback:x:" + std::to_string(user.uid) + ":" + std::to_string(user.gid) +
                ":fallback:/:/sbin/nologin\n");
  }
  return text;
}

std::string groupFile(const config::User& user) {
  std::string text = "root:x:0:\n";
  if (user.gid != 0) text.append("fallback:x:" + std::to_string(user.gid) + ":\n");
  return text;
}

/// The workload's groups and the pod's own, which kubelet extends by the group of the pod's volumes.
std::vector<gid_t> groupsOf(const LaunchRequest& request) {
  std::set<gid_t> groups(request.workload.user.groups.begin(), request.workload.user.groups.end());
  groups.insert(request.sandbox.supplementalGroups.begin(), request.sandbox.supplementalGroups.end());
  return {groups.begin(), groups.end()};
}

/// A server on the node's own loopback, such as systemd-resolved, is unreachable from a pod's network.
void noteLoopbackServers(const LaunchRequest& request, const std::string& resolvConf,
                         std::vector<std::string>& notes) {
  if (request.sandbox.network == cri::NamespaceMode::node) return;
  for (const auto line : split(resolvConf, '\n')) {
    if (!line.starts_with("nameserver")) continue;
    const auto server = trim(line.substr(std::string_view("nameserver").size()));
    if (!server.starts_with("127.") && server != "::1") continue;
    notes.push_back("the pod's resolv.conf names " + std::string(server) +
                    ", which is not reachable in the pod's network namespace");
  }
}

}  // namespace

int oomScoreAdjOf(const std::string& cgroupParent) {
  if (cgroupParent.find("besteffort") != std::string::npos) return 1000;
  if (cgroupParent.find("burstable") != std::string::npos) return 999;
  return -997;
}

Result<LaunchOrder> planOrder(const LaunchRequest& request,
                              const std::map<std::string, std::string>& fromFiles,
                              std::vector<std::string>& notes) {
  const auto& workload = request.workload;
  const auto& status = request.sandbox;
  LaunchOrder order;
  order.argv.push_back(workload.argv0.empty() ? workload.binary.name : workload.argv0);
  order.argv.insert(order.argv.end(), workload.args.begin(), workload.args.end());
  order.healthArgv.push_back(workload.binary.name);
  order.healthArgv.insert(order.healthArgv.end(), workload.healthCheck.args.begin(),
                          workload.healthCheck.args.end());
  order.healthTimeoutNs = workload.healthCheck.timeout.count();
  order.env = environment(request, fromFiles, notes);
  order.workingDir = normalizedPath(workload.workingDir);
  order.uid = workload.user.uid;
  order.gid = workload.user.gid;
  order.groups = groupsOf(request);
  order.tmpBytes = kTmpBytes;
  order.oomScoreAdj = oomScoreAdjOf(status.cgroupParent);
  order.files = {{"/etc/hostname", 0644, status.hostname + "\n"},
                 {"/etc/hosts", 0644, hostsFile(status, workload.hostAliases)},
                 {"/etc/passwd", 0644, passwdFile(workload.user)},
                 {"/etc/group", 0644, groupFile(workload.user)}};
  if (!status.resolvConfPath.empty()) {
    FB_TRY(auto resolv, sys::readFile(Stage::rootfs, status.resolvConfPath, kMaxResolvConf));
    noteLoopbackServers(request, resolv, notes);
    order.files.push_back({"/etc/resolv.conf", 0644, std::move(resolv)});
  }
  return order;
}

}  // namespace fallbackd::launcher
