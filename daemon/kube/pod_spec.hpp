// SPDX-License-Identifier: Apache-2.0
// A pod as the API server and kubelet's /pods endpoint describe it: the part that decides how the processes
// of its containers run. Fields have the API's names. Kinds and fields that this version does not know are
// ignored, unless they decide (a volume, the source of a variable): those are kept by name.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <boost/json/value.hpp>

namespace fallbackd::kube {

/// Bytes of a pod's JSON. etcd takes objects of 1.5 MiB by default.
inline constexpr std::size_t kMaxPodBytes = 4 << 20;

struct FieldRef {
  std::string fieldPath;
};
struct ResourceFieldRef {
  std::string containerName;  // empty: the variable's own container
  std::string resource;       // "limits.cpu"
  std::string divisor;        // empty: 1
};
/// A key of a ConfigMap or Secret.
struct KeyRef {
  enum class Kind : std::uint8_t { config_map, secret };
  Kind kind = Kind::config_map;
  std::string name;
  std::string key;
  bool optional = false;
};
/// A source that this version does not know: "fileKeyRef".
struct UnknownSource {
  std::string kind;
};
struct EnvVar {
  std::string name;
  std::string value;  // counts if it is not empty, whatever valueFrom says
  std::variant<std::monostate, FieldRef, ResourceFieldRef, KeyRef, UnknownSource> valueFrom;
};
/// All keys of a ConfigMap or Secret.
struct EnvFrom {
  std::optional<KeyRef::Kind> kind;  // absent: of a kind that this version does not know
  std::string name;
  std::string prefix;
  bool optional = false;
};

struct ContainerPort {
  std::string name;
  std::uint16_t containerPort = 0;
  std::string protocol;  // empty: TCP
};

/// A number, or the name of one of the container's ports.
using PortRef = std::variant<std::uint16_t, std::string>;

struct HttpGet {
  PortRef port;
  std::string host;  // empty: the pod's address
  std::string path;
  std::string scheme;  // empty: HTTP
  std::vector<std::pair<std::string, std::string>> headers;
};
struct TcpSocket {
  PortRef port;
  std::string host;
};
struct GrpcCheck {
  std::uint16_t port = 0;
  std::string service;
};
struct ExecCommand {
  std::vector<std::string> command;
};
struct Probe {
  std::variant<std::monostate, HttpGet, TcpSocket, GrpcCheck, ExecCommand> handler;
  std::int64_t initialDelaySeconds = 0;
  std::int64_t timeoutSeconds = 1;
  std::int64_t periodSeconds = 10;
  std::int64_t failureThreshold = 3;
  std::int64_t successThreshold = 1;
};

struct Profile {
  std::string type;  // RuntimeDefault, Localhost, Unconfined
  std::string localhostProfile;
};
struct SeLinuxOptions {
  std::string user, role, type, level;
};
struct Capabilities {
  std::vector<std::string> add;
  std::vector<std::string> drop;
};
/// Of a pod or of a container; what is absent is not set.
struct SecurityContext {
  std::optional<std::int64_t> runAsUser;
  std::optional<std::int64_t> runAsGroup;
  std::optional<bool> runAsNonRoot;
  std::optional<Profile> seccompProfile;
  std::optional<Profile> appArmorProfile;
  std::optional<SeLinuxOptions> seLinuxOptions;
  // Only of a container.
  std::optional<bool> privileged;
  std::optional<bool> readOnlyRootFilesystem;
  std::optional<Capabilities> capabilities;
  std::string procMount;
  // Only of a pod.
  std::vector<std::int64_t> supplementalGroups;
  std::optional<std::int64_t> fsGroup;
};

struct VolumeMount {
  std::string name;
  std::string mountPath;
  std::string subPath;
  std::string subPathExpr;
  std::string mountPropagation;
  bool readOnly = false;
};

/// Quantities as texts, by resource: "cpu" -> "500m".
struct ResourceRequirements {
  std::map<std::string, std::string> limits;
  std::map<std::string, std::string> requests;
  std::vector<std::string> claims;
};

struct Container {
  std::string path;  // where it is in the pod: "spec.containers[0]"
  std::string name;
  std::string image;
  std::string imagePullPolicy;
  std::string workingDir;
  std::string restartPolicy;  // Always makes an init container a native sidecar
  std::vector<std::string> command;
  std::vector<std::string> args;
  std::vector<EnvVar> env;
  std::vector<EnvFrom> envFrom;
  std::vector<ContainerPort> ports;
  std::vector<VolumeMount> volumeMounts;
  std::vector<std::string> volumeDevices;  // names of block volumes
  std::vector<std::string> lifecycle;      // the hooks that it has: "preStop"
  std::optional<Probe> readinessProbe;
  std::optional<Probe> livenessProbe;
  std::optional<Probe> startupProbe;
  SecurityContext securityContext;
  ResourceRequirements resources;
  bool stdin = false;
  bool tty = false;
};

/// The part of a ConfigMap, Secret or other source that a volume shows.
struct VolumeData {
  enum class Kind : std::uint8_t { config_map, secret, other };
  Kind kind = Kind::other;
  std::string name;
  /// Keys and the paths of their files in the volume; empty: each key is a file of its name.
  std::vector<std::pair<std::string, std::string>> items;
};
struct PodVolume {
  enum class Kind : std::uint8_t {
    config_map,
    secret,
    projected,
    downward_api,
    empty_dir,
    csi,
    ephemeral,
    persistent_volume_claim,
    host_path,
    other,
  };
  std::string path;  // where it is in the pod: "spec.volumes[2]"
  std::string name;
  Kind kind = Kind::empty_dir;
  std::string source;  // the field that names its kind: "nfs"
  std::string hostPath;
  std::string claimName;
  bool readOnly = false;
  std::vector<VolumeData> data;
};

struct PodHostAlias {
  std::string ip;
  std::vector<std::string> hostnames;
};

struct Pod {
  // metadata
  std::string name;
  std::string namespaceName;
  std::string uid;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::string ownerKind;  // of the controller: "ReplicaSet"; empty: none
  std::string ownerName;
  // spec
  std::vector<Container> initContainers;  // in their order, native sidecars among them
  std::vector<Container> containers;
  std::vector<PodVolume> volumes;
  SecurityContext securityContext;
  ResourceRequirements resources;  // of the pod as a whole, from Kubernetes 1.34 on
  std::vector<PodHostAlias> hostAliases;
  std::string nodeName;
  std::string serviceAccountName;
  std::string restartPolicy;  // empty: Always
  std::string runtimeClassName;
  std::string subdomain;
  std::string osName;
  std::optional<std::int64_t> terminationGracePeriodSeconds;
  std::size_t imagePullSecrets = 0;
  bool enableServiceLinks = true;
  bool hostNetwork = false;
  bool hostPid = false;
  bool hostIpc = false;
  // status
  std::vector<std::string> podIps;
  std::vector<std::string> hostIps;
  std::map<std::string, std::string> running;  // ids of its containers that run, by name
  bool ready = false;                          // the condition Ready
};

/// Stage config. Reason too_large, or invalid: the message has the path of each field that is wrong.
Result<Pod> parsePod(std::string_view text);
/// The same for an element of a list that was already parsed.
Result<Pod> readPod(const boost::json::value& value);

/// Native sidecars run beside the containers; other init containers end before them.
inline bool isSidecar(const Container& initContainer) {
  return initContainer.restartPolicy == "Always";
}

}  // namespace fallbackd::kube
