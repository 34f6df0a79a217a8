// SPDX-License-Identifier: Apache-2.0
#include "kubelet/rules.hpp"

#include "pod_json.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sys/stat.h>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

bool flag(const json::object* object, std::string_view key, bool otherwise = false) {
  const auto* const found = object == nullptr ? nullptr : object->if_contains(key);
  return found != nullptr && found->is_bool() ? found->as_bool() : otherwise;
}

std::vector<std::string> words(const json::object& object, std::string_view key) {
  std::vector<std::string> all;
  const auto* const list = object.if_contains(key);
  if (list != nullptr) {
    for (const auto& item : list->as_array()) all.emplace_back(item.as_string());
  }
  return all;
}

/// The container's value takes precedence over the pod's.
const json::value* effective(const json::object& pod, const json::object& container, std::string_view key) {
  for (const auto* const context :
       {childOf(container, "securityContext"), childOf(pod.at("spec").as_object(), "securityContext")}) {
    const auto* const found = context == nullptr ? nullptr : context->if_contains(key);
    if (found != nullptr) return found;
  }
  return nullptr;
}

Texts itemsOf(const json::object& source, const Texts& data) {
  const auto* const items = source.if_contains("items");
  if (items == nullptr) return data;
  Texts files;
  for (const auto& item : items->as_array()) {
    const auto& one = item.as_object();
    if (const auto found = data.find(textOf(one, "key")); found != data.end())
      files[textOf(one, "path")] = found->second;
  }
  return files;
}

Texts downwardFiles(const json::object& source) {
  Texts files;
  for (const auto& item : source.at("items").as_array()) {
    const auto& one = item.as_object();
    files[textOf(one, "path")] = textOf(one.at("fieldRef").as_object(), "fieldPath") + "\n";
  }
  return files;
}

Texts dataOf(const std::map<std::string, Texts>& all, const std::string& name) {
  const auto found = all.find(name);
  return found == all.end() ? Texts() : found->second;
}

Texts projectedFiles(const json::object& projected, const Surroundings& around) {
  Texts files;
  for (const auto& item : projected.at("sources").as_array()) {
    const auto& source = item.as_object();
    if (const auto* const map = childOf(source, "configMap")) {
      files.merge(itemsOf(*map, dataOf(around.configMaps, textOf(*map, "name"))));
    } else if (const auto* const secret = childOf(source, "secret")) {
      files.merge(itemsOf(*secret, dataOf(around.secrets, textOf(*secret, "name"))));
    } else if (const auto* const downward = childOf(source, "downwardAPI")) {
      files.merge(downwardFiles(*downward));
    } else if (const auto* const token = childOf(source, "serviceAccountToken")) {
      files[textOf(*token, "path")] = "a token for " + textOf(*token, "audience", "the API server");
    }
  }
  return files;
}

std::optional<PodVolume> volumeOf(const json::object& volume, const Surroundings& around) {
  PodVolume out;
  out.name = textOf(volume, "name");
  if (const auto* const map = childOf(volume, "configMap")) {
    out.kind = PodVolume::Kind::config_map;
    out.files = itemsOf(*map, dataOf(around.configMaps, textOf(*map, "name")));
  } else if (const auto* const secret = childOf(volume, "secret")) {
    out.kind = PodVolume::Kind::secret;
    out.files = itemsOf(*secret, dataOf(around.secrets, textOf(*secret, "secretName")));
  } else if (const auto* const projected = childOf(volume, "projected")) {
    out.kind = PodVolume::Kind::projected;
    out.files = projectedFiles(*projected, around);
  } else if (const auto* const downward = childOf(volume, "downwardAPI")) {
    out.kind = PodVolume::Kind::downward_api;
    out.files = downwardFiles(*downward);
  } else if (childOf(volume, "emptyDir") != nullptr) {
    out.kind = PodVolume::Kind::empty_dir;
  } else {
    return std::nullopt;
  }
  return out;
}

const json::array* volumesOf(const json::object& pod) {
  const auto* const found = pod.at("spec").as_object().if_contains("volumes");
  return found == nullptr ? nullptr : &found->as_array();
}

/// Empty: the volume does not use a claim.
std::string claimOf(const json::object& pod, const json::object& volume) {
  if (const auto* const claim = childOf(volume, "persistentVolumeClaim")) return textOf(*claim, "claimName");
  if (volume.contains("ephemeral"))
    return textOf(pod.at("metadata").as_object(), "name") + "-" + textOf(volume, "name");
  return {};
}

fs::path claimFolder(const fs::path& podFolder, const std::string& claim, const Surroundings& around) {
  const auto found = around.volumeOfClaim.find(claim);
  return podFolder / "volumes" / "kubernetes.io~csi" /
         (found == around.volumeOfClaim.end() ? "pv-" + claim : found->second) / "mount";
}

/// Creates a sub-path that does not exist yet with the modes of its volume.
Result<> makeSubPath(const fs::path& volume, const std::string& subPath) {
  std::error_code error;
  if (fs::exists(volume / subPath, error)) return {};
  fs::create_directories(volume / subPath, error);
  if (error) return fail(Stage::cli, Reason::system, "create " + (volume / subPath).string(), error.value());
  for (auto at = volume / subPath; at != volume; at = at.parent_path())
    fs::permissions(at, fs::perms(0777), error);
  return {};
}

Result<> addMounts(const json::object& pod, const json::object& container, const Texts& variables,
                   const Pod& running, const Surroundings& around, ContainerSpec& out) {
  const auto* const mounts = container.if_contains("volumeMounts");
  if (mounts == nullptr) return {};
  for (const auto& item : mounts->as_array()) {
    const auto& mount = item.as_object();
    const auto name = textOf(mount, "name");
    const auto* const list = volumesOf(pod);
    const auto* const volume =
        list == nullptr ? nullptr : std::find_if(list->begin(), list->end(), [&](const json::value& one) {
          return textOf(one.as_object(), "name") == name;
        });
    if (volume == nullptr || volume == list->end())
      return fail(Stage::config, Reason::not_found, "volume " + name);
    HostMount to;
    to.mountPath = textOf(mount, "mountPath");
    to.readOnly = flag(&mount, "readOnly");
    to.hostToContainer = textOf(mount, "mountPropagation") == "HostToContainer";
    const auto known = volumeOf(volume->as_object(), around);
    if (known) {
      to.hostPath = running.folder / "volumes" / volumePluginFolder(known->kind) / name;
      to.readOnly = to.readOnly || known->kind != PodVolume::Kind::empty_dir;
    } else if (const auto claim = claimOf(pod, volume->as_object()); !claim.empty()) {
      to.hostPath = claimFolder(running.folder, claim, around);
    } else {
      to.hostPath = textOf(volume->at("hostPath").as_object(), "path");
    }
    auto subPath = textOf(mount, "subPath");
    if (mount.contains("subPathExpr")) subPath = expandVariables(textOf(mount, "subPathExpr"), variables);
    if (!subPath.empty()) {
      FB_CHECK(makeSubPath(to.hostPath, subPath));
      to.hostPath = fs::canonical(fs::path(to.hostPath) / subPath);
    }
    out.hostMounts.push_back(std::move(to));
  }
  return {};
}

/// Creates the file for the container's termination message.
Result<> addTerminationLog(const json::object& container, const Pod& running, ContainerSpec& out) {
  const auto folder = running.folder / "containers" / out.name;
  FB_CHECK(sys::makeDirs(Stage::cli, folder, 0750));
  const auto file = folder / "termination-log";
  if (!std::ofstream(file)) return fail(Stage::cli, Reason::system, "create " + file.string());
  if (::chmod(file.c_str(), 0666) != 0) return failErrno(Stage::cli, "chmod " + file.string());
  out.hostMounts.push_back(
      {file, textOf(container, "terminationMessagePath", "/dev/termination-log"), false, false});
  return {};
}

std::string hostsOf(const json::object& pod, const Pod& running) {
  const auto& spec = pod.at("spec").as_object();
  if (flag(&spec, "hostNetwork")) {
    std::ifstream node("/etc/hosts");
    return "# Kubernetes-managed hosts file (host network).\n" +
           std::string(std::istreambuf_iterator<char>(node), std::istreambuf_iterator<char>());
  }
  const auto host = textOf(spec, "hostname", running.spec.name);
  std::string names = host;
  if (const auto subdomain = textOf(spec, "subdomain"); !subdomain.empty()) {
    names = host + "." + subdomain + "." + running.spec.namespaceName + ".svc.cluster.local\t" + host;
  }
  std::string hosts =
      "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
      "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n" +
      running.ip + "\t" + names + "\n";
  if (const auto* const aliases = spec.if_contains("hostAliases")) {
    hosts += "\n# Entries added by HostAliases.\n";
    for (const auto& alias : aliases->as_array()) {
      hosts += textOf(alias.as_object(), "ip");
      for (const auto& name : words(alias.as_object(), "hostnames")) hosts += "\t" + name;
      hosts += "\n";
    }
  }
  return hosts;
}

/// The user's number, if the image has one; kubelet does not pass on its group.
void setUser(const json::object& pod, const json::object& container, const std::string& imageUser,
             ContainerSpec& out) {
  if (const auto* const user = effective(pod, container, "runAsUser")) {
    out.runAsUser = user->to_number<std::int64_t>();
    return;
  }
  const auto name = imageUser.substr(0, imageUser.find(':'));
  std::int64_t number = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
  if (name.empty() || (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size())) {
    out.runAsUser = number;
  } else {
    out.runAsUsername = name;
  }
}

SecurityContext securityOf(const json::object& pod, const json::object& container) {
  SecurityContext out;
  const auto* const own = childOf(container, "securityContext");
  if (const auto* const capabilities = own == nullptr ? nullptr : childOf(*own, "capabilities")) {
    out.addCapabilities = words(*capabilities, "add");
    out.dropCapabilities = words(*capabilities, "drop");
  }
  out.readOnlyRoot = flag(own, "readOnlyRootFilesystem");
  out.noNewPrivileges = !flag(own, "allowPrivilegeEscalation", true);
  const auto* const seccomp = effective(pod, container, "seccompProfile");
  // seccompDefault is off by default.
  out.seccompUnconfined = seccomp == nullptr || textOf(seccomp->as_object(), "type") == "Unconfined";
  if (const auto* const group = effective(pod, container, "runAsGroup"))
    out.runAsGroup = group->to_number<std::int64_t>();
  if (const auto* const ofPod = childOf(pod.at("spec").as_object(), "securityContext")) {
    if (const auto* const group = ofPod->if_contains("fsGroup"))
      out.supplementalGroups.push_back(group->to_number<std::int64_t>());
    if (const auto* const groups = ofPod->if_contains("supplementalGroups")) {
      for (const auto& group : groups->as_array())
        out.supplementalGroups.push_back(group.to_number<std::int64_t>());
    }
  }
  return out;
}

std::optional<std::int64_t> amount(const json::object& container, std::string_view kind,
                                   std::string_view name) {
  const auto* const resources = childOf(container, "resources");
  const auto* const part = resources == nullptr ? nullptr : childOf(*resources, kind);
  return part == nullptr ? std::nullopt : milliQuantity(textOf(*part, name));
}

enum class Quality : std::uint8_t { guaranteed, burstable, best_effort };

Quality qualityOf(const json::object& pod) {
  bool any = false;
  bool all = true;
  for (const char* const list : {"containers", "initContainers"}) {
    const auto* const found = pod.at("spec").as_object().if_contains(list);
    if (found == nullptr) continue;
    for (const auto& item : found->as_array()) {
      for (const char* const name : {"cpu", "memory"}) {
        const auto limit = amount(item.as_object(), "limits", name);
        const auto request = amount(item.as_object(), "requests", name);
        any = any || limit || request;
        all = all && limit && (!request || *request == *limit);
      }
    }
  }
  return !any ? Quality::best_effort : all ? Quality::guaranteed : Quality::burstable;
}

std::int64_t memoryOfNode() {
  std::ifstream info("/proc/meminfo");
  std::string name;
  std::int64_t kibi = 0;
  info >> name >> kibi;
  return kibi * 1024;
}

std::int64_t oomScoreOf(const json::object& pod, const json::object& container) {
  constexpr std::int64_t kGuaranteed = -997;
  constexpr std::int64_t kBestEffort = 1000;
  const auto quality = qualityOf(pod);
  if (quality == Quality::guaranteed) return kGuaranteed;
  if (quality == Quality::best_effort) return kBestEffort;
  const auto request =
      amount(container, "requests", "memory").value_or(amount(container, "limits", "memory").value_or(0));
  const auto score = kBestEffort - kBestEffort * (request / 1000) / memoryOfNode();
  return std::clamp<std::int64_t>(score, kBestEffort + kGuaranteed, kBestEffort - 1);
}

void setResources(const json::object& pod, const json::object& container, ContainerSpec& out) {
  constexpr std::int64_t kMinShares = 2;
  const auto limit = amount(container, "limits", "cpu");
  const auto request = amount(container, "requests", "cpu");
  out.cpuMillis = limit.value_or(0);
  out.cpuShares = std::max(request.value_or(limit.value_or(0)) * 1024 / 1000, kMinShares);
  out.memoryBytes = amount(container, "limits", "memory").value_or(0) / 1000;
  out.oomScoreAdj = oomScoreOf(pod, container);
}

}  // namespace

const json::object* containerNamed(const json::object& pod, const std::string& name) {
  for (const char* const list : {"containers", "initContainers"}) {
    const auto* const found = pod.at("spec").as_object().if_contains(list);
    if (found == nullptr) continue;
    for (const auto& item : found->as_array()) {
      if (textOf(item.as_object(), "name") == name) return &item.as_object();
    }
  }
  return nullptr;
}

PodSpec sandboxOf(const json::object& pod, const Surroundings& around) {
  const auto& metadata = pod.at("metadata").as_object();
  const auto& spec = pod.at("spec").as_object();
  PodSpec out;
  out.name = textOf(metadata, "name");
  out.namespaceName = textOf(metadata, "namespace");
  out.uid = textOf(metadata, "uid");
  for (const auto& [key, map] : {std::pair{"labels", &out.labels}, {"annotations", &out.annotations}}) {
    const auto* const said = childOf(metadata, key);
    if (said == nullptr) continue;
    for (const auto& entry : *said) (*map)[entry.key()] = std::string(entry.value().as_string());
  }
  out.hostNetwork = flag(&spec, "hostNetwork");
  out.hostPid = flag(&spec, "hostPID");
  out.sharePid = flag(&spec, "shareProcessNamespace");
  if (const auto* const volumes = volumesOf(pod)) {
    for (const auto& item : *volumes) {
      if (auto volume = volumeOf(item.as_object(), around)) out.volumes.push_back(std::move(*volume));
    }
  }
  return out;
}

Result<> makeClaims(const json::object& pod, const fs::path& podFolder, const Surroundings& around) {
  const auto* const volumes = volumesOf(pod);
  if (volumes == nullptr) return {};
  for (const auto& item : *volumes) {
    const auto claim = claimOf(pod, item.as_object());
    if (claim.empty()) continue;
    const auto folder = claimFolder(podFolder, claim, around);
    FB_CHECK(sys::makeDirs(Stage::cli, folder, 0755));
    if (::chmod(folder.c_str(), 0777) != 0) return failErrno(Stage::cli, "chmod " + folder.string());
    std::ofstream(folder / "claim") << claim << "\n";
    // Earlier containers of the claim left these sub-paths.
    for (const auto& container : pod.at("spec").at("containers").as_array()) {
      const auto* const mounts = container.as_object().if_contains("volumeMounts");
      if (mounts == nullptr) continue;
      for (const auto& mount : mounts->as_array()) {
        const auto subPath = textOf(mount.as_object(), "subPath");
        if (textOf(mount.as_object(), "name") == textOf(item.as_object(), "name") && !subPath.empty())
          FB_CHECK(makeSubPath(folder, subPath));
      }
    }
  }
  return {};
}

Result<ContainerSpec> containerOf(const json::object& pod, const std::string& name,
                                  const std::string& imageUser, const Pod& running,
                                  const Surroundings& around) {
  const auto* const container = containerNamed(pod, name);
  if (container == nullptr) return fail(Stage::config, Reason::not_found, "container " + name);
  ContainerSpec out;
  out.name = name;
  out.image = textOf(*container, "image");
  FB_TRY(out.env, variablesOf(pod, *container, running, around));
  for (const auto& word : words(*container, "command")) out.command.push_back(expandVariables(word, out.env));
  for (const auto& word : words(*container, "args")) out.args.push_back(expandVariables(word, out.env));
  out.workingDir = textOf(*container, "workingDir");
  setUser(pod, *container, imageUser, out);
  out.security = securityOf(pod, *container);
  setResources(pod, *container, out);
  FB_CHECK(addMounts(pod, *container, out.env, running, around, out));
  FB_CHECK(addTerminationLog(*container, running, out));
  out.hosts = hostsOf(pod, running);
  return out;
}

}  // namespace fallbackd::e2e
