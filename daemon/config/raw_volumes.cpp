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
    map.problem("mountPath", quoted(out) + " is mounted on twice", "keep one of the two volumes");
  }
}

/// The node's own file system, below what the launcher's settings open for it.
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
    map.problem("path", quoted(out) + " is below no folder that hostPath volumes may be in",
                "name one in launcher.allowedHostPaths");
  }
}

/// kubelet's folder of a persistent volume has the volume's own name, which is no label of Kubernetes' kind
/// only by its length.
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
                "leave it away where the pod has one CSI volume only");
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
