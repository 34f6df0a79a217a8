// SPDX-License-Identifier: Apache-2.0
#include "kube/mounted_data.hpp"

#include "base/paths.hpp"

#include <algorithm>
#include <vector>

namespace fallbackd::kube {

namespace {

bool isOf(const VolumeData& data, KeyRef::Kind kind, std::string_view name) {
  const auto wanted = kind == KeyRef::Kind::secret ? VolumeData::Kind::secret : VolumeData::Kind::config_map;
  return data.kind == wanted && data.name == name;
}

/// The file of a key, relative to the volume.
std::optional<std::string> fileOf(const PodVolume& volume, const KeyRef& ref) {
  for (const auto& data : volume.data) {
    if (!isOf(data, ref.kind, ref.name)) continue;
    if (data.items.empty()) return ref.key;
    for (const auto& [key, path] : data.items) {
      if (key == ref.key) return path;
    }
  }
  return std::nullopt;
}

/// The rest of the file's path after the mount's sub-path; nullopt if the mount does not show the file.
std::optional<std::string> behindSubPath(const std::string& file, const std::string& subPath) {
  if (subPath.empty()) return "/" + file;
  if (file == subPath) return "";
  if (file.starts_with(subPath + "/")) return file.substr(subPath.size());
  return std::nullopt;
}

}  // namespace

const PodVolume* volumeNamed(const Pod& pod, std::string_view name) {
  const auto found = std::find_if(pod.volumes.begin(), pod.volumes.end(),
                                  [&](const PodVolume& one) { return one.name == name; });
  return found == pod.volumes.end() ? nullptr : &*found;
}

std::optional<std::string> mountedFile(const Pod& pod, const Container& container, const KeyRef& ref) {
  for (const auto& mount : container.volumeMounts) {
    const auto* const volume = volumeNamed(pod, mount.name);
    if (volume == nullptr || !mount.subPathExpr.empty()) continue;
    const auto file = fileOf(*volume, ref);
    if (!file) continue;
    if (const auto rest = behindSubPath(*file, mount.subPath)) return normalizedPath(mount.mountPath + *rest);
  }
  return std::nullopt;
}

std::string volumeShowing(const Pod& pod, KeyRef::Kind kind, std::string_view name) {
  for (const auto& volume : pod.volumes) {
    if (std::any_of(volume.data.begin(), volume.data.end(),
                    [&](const VolumeData& data) { return isOf(data, kind, name); })) {
      return volume.name;
    }
  }
  return {};
}

}  // namespace fallbackd::kube
