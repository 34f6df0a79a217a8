// SPDX-License-Identifier: Apache-2.0
// What each key is for, in one line: the reading code cannot know that.
#include "config/description.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::pair<std::string_view, std::string_view> kPurposes[] = {
    {"apiVersion", "The version of this file's format: `fallbackd.io/v1`."},
    {"containerd", "The container runtime."},
    {"containerd.socket", "containerd's socket."},
    {"containerd.namespace", "The containerd namespace that Kubernetes uses."},
    {"containerd.resyncInterval",
     "How often all pods are listed again: a missed event costs at most this long."},
    {"containerd.sandboxImage", "The pause image, where containerd (2.x) does not report it."},
    {"cache", "The binaries, and how they are trusted."},
    {"cache.path", "The folder of binaries and attestations: NAME-vVERSION, NAME-vVERSION.sigstore.json."},
    {"cache.keys",
     "The folder of public keys (PEM, *.pub or *.pem). A binary that none of them signed never runs."},
    {"cache.threshold", "How many different keys must have signed a binary."},
    {"cache.state",
     "The version floor: annotations and command lines may not choose a version below it, workloads may."},
    {"cache.revoked",
     "A file of SHA-256 digests, one per line, that are never admitted; while it is unreadable, nothing new "
     "is admitted."},
    {"cache.expiryGrace", "How long an expired attestation is still accepted."},
    {"cache.requirePie", "Accept only binaries that the kernel can load at random addresses."},
    {"cache.memoryBudget", "Admitted binaries are kept in memory up to this size."},
    {"cache.rollbacks",
     "Versions that are rolled back on purpose: annotations and command lines may choose an older one "
     "again."},
    {"cache.rollbacks[]", "A version that is rolled back."},
    {"cache.rollbacks[].binary",
     "NAME@VERSION that is rolled back. Once the version floor of its name is higher, because a workload "
     "names a later version or signers demand one (minimumVersion), the entry has no effect."},
    {"cache.rollbacks[].rollbackTo", "The oldest version that may be chosen instead."},
    {"launcher", "How fallbacks are started, and what workloads may request."},
    {"launcher.runDir", "The journal and the log pipes; the folder must survive a restart of the daemon."},
    {"launcher.kubeletPods", "kubelet's pods folder, which holds their volumes."},
    {"launcher.allowHostNetwork", "Also start fallbacks for pods in the node's network."},
    {"launcher.allowHostPid", "Also start fallbacks for pods in the node's PID namespace."},
    {"launcher.allowHostIpc", "Also start fallbacks for pods in the node's IPC namespace."},
    {"launcher.allowedCapabilities",
     "What workloads may request; by default what containerd gives a container."},
    {"launcher.allowedCapabilities[]", "A capability, without CAP_."},
    {"launcher.allowUnconfined", "Workloads may request seccomp and AppArmor profiles of type Unconfined."},
    {"launcher.allowedHostPaths", "Folders on the node that hostPath volumes must be below."},
    {"launcher.allowedHostPaths[]", "A folder."},
    {"launcher.seccompProfiles", "The folder of seccomp profiles of type Localhost."},
    {"launcher.caCertificates", "The node's certificates, for workloads that request them."},
    {"launcher.zoneInfo", "The node's time zones, for workloads that request them."},
    {"launcher.logs", "The log files of each fallback, beside the pod's."},
    {"launcher.logs.maxSize", "A larger file is rotated."},
    {"launcher.logs.maxFiles", "How many are kept."},
    {"launcher.logLinks",
     "kubelet's folder of links to the logs of containers. The log of a fallback gets a link there if the "
     "folder exists."},
    {"launcher.maxConcurrentLaunches",
     "Concurrent launches, shared fairly between namespaces; images that only annotations name get half."},
    {"launcher.logs.bytesPerSecond",
     "How much output of a fallback is logged; one that writes more blocks in its write."},
    {"launcher.logs.linesPerSecond", "The same in lines."},
    {"telemetry", "What fallbackd reports about itself."},
    {"telemetry.listen", "ADDRESS:PORT of /metrics, /healthz, /readyz; `off` for no address."},
    {"telemetry.tls", "Serve HTTPS instead of HTTP there; changed files are read again."},
    {"telemetry.tls.certificate", "The certificate and its chain, in PEM."},
    {"telemetry.tls.key", "Its private key, in PEM."},
    {"telemetry.tokenFile",
     "A file with the bearer token that clients there must send; without it none is needed."},
    {"telemetry.profiling", "Also serve /debug/pprof/profile and /debug/pprof/heap."},
    {"telemetry.socket", "The socket of fallbackctl status; for root only."},
    {"telemetry.logFormat", "Text for people, or JSON."},
    {"telemetry.logLevel", "The lowest level that is written."},
    {"detection", "When a pull counts as failed; for workloads without their own settings."},
    {"detection.reprobeInterval", "How often a failed registry is probed again."},
    {"detection.maxConcurrentProbes",
     "Concurrent probe pulls, shared fairly between namespaces, two per registry; images that only "
     "annotations name get half."},
    {"detection.unstick",
     "End containerd's stalled connections to a registry that times out, so that kubelet's pull fails at "
     "once "
     "and the pulls behind it go on; needs NET_ADMIN."},
    {"detection.triggers", "The causes that start a fallback."},
    {"detection.triggers[]", "A cause."},
    {"detection.stallTimeout", "A pull that gets no connection, or no TLS on it, for this long has failed."},
    {"detection.responseTimeout",
     "A pull that is connected and gets no answer for this long has failed; raised by what is usual for the "
     "registry."},
    {"detection.startTimeout",
     "A container that is missing for this long after its image was there counts as not_started. This starts "
     "a fallback only if kubelet is known to be held up."},
    {"registries",
     "Credentials for probe pulls of images that workloads name; without them a 401 decides nothing."},
    {"registries[]", "A registry."},
    {"registries[].host", "The host, with its port, as images name it."},
    {"registries[].dockerconfigjson", "A Docker config file; read again at each probe."},
    {"registries[].repositories",
     "Images at or below these paths are pulled with the credentials even if only a pod's annotation names "
     "them: any pod that may choose can then run them. None by default."},
    {"registries[].repositories[]", "A path on the host, without a tag: `shop` or `shop/checkout`."},
    {"credentialProviders",
     "kubelet's image credential provider plugins, for images that workloads name and for which no "
     "dockerconfigjson has credentials. None by default."},
    {"credentialProviders.config",
     "The file of kubelet's --image-credential-provider-config (CredentialProviderConfig v1); a change "
     "takes effect at the next probe."},
    {"credentialProviders.binDir",
     "The folder of kubelet's --image-credential-provider-bin-dir; it and the programs must be writable by "
     "root only."},
    {"podAnnotations", "Pods that choose their own binary, by fallbackd.io/binary.CONTAINER."},
    {"podAnnotations.namespaces",
     "Namespaces where such annotations count, within what the binary's attestation allows; none by "
     "default."},
    {"podAnnotations.namespaces[]", "A namespace."},
    {"podAnnotations.binaries",
     "Binaries that only pods of certain namespaces may choose, whatever their attestations allow."},
    {"podAnnotations.binaries[]", "A binary."},
    {"podAnnotations.binaries[].name", "Its name, without a version."},
    {"podAnnotations.binaries[].namespaces", "The namespaces whose pods may choose it."},
    {"podAnnotations.binaries[].namespaces[]", "A namespace."},
    {"mode", "`observe`: every fallback is decided, counted and reported, and none is started."},
    {"namespaces", "Namespaces whose mode differs from the node's."},
    {"namespaces[]", "A namespace."},
    {"namespaces[].name", "The namespace."},
    {"namespaces[].mode", "The mode of its pods; a workload may set its own."},
    {"settle",
     "Whether a ready fallback gets a stand-in, so that kubelet sees the pod run: `auto` where it is known "
     "that this replaces no healthy pod, which needs apiserver among kubernetes.sources, and means never "
     "without it; `always`; or `never`. See docs/stand-in.md."},
    {"kubernetes",
     "Where the daemon learns the specifications of its node's pods, and whether it writes Events about "
     "them; neither by default. A change takes effect at the next start."},
    {"kubernetes.sources",
     "Which sources are used; they are believed in the order kubelet, apiserver. None by default: then "
     "nothing is queried, and no token is needed."},
    {"kubernetes.sources[]",
     "`kubelet`: its /pods endpoint, queried when a pod waits (Kubernetes 1.33 or later, `get` on "
     "nodes/pods). `apiserver`: list and watch of the pods of this node."},
    {"kubernetes.kubeconfig",
     "How to reach the API server, and as whom, where the daemon is not a pod; read again for each "
     "connection. Without it: the service account of the daemon's own pod."},
    {"kubernetes.kubeletAddress",
     "kubelet's address and port. Without it: port 10250 of --node-ip, or of 127.0.0.1."},
    {"kubernetes.kubeletCertificate",
     "The file of the certificate that kubelet serves with: only a server with this certificate gets our "
     "token."},
    {"kubernetes.viewFile",
     "Where the specifications are kept for the next start, readable by root only: they hold literal values "
     "of environment variables, but never those of Secrets."},
    {"kubernetes.readVariablesIn",
     "Namespaces whose ConfigMaps and Secrets the daemon reads by name, for variables of pods; it needs "
     "`get` "
     "on both there. Their values stay in memory. Without it such variables have no value, unless the "
     "container also mounts the object."},
    {"kubernetes.readVariablesIn[]", "A namespace."},
    {"kubernetes.versionMatch",
     "How the version that a pod requests must agree with that of a binary. `exact`: they are the same. "
     "`semver-patch`: major and minor version are. `none`: any binary will do."},
    {"kubernetes.versionFrom",
     "Where a pod states its version, if not in its image's tag: label or annotation."},
    {"kubernetes.versionFrom.label", "The key of the label that has the version."},
    {"kubernetes.versionFrom.annotation", "The key of the annotation that has the version."},
    {"kubernetes.missingEnv",
     "What happens if the value of a variable cannot be known: `refuse` (no fallback) or `start` without "
     "it."},
    {"kubernetes.events",
     "Write Kubernetes Events about pods that wait: why, what serves instead, its hand-back. Needs the API "
     "server (the service account, or kubeconfig) with `create` and `patch` on events; no sources."},
    {"kubernetes.namespacePause",
     "Obey the annotation fallbackd.io/pause of namespaces: no new recovery starts there. Needs the API "
     "server with `list` and `watch` on namespaces; no sources."},
    {"mirror",
     "A read-only registry on loopback: while an image's registry is down, containerd gets from it the image "
     "that is on the node. `fallbackctl mirror enable` makes containerd use it. A change takes effect at the "
     "next start."},
    {"mirror.listen", "ADDRESS:PORT on loopback; `off` (the default): there is no mirror."},
    {"mirror.tokenFile",
     "The token that containerd sends it, created if it is missing; readable by root only. Without the token "
     "nothing is served."},
    {"mirror.hostsDir",
     "The folder of containerd's HOST/hosts.toml files (config_path): which hosts have a registry's images, "
     "and which certificates are trusted for them."},
    {"mirror.cached",
     "Whether an image is served by its tag, which may have moved at the registry since: `always`, `never`, "
     "or "
     "how long ago the registry was last seen to have it (`72h`). By its digest it is always served."},
    {"mirror.images",
     "Only images at or below these are served: HOST or HOST/PATH. Without it every image of the node."},
    {"mirror.images[]", "`registry.example.com` or `registry.example.com/shop`."},
    {"workloads", "Which pods get which binary when their image cannot be pulled."},
    {"workloads[]", "A workload."},
    {"workloads[].name", "Its name in logs, metrics and status; by default the binary's."},
    {"workloads[].match", "Which pods, and which of their containers; all conditions must hold."},
    {"workloads[].match.namespace", "The pod's namespace; without it, any."},
    {"workloads[].match.labels", "Labels that the pod must have."},
    {"workloads[].match.labels.*", "The label's value."},
    {"workloads[].match.container", "The container's name."},
    {"workloads[].image",
     "The image that kubelet would pull, as the pod names it. It may be left out if kubernetes.sources are "
     "named: then it comes from the pod's specification, and so does everything else that the workload does "
     "not set."},
    {"workloads[].binary", "NAME@VERSION of the binary in the cache."},
    {"workloads[].inherit",
     "Whether what the workload does not set comes from the pod's specification. By default only if it does "
     "not name the image. No fallback starts before the specification is known."},
    {"workloads[].versionMatch", "As kubernetes.versionMatch, for this workload."},
    {"workloads[].versionFrom", "As kubernetes.versionFrom, for this workload."},
    {"workloads[].versionFrom.label", "The key of the label that has the version."},
    {"workloads[].versionFrom.annotation", "The key of the annotation that has the version."},
    {"workloads[].missingEnv", "As kubernetes.missingEnv, for this workload."},
    {"workloads[].args", "The arguments."},
    {"workloads[].args[]", "An argument."},
    {"workloads[].env",
     "Environment variables, besides POD_NAME, POD_NAMESPACE, POD_IP, NODE_NAME and HOSTNAME."},
    {"workloads[].env.*", "The variable's value."},
    {"workloads[].envFiles", "Environment variables whose values are files in the volumes."},
    {"workloads[].envFiles.*", "The path of the file, inside the container."},
    {"workloads[].serviceVariables", "Also set KUBERNETES_SERVICE_HOST and so on."},
    {"workloads[].caCertificates", "Mount the node's certificates at /etc/ssl/certs/ca-certificates.crt."},
    {"workloads[].timeZoneData", "Mount the node's /usr/share/zoneinfo."},
    {"workloads[].workingDir", "Its working directory."},
    {"workloads[].user", "The user that it runs as."},
    {"workloads[].user.uid", "User id; 65532 by default."},
    {"workloads[].user.gid", "Group id; 65532 by default."},
    {"workloads[].user.groups", "Supplementary groups, for example the pod's fsGroup."},
    {"workloads[].user.groups[]", "A group id."},
    {"workloads[].user.allowRoot", "uid 0 must be requested twice."},
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
    {"workloads[].rlimits", "Resource limits by name: nofile, nproc, core ..."},
    {"workloads[].rlimits.*", "A number, or `unlimited`."},
    {"workloads[].volumes", "Volumes of the pod, as kubelet has already mounted them."},
    {"workloads[].volumes[]", "A volume."},
    {"workloads[].volumes[].name", "Its name in the pod."},
    {"workloads[].volumes[].type", "Its kind in the pod."},
    {"workloads[].volumes[].path", "The path on the node, of a hostPath volume."},
    {"workloads[].volumes[].mountPath", "Where it is mounted."},
    {"workloads[].volumes[].subPath", "Mount only this part of it."},
    {"workloads[].volumes[].readOnly", "Read-only, the default; an emptyDir is writable by default."},
    {"workloads[].healthCheck", "A run of the binary in the pod before it is started."},
    {"workloads[].healthCheck.args", "The arguments of that run."},
    {"workloads[].healthCheck.args[]", "An argument."},
    {"workloads[].healthCheck.timeout", "It must exit with 0 within this time."},
    {"workloads[].readiness", "When it counts as serving: one of tcp, http, exec."},
    {"workloads[].readiness.tcp", "Ready when a connection is accepted."},
    {"workloads[].readiness.tcp.port", "The port, on the pod's address."},
    {"workloads[].readiness.http", "Ready when GET is answered with 200 to 399."},
    {"workloads[].readiness.http.port", "The port, on the pod's address."},
    {"workloads[].readiness.http.path", "The path to request."},
    {"workloads[].readiness.exec", "Ready as soon as the process is up: `{}`."},
    {"workloads[].readiness.timeout", "The recovery fails if it is not ready within this time."},
    {"workloads[].liveness", "Restarted after this check fails several times in a row; one of tcp and http."},
    {"workloads[].liveness.tcp", "A connection must be accepted."},
    {"workloads[].liveness.tcp.port", "The port, on the pod's address."},
    {"workloads[].liveness.http", "GET must be answered with 200 to 399."},
    {"workloads[].liveness.http.port", "The port, on the pod's address."},
    {"workloads[].liveness.http.path", "The path to request."},
    {"workloads[].liveness.interval", "The time between two checks."},
    {"workloads[].liveness.timeout", "A later answer is a failure."},
    {"workloads[].liveness.failures", "How many in a row."},
    {"workloads[].detection", "As the top-level detection, for this workload."},
    {"workloads[].detection.triggers", "The causes that start a fallback."},
    {"workloads[].detection.triggers[]", "A cause."},
    {"workloads[].detection.stallTimeout",
     "A pull that gets no connection, or no TLS on it, for this long has failed."},
    {"workloads[].detection.responseTimeout",
     "A pull that is connected and gets no answer for this long has failed; raised by what is usual for the "
     "registry."},
    {"workloads[].detection.startTimeout",
     "A container that is missing for this long after its image was there counts as not_started. This starts "
     "a fallback only if kubelet is known to be held up."},
    {"workloads[].detection.imagePullPolicy",
     "As in the pod: with Always the registry is asked even if the image is there; with Never pull failures "
     "are ignored. The default is Always for the tag latest or none, else IfNotPresent."},
    {"workloads[].startAfter", "Init containers that must have completed first."},
    {"workloads[].startAfter[]", "The name of an init container."},
    {"workloads[].dockerconfigjson",
     "Credentials for this workload's probe pulls; by default those of registries."},
    {"workloads[].handBack", "When it makes way for the real container."},
    {"workloads[].handBack.on",
     "When the container is created, as soon as its image is on the node, or (`start`) once its program "
     "listens: both programs must then set SO_REUSEPORT and have the same user."},
    {"workloads[].handBack.when",
     "When a stand-in makes way for a container whose image can be pulled: at once, a quarter of the "
     "workload's stand-ins on the node at a time, or only with its pod."},
    {"workloads[].handBack.grace", "From SIGTERM to SIGKILL."},
    {"workloads[].resources", "Its own limits, within those of the pod."},
    {"workloads[].resources.memory", "Memory."},
    {"workloads[].resources.cpu", "CPUs: `500m`, `2`."},
    {"workloads[].resources.pids", "Processes and threads."},
    {"workloads[].restart", "What happens when the fallback itself exits."},
    {"workloads[].mode", "As the node's mode, for this workload alone."},
    {"workloads[].settle", "As the node's settle, for this workload alone."},
    {"workloads[].standIn", "What its stand-in has besides its own program."},
    {"workloads[].standIn.path",
     "Where the binary is in the stand-in's container, so that exec probes and preStop hooks of the pod find "
     "it: the path that they execute. By default it is not there."},
    {"workloads[].restart.policy",
     "Like the pod's restartPolicy: with OnFailure and Never, exit code 0 completes the recovery. Without it "
     "Always, and pods of Jobs are not covered."},
    {"workloads[].restart.initialDelay", "The first pause; doubles each time."},
    {"workloads[].restart.maxDelay", "The longest pause."},
    {"workloads[].restart.resetAfter", "Running this long resets the delay."},
    {"workloads[].terminationGrace", "From SIGTERM to SIGKILL when the pod is deleted."},
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
