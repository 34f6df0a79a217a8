// SPDX-License-Identifier: Apache-2.0
#include "base/paths.hpp"
#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/raw_parts.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::config {

namespace {

void readMountPath(const MapReader& map, const std::vector<Volume>& others, std::string& out) {
  static_cast<void>(map.require("mountPath", "/etc/app"));
  if (!map.read("mountPath", out)) return;
  if (!isCleanPath(out) || out == "/") {
    map.problem("mountPath", quoted(out) + " must be an absolute path below /, without . and ..");
  }
  for (const std::string_view ours : {"/proc", "/dev", "/sys"}) {
    if (out == ours || out.starts_with(std::string(ours) + "/")) {
      map.problem("mountPath", "nothing can be mounted on or below " + std::string(ours));
    }
  }
  if (std::any_of(others.begin(), others.end(), [&](const Volume& one) { return one.mountPath == out; })) {
    map.problem("mountPath", quoted(out) + " is used twice", "keep one of the two volumes");
  }
}

/// A path on the node, below a folder that the launcher's settings allow.
void readHostPath(const MapReader& map, const LauncherSettings& settings, std::string& out) {
  static_cast<void>(map.require("path", "/var/lib/shared"));
  if (!map.read("path", out)) return;
  if (!isCleanPath(out) || out == "/") {
    map.problem("path", quoted(out) + " must be an absolute path below /, without . and ..");
    return;
  }
  const auto& allowed = settings.allowedHostPaths;
  if (std::none_of(allowed.begin(), allowed.end(), [&](const std::string& folder) {
        return out == folder || out.starts_with(folder + "/");
      })) {
    map.problem("path", quoted(out) + " is not below a folder of launcher.allowedHostPaths", "add one there");
  }
}

/// kubelet names a persistent volume's folder after the volume. Such a name can be longer than a Kubernetes
/// label.
void readName(const MapReader& map, Volume& volume) {
  if (volume.kind != Volume::Kind::csi) {
    static_cast<void>(map.require("name", "NAME"));
    readDnsLabel(map, "name", volume.name);
    return;
  }
  std::string name;
  if (!map.read("name", name)) return;
  if (name.empty() || name.size() > 253 || name.front() == '.' || name.find('/') != std::string::npos) {
    map.problem("name", quoted(name) + " is not the name of a persistent volume",
                "leave it out if the pod has only one CSI volume");
  }
  volume.name = std::move(name);
}

}  // namespace

void readVolume(const Place& place, const LauncherSettings& settings, std::vector<Volume>& out) {
  const MapReader map(place, {"name", "type", "path", "mountPath", "subPath", "readOnly"});
  if (!map.valid()) return;
  Volume volume;
  static_cast<void>(map.require("type", "configMap"));
  if (const auto i = map.choice(
          "type", {"configMap", "secret", "projected", "emptyDir", "downwardAPI", "csi", "hostPath"})) {
    volume.kind = static_cast<Volume::Kind>(*i);
  }
  readName(map, volume);
  if (volume.kind == Volume::Kind::host_path) {
    readHostPath(map, settings, volume.path);
  } else {
    map.forbid("path", "only a hostPath volume has a path on the node",
               "use subPath for a part of the volume");
  }
  volume.readOnly = volume.kind != Volume::Kind::empty_dir;
  map.read("readOnly", volume.readOnly);
  readMountPath(map, out, volume.mountPath);
  if (map.read("subPath", volume.subPath) && !isCleanPath("/" + volume.subPath)) {
    map.problem("subPath", quoted(volume.subPath) + " must be a relative path without . and ..");
  }
  out.push_back(std::move(volume));
}

}  // namespace fallbackd::config
