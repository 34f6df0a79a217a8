// SPDX-License-Identifier: Apache-2.0
#include "daemonset.hpp"

#include <algorithm>
#include <exception>
#include <map>
#include <set>

#include <yaml-cpp/yaml.h>

namespace fallbackd::e2e {

namespace {

constexpr const char* kDaemonsNamespace = "fallbackd-system";

tl::unexpected<Error> bad(const std::string& what) {
  return fail(Stage::cli, Reason::invalid, what);
}

/// Without this check the tests could miss a privilege that is added to the manifest.
Result<> onlyKnown(const YAML::Node& map, const std::string& where, const std::set<std::string>& known) {
  for (const auto& entry : map) {
    const auto key = entry.first.as<std::string>();
    if (!known.contains(key)) return bad(where + "." + key + " is not understood by readDaemonSet");
  }
  return {};
}

std::vector<std::string> texts(const YAML::Node& list) {
  return list ? list.as<std::vector<std::string>>() : std::vector<std::string>{};
}

Result<SecurityContext> readSecurity(const YAML::Node& node) {
  FB_CHECK(onlyKnown(node, "securityContext",
                     {"runAsUser", "runAsGroup", "allowPrivilegeEscalation", "readOnlyRootFilesystem",
                      "seccompProfile", "appArmorProfile", "capabilities"}));
  SecurityContext security;
  security.addCapabilities = texts(node["capabilities"]["add"]);
  security.dropCapabilities = texts(node["capabilities"]["drop"]);
  security.readOnlyRoot = node["readOnlyRootFilesystem"].as<bool>(false);
  security.noNewPrivileges = !node["allowPrivilegeEscalation"].as<bool>(true);
  const auto profile = node["seccompProfile"]["type"].as<std::string>("RuntimeDefault");
  if (profile != "Unconfined" && profile != "RuntimeDefault") return bad("seccompProfile " + profile);
  security.seccompUnconfined = profile == "Unconfined";
  security.runAsGroup = node["runAsGroup"].as<std::int64_t>(0);
  return security;
}

Result<> readMounts(const YAML::Node& mounts, const YAML::Node& volumes, DaemonSet& out) {
  std::map<std::string, YAML::Node> byName;
  for (const YAML::Node& volume : volumes) byName.emplace(volume["name"].as<std::string>(), volume);
  for (const auto& mount : mounts) {
    FB_CHECK(onlyKnown(mount, "volumeMounts", {"name", "mountPath", "readOnly", "mountPropagation"}));
    const auto name = mount["name"].as<std::string>();
    const auto path = mount["mountPath"].as<std::string>();
    const bool readOnly = mount["readOnly"].as<bool>(false);
    const auto& volume = byName[name];
    if (volume["configMap"]) {
      out.container.mounts.push_back({name, path, readOnly});
      continue;
    }
    if (volume["projected"]) continue;  // the token: there is no API server to use it with
    const auto host = volume["hostPath"];
    if (!host) return bad("volume " + name + " is neither configMap nor hostPath");
    const auto propagation = mount["mountPropagation"].as<std::string>("None");
    if (propagation != "None" && propagation != "HostToContainer") return bad("propagation " + propagation);
    out.host.push_back({host["path"].as<std::string>(), path, readOnly, propagation == "HostToContainer"});
    if (host["type"].as<std::string>("") == "DirectoryOrCreate")
      out.makeFolders.push_back(out.host.back().hostPath);
  }
  return {};
}

Result<> readEnv(const YAML::Node& variables, std::map<std::string, std::string>& env) {
  // The bridge's address stands for the node's address.
  const std::map<std::string, std::string> fields{{"spec.nodeName", "e2e-node"},
                                                  {"status.hostIP", "10.85.0.1"},
                                                  {"metadata.namespace", kDaemonsNamespace}};
  for (const auto& variable : variables) {
    auto& value = env[variable["name"].as<std::string>()];
    value = variable["value"].as<std::string>("");
    if (const std::string name = "$(POD_NAMESPACE)"; value.starts_with(name)) {
      value.replace(0, name.size(), env.at("POD_NAMESPACE"));
    }
    if (!variable["valueFrom"]) continue;
    const auto field = variable["valueFrom"]["fieldRef"]["fieldPath"].as<std::string>("");
    const auto known = fields.find(field);
    if (known == fields.end()) return bad("env from " + field);
    value = known->second;
  }
  return {};
}

Result<DaemonSet> fromYaml(const YAML::Node& root, const std::string& list) {
  if (root["kind"].as<std::string>("") != "DaemonSet") return bad("not a DaemonSet");
  const auto spec = root["spec"]["template"]["spec"];
  FB_CHECK(
      onlyKnown(spec, "spec.template.spec",
                {"serviceAccountName", "automountServiceAccountToken", "enableServiceLinks",
                 "priorityClassName", "hostPID", "dnsPolicy", "terminationGracePeriodSeconds", "nodeSelector",
                 "tolerations", "containers", "initContainers", "volumes", "hostNetwork"}));
  if (spec[list].size() != 1) return bad(list + " must have exactly one container");
  const auto container = spec[list][0];
  FB_CHECK(onlyKnown(container, "container",
                     {"name", "image", "imagePullPolicy", "args", "env", "ports", "securityContext",
                      "resources", "startupProbe", "livenessProbe", "readinessProbe", "volumeMounts"}));
  DaemonSet out;
  out.name = root["metadata"]["name"].as<std::string>();
  out.hostPid = spec["hostPID"].as<bool>(false);
  out.hostNetwork = spec["hostNetwork"].as<bool>(false);
  out.container.name = container["name"].as<std::string>();
  out.container.args = texts(container["args"]);
  FB_CHECK(readEnv(container["env"], out.container.env));
  out.container.runAsUser = container["securityContext"]["runAsUser"].as<std::int64_t>();
  FB_TRY(out.container.security, readSecurity(container["securityContext"]));
  FB_CHECK(readMounts(container["volumeMounts"], spec["volumes"], out));
  const auto live = container["livenessProbe"];
  if (!live) return out;
  for (const auto& port : container["ports"]) {
    if (port["name"].as<std::string>() != live["httpGet"]["port"].as<std::string>()) continue;
    out.probePort = port["containerPort"].as<std::uint16_t>();
  }
  out.livenessPath = live["httpGet"]["path"].as<std::string>();
  out.readinessPath = container["readinessProbe"]["httpGet"]["path"].as<std::string>();
  return out;
}

}  // namespace

PodSpec DaemonSet::pod() const {
  PodSpec spec;
  spec.name = name + "-x7k2p";
  spec.namespaceName = kDaemonsNamespace;
  spec.labels = {{"app.kubernetes.io/name", name}};
  spec.hostPid = hostPid;
  spec.hostNetwork = hostNetwork;
  return spec;
}

Result<DaemonSet> readDaemonSet(const std::filesystem::path& file, const std::string& list) {
  try {
    auto read = fromYaml(YAML::LoadFile(file), list);
    if (!read) read.error().context = file.string() + ": " + read.error().context;
    return read;
  } catch (const std::exception& error) {
    return bad(file.string() + ": " + error.what());
  }
}

}  // namespace fallbackd::e2e
