// SPDX-License-Identifier: Apache-2.0
// What each key is for, in a line: all that the reading code cannot tell of itself.
#include "config/description.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::pair<std::string_view, std::string_view> kPurposes[] = {
    {"apiVersion", "The form of this file: `fallbackd.io/v1`."},
    {"containerd", "The container runtime."},
    {"containerd.socket", "Where containerd listens."},
    {"containerd.namespace", "containerd's namespace of Kubernetes."},
    {"containerd.resyncInterval", "How often all pods are listed anew: a missed event costs at most this."},
    {"containerd.sandboxImage", "The pause image, where containerd (2.x) does not tell which it is."},
    {"cache", "The binaries, and what makes them trusted."},
    {"cache.path", "The folder of binaries and attestations: NAME-vVERSION, NAME-vVERSION.sigstore.json."},
    {"cache.keys", "The folder of public keys (PEM, *.pub or *.pem). What none of them signed never runs."},
    {"cache.threshold", "So many different keys must have signed a binary."},
    {"cache.state",
     "The version floor: what annotations and command lines choose may not be below it, workloads may."},
    {"cache.revoked",
     "A file of SHA-256 digests, one a line, that are never admitted; while it cannot be read, nothing new "
     "is."},
    {"cache.expiryGrace", "How much longer an expired attestation is used."},
    {"cache.requirePie", "Only binaries that the kernel can place at random addresses."},
    {"cache.memoryBudget", "Admitted binaries are kept in memory up to this."},
    {"launcher", "How fallbacks are started, and what workloads may ask for."},
    {"launcher.runDir", "The journal and the log pipes; must survive a restart of the daemon."},
    {"launcher.kubeletPods", "kubelet's folder of pods, where their volumes are."},
    {"launcher.allowHostNetwork", "Fallbacks for pods in the node's own network, too."},
    {"launcher.allowHostPid", "Fallbacks for pods with the node's process ids, too."},
    {"launcher.allowHostIpc", "Fallbacks for pods with the node's IPC, too."},
    {"launcher.allowedCapabilities",
     "What workloads may list; by default what containerd gives a container."},
    {"launcher.allowedCapabilities[]", "A capability, without CAP_."},
    {"launcher.allowUnconfined", "Workloads may ask for seccomp and AppArmor profiles of type Unconfined."},
    {"launcher.allowedHostPaths", "Folders of the node below which hostPath volumes may be."},
    {"launcher.allowedHostPaths[]", "A folder."},
    {"launcher.seccompProfiles", "The folder of seccomp profiles of type Localhost."},
    {"launcher.caCertificates", "The node's certificates, for workloads that ask for them."},
    {"launcher.zoneInfo", "The node's time zones, for workloads that ask for them."},
    {"launcher.logs", "The log files of each fallback, beside the pod's."},
    {"launcher.logs.maxSize", "A file that is larger is put aside."},
    {"launcher.logs.maxFiles", "So many are kept."},
    {"launcher.maxConcurrentLaunches",
     "Launches at once, fairly by namespace; images that only annotations name get half of them."},
    {"launcher.logs.bytesPerSecond",
     "So much of a fallback's output is taken; one that writes more waits in its write."},
    {"launcher.logs.linesPerSecond", "The same in lines."},
    {"telemetry", "What fallbackd tells of itself."},
    {"telemetry.listen", "ADDRESS:PORT of /metrics, /healthz, /readyz; `off` for none."},
    {"telemetry.tls", "HTTPS instead of HTTP there; the files are read again when they change."},
    {"telemetry.tls.certificate", "The certificate and its chain, in PEM."},
    {"telemetry.tls.key", "Its private key, in PEM."},
    {"telemetry.tokenFile", "A file with the bearer token that clients there must show; none without it."},
    {"telemetry.profiling", "/debug/pprof/profile and /debug/pprof/heap, too."},
    {"telemetry.socket", "The socket of fallbackctl status; root's alone."},
    {"telemetry.logFormat", "Lines for people, or JSON."},
    {"telemetry.logLevel", "The least important lines that are written."},
    {"detection", "When a pull counts as failed; for workloads that say nothing of their own."},
    {"detection.reprobeInterval", "How often a registry that failed is asked again."},
    {"detection.maxConcurrentProbes",
     "Probe pulls at once, fairly by namespace and two a registry; images that only annotations name get "
     "half."},
    {"detection.triggers", "The causes that start a fallback."},
    {"detection.triggers[]", "A cause."},
    {"detection.stallTimeout",
     "A pull without a connection, or without TLS on it, for this long has failed."},
    {"detection.responseTimeout",
     "So has one that is connected and gets no answer for this long; what is usual for its registry raises "
     "it."},
    {"detection.startTimeout",
     "A container that is missing for this long after its image was there counts as not_started. That starts "
     "a "
     "fallback only where kubelet is known to be held up."},
    {"registries",
     "Credentials of the probe pulls of images that workloads name; without them a 401 decides nothing."},
    {"registries[]", "A registry."},
    {"registries[].host", "The host, with its port, as images name it."},
    {"registries[].dockerconfigjson", "A file as Docker writes it; read again at each probe."},
    {"registries[].repositories",
     "Images at or below these paths are pulled with the credentials even where only a pod's annotation "
     "names "
     "them: any pod that may choose can then run them. None by default."},
    {"registries[].repositories[]", "A path on the host, without a tag: `shop` or `shop/checkout`."},
    {"credentialProviders",
     "kubelet's image credential provider plugins, for images that workloads name and whose credentials no "
     "dockerconfigjson holds. None by default."},
    {"credentialProviders.config",
     "The file of kubelet's --image-credential-provider-config (CredentialProviderConfig v1); a change "
     "counts at the next probe."},
    {"credentialProviders.binDir",
     "The folder of kubelet's --image-credential-provider-bin-dir; it and the programs must be writable by "
     "root only."},
    {"podAnnotations", "Pods that choose their binary themselves, by fallbackd.io/binary.CONTAINER."},
    {"podAnnotations.namespaces",
     "Where such annotations count, as far as the binary's attestation lets them; nowhere by default."},
    {"podAnnotations.namespaces[]", "A namespace."},
    {"mode", "`observe`: every fallback is decided, counted and reported, and none is started."},
    {"namespaces", "Namespaces whose mode is not the node's."},
    {"namespaces[]", "A namespace."},
    {"namespaces[].name", "The namespace."},
    {"namespaces[].mode", "The mode of its pods; a workload may say otherwise."},
    {"workloads", "Which pods get which binary when their image cannot be pulled."},
    {"workloads[]", "A workload."},
    {"workloads[].name", "Its name in logs, metrics and status."},
    {"workloads[].match", "Which pods, and which of their containers; all must hold."},
    {"workloads[].match.namespace", "The pod's namespace; every one without it."},
    {"workloads[].match.labels", "Labels that the pod must have."},
    {"workloads[].match.labels.*", "The label's value."},
    {"workloads[].match.container", "The container's name."},
    {"workloads[].image", "The image that kubelet would pull, as the pod names it."},
    {"workloads[].binary", "NAME@VERSION of the binary in the cache."},
    {"workloads[].args", "The arguments."},
    {"workloads[].args[]", "An argument."},
    {"workloads[].env",
     "Environment variables, beside POD_NAME, POD_NAMESPACE, POD_IP, NODE_NAME and HOSTNAME."},
    {"workloads[].env.*", "The variable's value."},
    {"workloads[].envFiles", "Environment variables whose values are files in the volumes."},
    {"workloads[].envFiles.*", "The path of the file, inside."},
    {"workloads[].serviceVariables", "KUBERNETES_SERVICE_HOST and its like, too."},
    {"workloads[].caCertificates", "The node's certificates, at /etc/ssl/certs/ca-certificates.crt."},
    {"workloads[].timeZoneData", "The node's /usr/share/zoneinfo."},
    {"workloads[].workingDir", "Where it starts."},
    {"workloads[].user", "As whom it runs."},
    {"workloads[].user.uid", "User id; 65532 by default."},
    {"workloads[].user.gid", "Group id; 65532 by default."},
    {"workloads[].user.groups", "Further groups, for example the pod's fsGroup."},
    {"workloads[].user.groups[]", "A group id."},
    {"workloads[].user.allowRoot", "uid 0 has to be asked for twice."},
    {"workloads[].capabilities", "Capabilities; none by default, and none can be gained."},
    {"workloads[].capabilities[]", "A capability, without CAP_."},
    {"workloads[].seccompProfile", "Which system calls it may make."},
    {"workloads[].seccompProfile.type", "As in Kubernetes."},
    {"workloads[].seccompProfile.localhostProfile",
     "The file of a Localhost profile, below launcher.seccompProfiles."},
    {"workloads[].appArmorProfile", "Its AppArmor profile, where the node has AppArmor."},
    {"workloads[].appArmorProfile.type", "As in Kubernetes."},
    {"workloads[].appArmorProfile.localhostProfile", "The name of a Localhost profile."},
    {"workloads[].seLinuxLabel", "Its SELinux label; by default the pod's."},
    {"workloads[].rlimits", "Limits of a process by their names: nofile, nproc, core ..."},
    {"workloads[].rlimits.*", "A number, or `unlimited`."},
    {"workloads[].volumes", "Volumes of the pod, as kubelet has mounted them already."},
    {"workloads[].volumes[]", "A volume."},
    {"workloads[].volumes[].name", "Its name in the pod."},
    {"workloads[].volumes[].type", "Its kind in the pod."},
    {"workloads[].volumes[].path", "Of a hostPath volume: the path on the node."},
    {"workloads[].volumes[].mountPath", "Where it is inside."},
    {"workloads[].volumes[].subPath", "This part of it only."},
    {"workloads[].volumes[].readOnly", "Not writable; emptyDir is by default."},
    {"workloads[].healthCheck", "The binary itself, run in the pod before it is started."},
    {"workloads[].healthCheck.args", "The arguments of that run."},
    {"workloads[].healthCheck.args[]", "An argument."},
    {"workloads[].healthCheck.timeout", "It must end well within this."},
    {"workloads[].readiness", "When it counts as serving: one of tcp, http, exec."},
    {"workloads[].readiness.tcp", "When a connection is accepted."},
    {"workloads[].readiness.tcp.port", "The port, on the pod's address."},
    {"workloads[].readiness.http", "When GET is answered with 200 to 399."},
    {"workloads[].readiness.http.port", "The port, on the pod's address."},
    {"workloads[].readiness.http.path", "What is asked for."},
    {"workloads[].readiness.exec", "As soon as the process is up: `{}`."},
    {"workloads[].readiness.timeout", "Not ready by then: the recovery has failed."},
    {"workloads[].liveness", "Restarted when it fails so often in a row; one of tcp and http."},
    {"workloads[].liveness.tcp", "A connection must be accepted."},
    {"workloads[].liveness.tcp.port", "The port, on the pod's address."},
    {"workloads[].liveness.http", "GET must be answered with 200 to 399."},
    {"workloads[].liveness.http.port", "The port, on the pod's address."},
    {"workloads[].liveness.http.path", "What is asked for."},
    {"workloads[].liveness.interval", "From one look to the next."},
    {"workloads[].liveness.timeout", "An answer that comes later is a failure."},
    {"workloads[].liveness.failures", "So many in a row."},
    {"workloads[].detection", "As above, for this workload."},
    {"workloads[].detection.triggers", "The causes that start a fallback."},
    {"workloads[].detection.triggers[]", "A cause."},
    {"workloads[].detection.stallTimeout",
     "A pull without a connection, or without TLS on it, for this long has failed."},
    {"workloads[].detection.responseTimeout",
     "So has one that is connected and gets no answer for this long; what is usual for its registry raises "
     "it."},
    {"workloads[].detection.startTimeout",
     "A container that is missing for this long after its image was there counts as not_started. That starts "
     "a "
     "fallback only where kubelet is known to be held up."},
    {"workloads[].detection.imagePullPolicy",
     "As in the pod: with Always the registry is asked though the image is there, with Never no failure is "
     "looked for. Without it Always for the tag latest or none, else IfNotPresent."},
    {"workloads[].startAfter", "Init containers that must have ended well first."},
    {"workloads[].startAfter[]", "The name of an init container."},
    {"workloads[].dockerconfigjson", "Credentials of this workload's probe pulls; else those of registries."},
    {"workloads[].handBack", "When it makes room for the real container."},
    {"workloads[].handBack.on", "When the container is made, or as soon as its image is here."},
    {"workloads[].handBack.grace", "From SIGTERM to SIGKILL then."},
    {"workloads[].resources", "Limits of its own, below those of the pod."},
    {"workloads[].resources.memory", "Memory."},
    {"workloads[].resources.cpu", "CPUs: `500m`, `2`."},
    {"workloads[].resources.pids", "Processes and threads."},
    {"workloads[].restart", "When the fallback itself dies."},
    {"workloads[].mode", "As the node's mode, for this workload alone."},
    {"workloads[].restart.policy",
     "As the pod's restartPolicy: with OnFailure and Never, exit code 0 completes the recovery. Always "
     "without "
     "it; pods of Jobs are covered only where it is written."},
    {"workloads[].restart.initialDelay", "The first pause; doubled each time."},
    {"workloads[].restart.maxDelay", "The longest pause."},
    {"workloads[].restart.resetAfter", "Having run this long forgets earlier deaths."},
    {"workloads[].terminationGrace", "From SIGTERM to SIGKILL when the pod goes."},
};

}  // namespace

std::string purposeOf(const std::string& path) {
  const auto* const found = std::find_if(std::begin(kPurposes), std::end(kPurposes),
                                         [&](const auto& one) { return one.first == path; });
  return found == std::end(kPurposes) ? "" : std::string(found->second);
}

std::vector<std::string> purposes() {
  std::vector<std::string> paths;
  for (const auto& one : kPurposes) paths.emplace_back(one.first);
  return paths;
}

}  // namespace fallbackd::config
