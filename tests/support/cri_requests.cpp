// SPDX-License-Identifier: Apache-2.0
#include "cri_requests.hpp"

#include <algorithm>

namespace fallbackd::e2e {

namespace {

namespace v1 = runtime::v1;

/// The labels that identify the sandboxes and containers of a pod; kubelet sets them.
template <class Map>
void putPodLabels(const PodSpec& spec, Map& labels) {
  labels["io.kubernetes.pod.name"] = spec.name;
  labels["io.kubernetes.pod.namespace"] = spec.namespaceName;
  labels["io.kubernetes.pod.uid"] = spec.uid;
}

template <class Map>
void override(const std::map<std::string, std::string>& wanted, Map& map) {
  for (const auto& [name, value] : wanted) {
    if (value.empty()) {
      map.erase(name);
    } else {
      map[name] = value;
    }
  }
}

void addMount(v1::ContainerConfig& config, const std::string& inside, const std::string& host,
              bool readOnly) {
  auto* const mount = config.add_mounts();
  mount->set_container_path(inside);
  mount->set_host_path(host);
  mount->set_readonly(readOnly);
}

v1::NamespaceMode pidMode(const PodSpec& spec) {
  if (spec.hostPid) return v1::NODE;
  return spec.sharePid ? v1::POD : v1::CONTAINER;
}

void applySecurity(const SecurityContext& spec, v1::LinuxContainerSecurityContext& security) {
  for (const auto& name : spec.addCapabilities) security.mutable_capabilities()->add_add_capabilities(name);
  for (const auto& name : spec.dropCapabilities) security.mutable_capabilities()->add_drop_capabilities(name);
  security.set_readonly_rootfs(spec.readOnlyRoot);
  security.set_no_new_privs(spec.noNewPrivileges);
  security.mutable_seccomp()->set_profile_type(spec.seccompUnconfined ? v1::SecurityProfile::Unconfined
                                                                      : v1::SecurityProfile::RuntimeDefault);
  if (spec.runAsGroup) security.mutable_run_as_group()->set_value(*spec.runAsGroup);
  for (const auto group : spec.supplementalGroups) security.add_supplemental_groups(group);
}

}  // namespace

void fillResources(const ContainerSpec& spec, v1::LinuxContainerResources& resources) {
  constexpr std::int64_t kPeriodUs = 100'000;
  resources.set_oom_score_adj(spec.oomScoreAdj);
  resources.set_memory_limit_in_bytes(spec.memoryBytes);
  resources.set_cpu_shares(spec.cpuShares);
  if (spec.cpuMillis == 0) return;
  resources.set_cpu_period(kPeriodUs);
  resources.set_cpu_quota(spec.cpuMillis * kPeriodUs / 1000);
}

v1::PodSandboxConfig sandboxConfig(const Pod& pod) {
  const PodSpec& spec = pod.spec;
  v1::PodSandboxConfig config;
  auto* const metadata = config.mutable_metadata();
  metadata->set_name(spec.name);
  metadata->set_namespace_(spec.namespaceName);
  metadata->set_uid(spec.uid);
  metadata->set_attempt(spec.attempt);
  if (!spec.hostNetwork) config.set_hostname(spec.name);
  config.set_log_directory(pod.logDirectory);
  auto* const dns = config.mutable_dns_config();
  dns->add_servers("10.85.0.1");  // the bridge, which is the node itself
  for (const char* domain : {".svc.cluster.local", "svc.cluster.local", "cluster.local"}) {
    dns->add_searches((*domain == '.' ? spec.namespaceName : "") + domain);
  }
  dns->add_options("ndots:5");
  auto& labels = *config.mutable_labels();
  for (const auto& [name, value] : spec.labels) labels[name] = value;
  putPodLabels(spec, labels);
  auto& annotations = *config.mutable_annotations();
  for (const auto& [name, value] : spec.annotations) annotations[name] = value;
  annotations["kubernetes.io/config.source"] = "api";
  auto* const linuxConfig = config.mutable_linux();
  linuxConfig->set_cgroup_parent(pod.cgroupParent);
  auto* const namespaces = linuxConfig->mutable_security_context()->mutable_namespace_options();
  namespaces->set_network(spec.hostNetwork ? v1::NODE : v1::POD);
  namespaces->set_ipc(v1::POD);
  namespaces->set_pid(pidMode(spec));
  return config;
}

v1::ContainerConfig containerConfig(const Pod& pod, const ContainerSpec& spec, const std::string& imageId) {
  v1::ContainerConfig config;
  config.mutable_metadata()->set_name(spec.name);
  config.mutable_metadata()->set_attempt(spec.attempt);
  config.mutable_image()->set_image(imageId);
  for (const auto& word : spec.command) config.add_command(word);
  for (const auto& word : spec.args) config.add_args(word);
  config.set_working_dir(spec.workingDir);
  for (const auto& [name, value] : spec.env) {
    auto* const variable = config.add_envs();
    variable->set_key(name);
    variable->set_value(value);
  }
  for (const auto& mount : spec.mounts) {
    const auto volume = std::find_if(pod.spec.volumes.begin(), pod.spec.volumes.end(),
                                     [&mount](const PodVolume& one) { return one.name == mount.volume; });
    if (volume == pod.spec.volumes.end()) continue;
    addMount(config, mount.mountPath,
             pod.folder / "volumes" / volumePluginFolder(volume->kind) / mount.volume, mount.readOnly);
  }
  for (const auto& mount : spec.hostMounts) {
    addMount(config, mount.mountPath, mount.hostPath, mount.readOnly);
    if (!mount.hostToContainer) continue;
    config.mutable_mounts(config.mounts_size() - 1)->set_propagation(v1::PROPAGATION_HOST_TO_CONTAINER);
  }
  for (const auto& mount : spec.imageMounts) {
    addMount(config, mount.mountPath, "", true);
    config.mutable_mounts(config.mounts_size() - 1)->mutable_image()->set_image(mount.image);
  }
  addMount(config, "/etc/hosts", pod.folder / "etc-hosts", false);
  auto& labels = *config.mutable_labels();
  putPodLabels(pod.spec, labels);
  labels["io.kubernetes.container.name"] = spec.name;
  // containerd ignores the value. KubeletModel sets the right one for each container.
  (*config.mutable_annotations())["io.kubernetes.container.hash"] = "774ada0b";
  (*config.mutable_annotations())["io.kubernetes.container.restartCount"] = std::to_string(spec.attempt);
  override(spec.labels, labels);
  override(spec.annotations, *config.mutable_annotations());
  config.set_log_path(spec.logPath.empty() ? spec.name + "/" + std::to_string(spec.attempt) + ".log"
                                           : spec.logPath);
  auto* const security = config.mutable_linux()->mutable_security_context();
  auto* const namespaces = security->mutable_namespace_options();
  namespaces->set_network(pod.spec.hostNetwork ? v1::NODE : v1::POD);
  namespaces->set_ipc(v1::POD);
  namespaces->set_pid(pidMode(pod.spec));
  if (spec.security) applySecurity(*spec.security, *security);
  if (spec.runAsUser) security->mutable_run_as_user()->set_value(*spec.runAsUser);
  security->set_run_as_username(spec.runAsUsername);
  // kubelet sets them; containerd does not have a default here.
  for (const char* path : {"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                           "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                           "/sys/firmware", "/sys/devices/virtual/powercap"}) {
    security->add_masked_paths(path);
  }
  for (const char* path : {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) {
    security->add_readonly_paths(path);
  }
  fillResources(spec, *config.mutable_linux()->mutable_resources());
  return config;
}

}  // namespace fallbackd::e2e
