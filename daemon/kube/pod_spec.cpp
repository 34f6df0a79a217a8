// SPDX-License-Identifier: Apache-2.0
#include "kube/pod_spec.hpp"

#include "base/strings.hpp"
#include "kube/pod_parts.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::kube {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxPodDepth = 64;

struct VolumeKind {
  std::string_view key;
  PodVolume::Kind kind;
};
constexpr std::array kVolumeKinds{
    VolumeKind{"configMap", PodVolume::Kind::config_map},
    VolumeKind{"secret", PodVolume::Kind::secret},
    VolumeKind{"projected", PodVolume::Kind::projected},
    VolumeKind{"downwardAPI", PodVolume::Kind::downward_api},
    VolumeKind{"emptyDir", PodVolume::Kind::empty_dir},
    VolumeKind{"csi", PodVolume::Kind::csi},
    VolumeKind{"ephemeral", PodVolume::Kind::ephemeral},
    VolumeKind{"persistentVolumeClaim", PodVolume::Kind::persistent_volume_claim},
    VolumeKind{"hostPath", PodVolume::Kind::host_path}};

VolumeData readVolumeData(const Fields& fields, VolumeData::Kind kind, std::string_view nameKey) {
  VolumeData data{kind, fields.text(nameKey), {}};
  fields.each("items",
              [&](const Fields& item) { data.items.emplace_back(item.text("key"), item.text("path")); });
  return data;
}

void readProjected(const Fields& fields, std::vector<VolumeData>& out) {
  fields.each("sources", [&](const Fields& source) {
    if (source.has("configMap")) {
      out.push_back(readVolumeData(source.object("configMap"), VolumeData::Kind::config_map, "name"));
    } else if (source.has("secret")) {
      out.push_back(readVolumeData(source.object("secret"), VolumeData::Kind::secret, "name"));
    } else {
      out.push_back({});
    }
  });
}

void readMetadata(const Fields& fields, Pod& pod) {
  fields.require("name");
  fields.require("namespace");
  pod.name = fields.text("name");
  pod.namespaceName = fields.text("namespace");
  pod.uid = fields.text("uid");
  pod.labels = fields.textMap("labels");
  pod.annotations = fields.textMap("annotations");
  fields.each("ownerReferences", [&](const Fields& owner) {
    if (!owner.boolean("controller").value_or(false)) return;
    pod.ownerKind = owner.text("kind");
    pod.ownerName = owner.text("name");
  });
}

void readSpec(const Fields& fields, Pod& pod) {
  fields.require("containers");
  fields.each("initContainers", [&](const Fields& one) { pod.initContainers.push_back(readContainer(one)); });
  fields.each("containers", [&](const Fields& one) { pod.containers.push_back(readContainer(one)); });
  fields.each("volumes", [&](const Fields& one) { pod.volumes.push_back(readPodVolume(one)); });
  pod.securityContext = readSecurityContext(fields.object("securityContext"));
  pod.resources = readResources(fields.object("resources"));
  fields.each("hostAliases", [&](const Fields& one) {
    pod.hostAliases.push_back({one.text("ip"), one.texts("hostnames")});
  });
  pod.nodeName = fields.text("nodeName");
  pod.serviceAccountName = fields.text("serviceAccountName");
  pod.restartPolicy = fields.text("restartPolicy");
  pod.runtimeClassName = fields.text("runtimeClassName");
  pod.subdomain = fields.text("subdomain");
  pod.osName = fields.object("os").text("name");
  pod.terminationGracePeriodSeconds =
      fields.integer("terminationGracePeriodSeconds", std::numeric_limits<std::int64_t>::min(),
                     std::numeric_limits<std::int64_t>::max());
  fields.each("imagePullSecrets",
              [&](const Fields& one) { pod.imagePullSecrets += one.has("name") ? 1 : 0; });
  pod.enableServiceLinks = fields.boolean("enableServiceLinks").value_or(true);
  pod.hostNetwork = fields.boolean("hostNetwork").value_or(false);
  pod.hostPid = fields.boolean("hostPID").value_or(false);
  pod.hostIpc = fields.boolean("hostIPC").value_or(false);
}

std::vector<std::string> readAddresses(const Fields& status, std::string_view list, std::string_view single) {
  std::vector<std::string> addresses;
  status.each(list, [&](const Fields& one) { addresses.push_back(one.text("ip")); });
  if (addresses.empty() && status.has(single)) addresses.push_back(status.text(single));
  std::erase(addresses, std::string());
  return addresses;
}

void readState(const Fields& status, Pod& pod) {
  status.each("conditions", [&](const Fields& one) {
    if (one.text("type") == "Ready") pod.ready = one.text("status") == "True";
  });
  status.each("containerStatuses", [&](const Fields& one) {
    if (!one.object("state").has("running")) return;
    const auto id = one.text("containerID");  // containerd://ID
    pod.running[one.text("name")] = id.substr(id.rfind('/') + 1);
  });
}

tl::unexpected<Error> notAPod(const std::string& why) {
  return fail(Stage::config, Reason::invalid, "the pod's specification: " + why);
}

}  // namespace

PodVolume readPodVolume(const Fields& fields) {
  PodVolume volume;
  volume.path = fields.path();
  fields.require("name");
  volume.name = fields.text("name");
  for (const auto& key : fields.keys()) {
    if (key == "name") continue;
    volume.source = key;
    volume.kind = PodVolume::Kind::other;
    for (const auto& one : kVolumeKinds) {
      if (one.key == key) volume.kind = one.kind;
    }
  }
  const auto source = fields.object(volume.source);
  switch (volume.kind) {
    case PodVolume::Kind::config_map:
      volume.data.push_back(readVolumeData(source, VolumeData::Kind::config_map, "name"));
      break;
    case PodVolume::Kind::secret:
      volume.data.push_back(readVolumeData(source, VolumeData::Kind::secret, "secretName"));
      break;
    case PodVolume::Kind::projected:
      readProjected(source, volume.data);
      break;
    case PodVolume::Kind::host_path:
      volume.hostPath = source.text("path");
      break;
    case PodVolume::Kind::persistent_volume_claim:
      volume.claimName = source.text("claimName");
      volume.readOnly = source.boolean("readOnly").value_or(false);
      break;
    case PodVolume::Kind::csi:
      volume.readOnly = source.boolean("readOnly").value_or(false);
      break;
    default:
      break;
  }
  return volume;
}

Result<Pod> readPod(const json::value& value) {
  FieldProblems problems;
  const auto root = Fields::of(value, "", problems);
  if (!root.present()) return notAPod("it is not an object");
  if (const auto kind = root.text("kind"); !kind.empty() && kind != "Pod") {
    return notAPod("it is a " + quoted(kind));
  }
  root.require("metadata");
  root.require("spec");
  Pod pod;
  readMetadata(root.object("metadata"), pod);
  readSpec(root.object("spec"), pod);
  const auto status = root.object("status");
  pod.podIps = readAddresses(status, "podIPs", "podIP");
  pod.hostIps = readAddresses(status, "hostIPs", "hostIP");
  readState(status, pod);
  if (!problems.empty()) return notAPod(problems.text());
  return pod;
}

Result<Pod> parsePod(std::string_view text) {
  if (text.size() > kMaxPodBytes) {
    return fail(Stage::config, Reason::too_large,
                "the pod's specification has more than " + std::to_string(kMaxPodBytes) + " bytes");
  }
  json::parse_options options;
  options.max_depth = kMaxPodDepth;
  json::error_code error;
  const auto value = json::parse({text.data(), text.size()}, error, {}, options);
  if (error) return notAPod("not valid JSON: " + error.message());
  return readPod(value);
}

}  // namespace fallbackd::kube
