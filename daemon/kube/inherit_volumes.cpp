// SPDX-License-Identifier: Apache-2.0
// Volumes that kubelet has mounted in the pod's folder, at the paths of the container's volumeMounts.
#include "base/paths.hpp"
#include "base/strings.hpp"
#include "kube/inherit_parts.hpp"
#include "kube/mounted_data.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace fallbackd::kube {

namespace {

using Source = PodVolume::Kind;

bool isPersistent(Source kind) {
  return kind == Source::persistent_volume_claim || kind == Source::ephemeral;
}

/// Whether the pod has only one volume in kubelet's folder for CSI volumes.
bool isOnlyCsi(const Pod& pod) {
  return std::count_if(pod.volumes.begin(), pod.volumes.end(), [](const PodVolume& one) {
           return isPersistent(one.kind) || one.kind == Source::csi;
         }) == 1;
}

/// The folder of a claim's volume has the volume's name, which only the API knows. A single volume needs no
/// name.
std::optional<std::string> persistentName(const Inheritance& to, const PodVolume& volume) {
  const auto& pod = to.request.pod;
  const auto claim = volume.kind == Source::ephemeral ? pod.name + "-" + volume.name : volume.claimName;
  const auto& known = to.request.facts.persistentVolumes;
  if (const auto found = known.find(claim); found != known.end()) return found->second;
  if (isOnlyCsi(pod)) return std::string();
  to.refuse(volume.path, "which persistent volume is behind the claim " + quoted(claim) +
                             " is not known, and the pod has several");
  return std::nullopt;
}

bool isAllowedHostPath(const Inheritance& to, const std::string& path) {
  const auto& allowed = to.request.launcher.allowedHostPaths;
  return isCleanPath(path) && path != "/" &&
         std::any_of(allowed.begin(), allowed.end(), [&](const std::string& folder) {
           return path == folder || path.starts_with(folder + "/");
         });
}

/// Kind, name and path; empty if a fallback cannot have the volume, which is reported.
std::optional<config::Volume> sourceOf(const Inheritance& to, const PodVolume& volume) {
  using To = config::Volume::Kind;
  config::Volume out;
  out.name = volume.name;
  out.readOnly = false;
  switch (volume.kind) {
    case Source::config_map:
      out.kind = To::config_map;
      break;
    case Source::secret:
      out.kind = To::secret;
      break;
    case Source::projected:
      out.kind = To::projected;
      break;
    case Source::downward_api:
      out.kind = To::downward_api;
      break;
    case Source::empty_dir:
      out.kind = To::empty_dir;
      return out;
    case Source::csi:
      out.kind = To::csi;
      out.readOnly = volume.readOnly;
      return out;
    case Source::ephemeral:
    case Source::persistent_volume_claim: {
      auto name = persistentName(to, volume);
      if (!name) return std::nullopt;
      out.kind = To::csi;
      out.name = std::move(*name);
      out.readOnly = volume.readOnly;
      return out;
    }
    case Source::host_path:
      out.kind = To::host_path;
      out.path = normalizedPath(volume.hostPath);
      if (isAllowedHostPath(to, out.path)) return out;
      to.refuse(volume.path + ".hostPath",
                quoted(volume.hostPath) + " is not below any folder in launcher.allowedHostPaths");
      return std::nullopt;
    case Source::other:
      to.refuse(volume.path, "a fallback cannot have volumes of the kind " + quoted(volume.source));
      return std::nullopt;
  }
  out.readOnly = true;  // only kubelet changes what kubelet writes
  return out;
}

/// Whether a fallback has its own mount there.
bool isReserved(const std::string& path) {
  const auto at = [&](std::string_view place) {
    return path == place || (path.starts_with(place) && path[place.size()] == '/');
  };
  return path == "/" || path == "/dev" || at("/proc") || at("/sys");
}

std::optional<config::Volume> mounted(const Inheritance& to, const ContainerEnvironment& environment,
                                      const VolumeMount& mount, const std::string& path) {
  const auto* const volume = volumeNamed(to.request.pod, mount.name);
  if (volume == nullptr) {
    to.refuse(path, "the pod has no volume " + quoted(mount.name));
    return std::nullopt;
  }
  const auto inside = normalizedPath(mount.mountPath);
  if (isReserved(inside)) {
    to.refuse(path + ".mountPath", "nothing can be mounted at " + quoted(inside));
    return std::nullopt;
  }
  auto out = sourceOf(to, *volume);
  if (!out) return std::nullopt;
  out->mountPath = inside;
  out->readOnly = out->readOnly || mount.readOnly;
  const bool expression = !mount.subPathExpr.empty();
  out->subPath =
      expression ? environment.expandSubPath(mount.subPathExpr, path + ".subPathExpr", to.out.notInherited)
                 : mount.subPath;
  if (out->subPath.empty()) return out;
  const auto clean = normalizedPath(out->subPath);
  const auto parts = split(out->subPath, '/');
  if (out->subPath.starts_with('/') || std::find(parts.begin(), parts.end(), "..") != parts.end()) {
    to.refuse(path + (expression ? ".subPathExpr" : ".subPath"),
              quoted(expression ? mount.subPathExpr : mount.subPath) +  // never a variable's value
                  " must be relative and must not contain ..");
    return std::nullopt;
  }
  out->subPath = clean == "/" ? std::string() : clean.substr(1);
  return out;
}

}  // namespace

void inheritVolumes(const Inheritance& to, const ContainerEnvironment& environment) {
  auto& volumes = to.out.workload.volumes;
  const auto& container = to.container;
  for (std::size_t i = 0; i < container.volumeMounts.size(); ++i) {
    const auto& mount = container.volumeMounts[i];
    const auto path = to.pathOf("volumeMounts") + "[" + std::to_string(i) + "]";
    const auto inside = normalizedPath(mount.mountPath);
    const bool taken = std::any_of(volumes.begin(), volumes.end(), [&](const config::Volume& one) {
      return normalizedPath(one.mountPath) == inside;
    });
    if (taken) continue;  // the configuration mounts something there
    if (auto volume = mounted(to, environment, mount, path)) volumes.push_back(std::move(*volume));
    if (!mount.mountPropagation.empty() && mount.mountPropagation != "None") {
      to.note(path + ".mountPropagation", "mounts do not propagate between a fallback and the node");
    }
  }
  for (const auto& device : container.volumeDevices) {
    to.refuse(to.pathOf("volumeDevices"), "a fallback cannot have the block volume " + quoted(device));
  }
}

}  // namespace fallbackd::kube
