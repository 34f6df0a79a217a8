// SPDX-License-Identifier: Apache-2.0
// The validated configuration that all other parts read. Immutable once built and shared by
// std::shared_ptr<const Config>, so that a reload never changes what a running recovery sees.
#pragma once

#include "domain/binary_ref.hpp"
#include "domain/cause.hpp"
#include "domain/provenance.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>
#include <utility>
#include <variant>
#include <vector>

namespace fallbackd::config {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// Which pods, and which of their containers, a workload covers.
struct Match {
  std::optional<std::string> namespaceName;   // absent: every namespace
  std::map<std::string, std::string> labels;  // the pod must have all of them; empty: every pod
  std::string container;
};

enum class PullPolicy : std::uint8_t { if_not_present, always, never };

struct DetectionSettings {
  CauseSet triggers = defaultTriggers();
  /// timeout: a probe pull gets no connection, or no TLS on it, for this long.
  nanoseconds stallTimeout = std::chrono::seconds(1);
  /// timeout: a probe pull is connected and gets no answer for this long. Raised by what is usual for its
  /// registry.
  nanoseconds responseTimeout = std::chrono::seconds(3);
  /// not_started: a container is missing for this long although its image is there.
  nanoseconds startTimeout = std::chrono::seconds(3);
  std::optional<PullPolicy> pullPolicy = {};  // absent: by the tag, see pullPolicyOf()
};

struct User {
  uid_t uid = 65532;
  gid_t gid = 65532;
  std::vector<gid_t> groups;  // supplementary
  bool allowRoot = false;     // uid 0 must be requested twice
};

/// With Kubernetes' names: the node's default, a profile by its name or file, or none.
struct SecurityProfile {
  enum class Type : std::uint8_t { runtime_default, localhost, unconfined };
  Type type = Type::runtime_default;
  std::string localhost;  // seccomp: a file below launcher.seccompProfiles; AppArmor: the profile's name
};

struct Rlimit {
  int resource = 0;                    // RLIMIT_NOFILE, ...
  std::optional<std::uint64_t> value;  // soft and hard; absent: unlimited
};

struct Security {
  std::uint64_t capabilities = 0;  // one bit each, as in /proc/PID/status
  SecurityProfile seccomp;
  SecurityProfile appArmor;
  std::string seLinuxLabel;  // empty: the sandbox's own
  std::vector<Rlimit> rlimits;
};

/// One of the pod's volumes, as kubelet mounted it below /var/lib/kubelet/pods/UID/volumes.
struct Volume {
  enum class Kind : std::uint8_t { config_map, secret, projected, empty_dir, downward_api, csi, host_path };
  Kind kind = Kind::config_map;
  /// The volume's name in the pod. For a persistent volume (csi) the volume's own name; empty if the pod has
  /// only one.
  std::string name;
  std::string mountPath;  // absolute, inside
  std::string subPath;    // relative, empty: the whole volume
  bool readOnly = true;
  std::string path = {};  // of a hostPath, absolute, on the node
};

struct HealthCheck {
  std::vector<std::string> args{"--health-check"};
  nanoseconds timeout = std::chrono::seconds(2);
};

struct ReadyWhenExec {};  // the process is up
struct ReadyWhenTcp {
  std::uint16_t port = 0;
};
struct ReadyWhenHttp {
  std::uint16_t port = 0;
  std::string path = "/";
  /// Names and values of header fields that are valid as they are; only inherited from a pod's probe.
  std::vector<std::pair<std::string, std::string>> headers = {};
};
/// SERVING, by gRPC's health protocol; only inherited from a pod's probe.
struct ReadyWhenGrpc {
  std::uint16_t port = 0;
  std::string service = {};
};
/// A command of the binary ends with 0, run beside the fallback; only inherited from a pod's probe. Not to be
/// confused with ReadyWhenExec, which checks nothing.
struct ReadyWhenCommand {
  std::vector<std::string> argv;  // argv[0] included
  nanoseconds timeout = std::chrono::seconds(1);
  nanoseconds period = std::chrono::seconds(10);
};
struct Readiness {
  std::variant<ReadyWhenExec, ReadyWhenTcp, ReadyWhenHttp, ReadyWhenGrpc, ReadyWhenCommand> when;
  nanoseconds timeout = std::chrono::seconds(30);
};

/// Checked repeatedly while the fallback serves; a fallback that fails it is restarted.
struct Liveness {
  std::variant<ReadyWhenTcp, ReadyWhenHttp, ReadyWhenGrpc, ReadyWhenCommand> when;
  nanoseconds interval = std::chrono::seconds(10);
  nanoseconds timeout = std::chrono::seconds(1);  // of one check
  unsigned failures = 3;                          // this many in a row
};

enum class HandBackOn : std::uint8_t {
  container,  // at /containers/create of the real container, about 90 ms before its process starts
  image,      // as soon as the image is on the node: for programs that need longer to drain
  start,      // once its process runs and listens: for programs that set SO_REUSEPORT
};
/// When a stand-in makes way for the real container, whose image can be pulled.
enum class HandBackWhen : std::uint8_t {
  now,
  spread,     // a quarter of the workload's stand-ins on the node at a time, at least one
  on_delete,  // never by itself
};
struct HandBack {
  HandBackOn on = HandBackOn::container;
  HandBackWhen when = HandBackWhen::spread;
  nanoseconds grace = std::chrono::milliseconds(50);  // from SIGTERM to SIGKILL
};

/// For a workload whose fallback gets a stand-in.
struct StandIn {
  std::string
      path;  // of the program that probes and hooks execute in the container; empty: they execute none
};

struct Resources {
  std::optional<std::uint64_t> memoryBytes;
  std::optional<double> cpus;
  std::optional<std::uint64_t> pids;
};

/// A pod's restartPolicy.
enum class RestartPolicy : std::uint8_t { always, on_failure, never };

struct Restart {
  std::optional<RestartPolicy> policy;  // absent: always, and pods of Jobs are not covered
  nanoseconds initialDelay = std::chrono::milliseconds(100);
  nanoseconds maxDelay = std::chrono::seconds(30);
  nanoseconds resetAfter = std::chrono::seconds(60);  // running this long resets the backoff
};

/// What is done for a container whose fallback is due.
enum class Mode : std::uint8_t {
  recover,  // start it
  observe,  // decide and report, start nothing
};

/// Whether a ready fallback gets a stand-in, through which kubelet sees the pod running.
enum class Settle : std::uint8_t {
  automatic,  // if it is known that this does no harm
  always,     // the operator knows
  never,
};

/// How the version that a pod requests must agree with that of a binary.
enum class VersionMatch : std::uint8_t {
  exact,
  semver_patch,  // the same major and minor version
  none,          // any binary will do
};

struct VersionRule {
  VersionMatch match = VersionMatch::exact;
  // Where a pod states its version, if not in the image's tag: the key of a label or of an annotation. A pod
  // without that key has no version; its image's tag does not take its place.
  std::string label = {};
  std::string annotation = {};
  friend bool operator==(const VersionRule&, const VersionRule&) = default;
};

/// Whether a fallback starts although not all of its variables are known.
enum class MissingEnv : std::uint8_t { refuse, start };

/// What a workload takes from the specification of its pod: everything that it does not set itself.
struct Inheritance {
  bool on = false;  // no fallback starts before the pod's specification is known
  VersionRule version;
  MissingEnv missingEnv = MissingEnv::refuse;
  friend bool operator==(const Inheritance&, const Inheritance&) = default;
};

/// Names for /etc/hosts, as a pod's hostAliases.
struct HostAlias {
  std::string ip;
  std::vector<std::string> names;
  friend bool operator==(const HostAlias&, const HostAlias&) = default;
};

struct Workload {
  std::string name;
  Match match;
  std::string image;  // the reference that kubelet would pull; empty: from the pod's specification
  Provenance imageFrom = Provenance::configuration;
  BinaryRef binary;
  Provenance binaryFrom = Provenance::configuration;
  std::string argv0;  // empty: the binary's name; only inherited from the pod
  std::vector<std::string> args;
  std::map<std::string, std::string> env;
  std::map<std::string, std::string> envFiles;  // variable -> file below one of the volumes' mount paths
  bool serviceVariables = false;                // KUBERNETES_SERVICE_HOST and so on
  bool caCertificates = false;                  // the node's certificates, where programs look for them
  bool timeZoneData = false;                    // the node's /usr/share/zoneinfo
  std::string workingDir = "/";
  User user;
  Security security;
  std::vector<Volume> volumes;
  std::vector<HostAlias> hostAliases;  // only inherited from the pod
  HealthCheck healthCheck;
  Readiness readiness;
  std::optional<Liveness> liveness;
  DetectionSettings detection;
  std::vector<std::string> startAfter;  // init containers that must have completed first
  std::string dockerConfig;             // file of the probe pull's credentials; empty: the registry's entry
  HandBack handBack;
  Resources resources;
  Restart restart;
  std::optional<Mode> mode;           // absent: as its namespace, else as the node, see modeOf()
  std::optional<Settle> settle = {};  // absent: as the node, see settleOf()
  StandIn standIn;
  Inheritance inheritance;
  nanoseconds terminationGrace = std::chrono::seconds(10);  // SIGTERM to SIGKILL when the pod goes
  std::string definedAt;                                    // FILE:LINE, for messages
  /// The keys that the configuration sets; for the user, each subkey ("user.uid"). The pod's specification
  /// decides the others.
  std::set<std::string, std::less<>> given;
};

struct ContainerdSettings {
  std::string socket = "/run/containerd/containerd.sock";
  std::string namespaceName = "k8s.io";
  nanoseconds resyncInterval = std::chrono::seconds(30);  // a missed event costs at most this
  std::string sandboxImage;  // the pause image, where containerd (2.x) does not report it; empty: do not look
};

/// A deliberate rollback: versions of one name down to `to` may be chosen although a later one has run, while
/// the version floor is not above `from`, the version that is rolled back.
struct Rollback {
  BinaryRef from;
  std::string to;  // below it
  friend bool operator==(const Rollback&, const Rollback&) = default;
};

inline constexpr unsigned kMaxThreshold = 16;  // of cache.threshold, which is at least 1

struct CacheSettings {
  std::string path = "/opt/bin/fallback";
  std::string keys = "/etc/fallbackd/keys";  // folder of PEM public keys (*.pub, *.pem)
  unsigned threshold = 1;                    // number of distinct keys that must have signed
  std::string state = "/var/lib/fallbackd";  // the version floor
  std::optional<std::string> revoked;        // file of revoked sha256 digests, one per line
  nanoseconds expiryGrace{0};
  bool requirePie = false;
  std::uint64_t memoryBudgetBytes = 512ULL << 20;  // resident sealed copies
  std::vector<Rollback> rollbacks = {};            // at most one of each name
  friend bool operator==(const CacheSettings&, const CacheSettings&) = default;
};

/// Log files of one fallback, like kubelet's containerLogMaxSize and containerLogMaxFiles, and how fast they
/// may grow. A process that writes more blocks in its write. The limit is for stdout and stderr together.
struct LogLimits {
  std::uint64_t maxBytes = 10ULL << 20;
  unsigned maxFiles = 5;
  std::uint64_t bytesPerSecond = 2ULL << 20;
  unsigned linesPerSecond = 10'000;
};

/// The capabilities of a container that requests nothing special: containerd's defaults.
inline constexpr std::uint64_t kDefaultCapabilities = 0xa80425fb;

struct LauncherSettings {
  std::string runDir = "/run/fallbackd";              // journal, log FIFOs
  std::string kubeletPods = "/var/lib/kubelet/pods";  // where the volumes of pods are
  // A fallback shares the host's namespaces only if its pod does and these allow it.
  bool allowHostNetwork = false;
  bool allowHostPid = false;
  bool allowHostIpc = false;
  // What workloads may request.
  std::uint64_t allowedCapabilities = kDefaultCapabilities;
  bool allowUnconfined = false;               // seccomp and AppArmor profiles of type Unconfined
  std::vector<std::string> allowedHostPaths;  // folders that hostPath volumes must be below
  // Paths on the node.
  std::string seccompProfiles = "/var/lib/kubelet/seccomp";
  std::string caCertificates = "/etc/ssl/certs/ca-certificates.crt";
  std::string zoneInfo = "/usr/share/zoneinfo";
  LogLimits logs;
  std::string logLinks = "/var/log/containers";  // kubelet's links to the logs of containers
  unsigned maxConcurrentLaunches = 16;           // half of them are reserved for configured images
};

enum class LogFormat : std::uint8_t { human, json };
enum class LogLevel : std::uint8_t { debug, info, warn, error };

struct Tls {
  std::string certificate;  // PEM files, read again when they change
  std::string key;
};

struct TelemetrySettings {
  std::optional<std::string> listen = "127.0.0.1:9477";  // ADDRESS:PORT of /metrics; absent: off
  std::optional<Tls> tls;                                // for that address
  std::string tokenFile;                                 // the token for its clients; empty: none
  bool profiling = false;                                // /debug/pprof
  std::string socket = "/run/fallbackd/fallbackd.sock";  // root only: fallbackctl status
  LogFormat logFormat = LogFormat::human;
  LogLevel logLevel = LogLevel::info;
};

struct DetectionDefaults {
  nanoseconds reprobeInterval = std::chrono::seconds(10);  // while a pod waits or runs its fallback; jittered
  unsigned maxConcurrentProbes = 16;   // in total; half of them are reserved for configured images
  bool unstick = true;                 // end containerd's stalled connections to a registry that times out
  DetectionSettings workloadDefaults;  // for workloads without their own
};

struct Registry {
  std::string host;          // with its port, as images name it
  std::string dockerConfig;  // a dockerconfigjson file
  /// Paths whose images get the credentials even if only an annotation names them.
  std::vector<std::string> repositories;
};

/// Programs on the node that provide credentials, run as kubelet runs them. See provider_file.hpp.
struct CredentialProviders {
  std::string config;  // kubelet's --image-credential-provider-config
  std::string binDir;  // kubelet's --image-credential-provider-bin-dir
  friend bool operator==(const CredentialProviders&, const CredentialProviders&) = default;
};

/// Pods that choose their own binary, by fallbackd.io/binary.CONTAINER and fallbackd.io/image.CONTAINER.
struct PodAnnotations {
  std::vector<std::string> namespaces;  // where the annotations count; empty: nowhere
  /// By the binary's name: the namespaces whose pods may choose it. For a binary that is not listed:
  /// `namespaces`, if its attestation allows them.
  std::map<std::string, std::vector<std::string>> binaries;

  /// The binary is listed for the namespace by its name.
  [[nodiscard]] bool lists(const std::string& binary, const std::string& podNamespace) const;
  [[nodiscard]] bool allows(const std::string& binary, const std::string& podNamespace) const;
  /// Whether any binary may be chosen there.
  [[nodiscard]] bool countIn(const std::string& podNamespace) const;
};

/// Who describes the node's pods.
enum class PodSource : std::uint8_t {
  kubelet,    // its /pods endpoint, on demand
  apiserver,  // a watch
};

struct KubernetesSettings {
  std::vector<PodSource> sources;  // empty: only this configuration describes the pods
  std::string kubeconfig;          // empty: the service account of the daemon's own pod
  std::string kubeletAddress;      // ADDRESS:PORT; empty: port 10250 of this node
  std::string kubeletCertificate = "/var/lib/kubelet/pki/kubelet.crt";
  std::string viewFile = "/var/lib/fallbackd/pods.view";
  /// Namespaces whose ConfigMaps and Secrets may be read, for variables of pods; empty: none.
  std::vector<std::string> readVariablesIn;
  bool events = false;          // report what happens to a pod as Kubernetes Events
  bool namespacePause = false;  // obey the annotation fallbackd.io/pause of namespaces
  friend bool operator==(const KubernetesSettings&, const KubernetesSettings&) = default;
};

/// Which images the mirror serves by a tag: the tag may have moved at the registry since. A digest cannot.
enum class ServeCached : std::uint8_t { always, never, up_to_age };

/// The read-only registry on loopback that serves images of the node while their registry is down.
struct MirrorSettings {
  std::optional<std::string> listen;  // ADDRESS:PORT on loopback; absent: off
  std::string tokenFile = "/var/lib/fallbackd/mirror.token";
  std::string hostsDir = "/etc/containerd/certs.d";  // config_path of containerd's registry section
  ServeCached cached = ServeCached::always;
  nanoseconds maxAge{0};            // of up_to_age: since the registry was last seen to have the image
  std::vector<std::string> images;  // HOST or HOST/PATH: only images at or below these; empty: every one
  friend bool operator==(const MirrorSettings&, const MirrorSettings&) = default;
};

struct Config {
  ContainerdSettings containerd;
  CacheSettings cache;
  LauncherSettings launcher;
  TelemetrySettings telemetry;
  DetectionDefaults detection;
  std::vector<Registry> registries;
  std::optional<CredentialProviders> credentialProviders;
  PodAnnotations podAnnotations;
  Mode mode = Mode::recover;
  std::map<std::string, Mode> namespaceModes;  // by namespace, where it differs from the node's
  Settle settle = Settle::never;
  KubernetesSettings kubernetes;
  MirrorSettings mirror;
  Inheritance inheritance;  // for workloads without their own; on: there are sources
  std::vector<Workload> workloads;
};

using ConfigPtr = std::shared_ptr<const Config>;

/// The workload's policy, or else Kubernetes' default: Always for the tag latest, including an image without
/// tag and digest, and IfNotPresent for all others.
PullPolicy pullPolicyOf(const Workload& workload);

/// The workload's mode; else that of its pod's namespace; else the node's.
Mode modeOf(const Config& config, const Workload& workload, const std::string& podNamespace);

/// The workload's setting; else the node's.
Settle settleOf(const Config& config, const Workload& workload);

/// How a fallback ended. May be unknown: a fallback can outlive a daemon.
enum class Outcome : std::uint8_t { succeeded, failed, unknown };

/// Whether it is started again. One that may have succeeded is not: a Job's work must not be done twice.
constexpr bool restartsAfter(const Restart& restart, Outcome outcome) {
  const auto policy = restart.policy.value_or(RestartPolicy::always);
  return policy == RestartPolicy::always ||
         (policy == RestartPolicy::on_failure && outcome == Outcome::failed);
}

}  // namespace fallbackd::config
