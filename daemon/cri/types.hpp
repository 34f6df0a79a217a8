// SPDX-License-Identifier: Apache-2.0
// What the container runtime reports, without protobuf, so that everything above can be tested with fakes.
#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::cri {

using Labels = std::map<std::string, std::string>;

/// How a sandbox relates to a host namespace.
enum class NamespaceMode : std::uint8_t { pod, container, node };

/// A CRI pod sandbox, as listed by ListPodSandbox.
struct Sandbox {
  std::string id;
  std::string podName;
  std::string podNamespace;
  std::string podUid;
  std::uint32_t attempt = 0;
  bool ready = false;
  std::optional<Wall::time_point> createdAt = {};
  Labels labels;       // those of the pod
  Labels annotations;  // those of the pod
};

/// PodSandboxStatus(verbose): everything that the launcher needs to join the pod.
struct SandboxStatus {
  Sandbox sandbox;
  std::vector<std::string> ips;  // primary first; empty for hostNetwork
  pid_t pausePid = 0;
  std::string cgroupParent;  // as kubelet passed it: /kubepods/... or kubepods-....slice
  std::string resolvConfPath;
  std::string shmPath;  // the sandbox's /dev/shm on the host
  std::string hostname;
  std::string logDirectory;
  NamespaceMode network = NamespaceMode::pod;
  NamespaceMode pid = NamespaceMode::container;
  NamespaceMode ipc = NamespaceMode::pod;
  std::vector<gid_t> supplementalGroups;  // the pod's own: supplementalGroups and fsGroup
};

struct Container {
  std::string id;
  std::string sandboxId;
  std::string name;
  std::uint32_t attempt = 0;
  enum class State : std::uint8_t { created, running, exited, unknown };
  State state = State::unknown;
  std::string image = {};    // as the pod names it; empty if only its id is known
  std::string imageId = {};  // "sha256:..."
  Labels labels = {};
  Labels annotations = {};
};

/// An entry of the content store and where it came from: Content.List.
struct Content {
  std::string digest;                 // "sha256:..."
  std::string repositories;           // on the requested host, separated by commas
  std::vector<std::string> children;  // digests that a manifest or index refers to
  std::optional<Wall::time_point> createdAt = {};
};

/// Credentials for a registry; passed in PullImage and never logged.
struct Credentials {
  std::string username;
  std::string password;
  std::string auth;  // base64 of USERNAME:PASSWORD
  std::string identityToken;
  std::string registryToken;
};

/// A running download of the content store: Content.ListStatuses.
struct Ingest {
  std::string ref;
  std::int64_t offset = 0;  // bytes
  std::int64_t total = 0;   // bytes, 0 if unknown
  std::optional<Wall::time_point> startedAt = {};
};

}  // namespace fallbackd::cri
