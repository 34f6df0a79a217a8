// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/workload_lines.hpp"

#include "base/paths.hpp"
#include "base/strings.hpp"
#include "config/security_names.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <variant>

namespace fallbackd::ctl {

namespace {

constexpr const char* kOnlyInherited =
    "a workload cannot express it; with kubernetes.sources it is taken from the pod";

std::string pair(std::string_view key, const std::string& value) {
  return yamlQuoted(key) + ": " + value;
}

std::string yamlMap(const std::map<std::string, std::string>& map) {
  std::string out = "{";
  for (const auto& [key, value] : map) out += (out.size() > 1 ? ", " : "") + pair(key, yamlQuoted(value));
  return out + "}";
}

std::string seconds(config::nanoseconds duration) {
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return millis % 1000 == 0 ? std::to_string(millis / 1000) + "s" : std::to_string(millis) + "ms";
}

void writeProcess(const config::Workload& workload, WorkloadLines& out) {
  if (!workload.argv0.empty()) {
    out.note("the container starts " + fallbackd::quoted(workload.argv0) + "; here it is the binary");
  }
  if (!workload.args.empty()) out.line("args: " + yamlList(workload.args));
  if (workload.workingDir != "/") out.line("workingDir: " + yamlQuoted(workload.workingDir));
  if (!workload.env.empty()) out.line("env: " + yamlMap(workload.env));
  if (workload.serviceVariables) out.line("serviceVariables: true");
}

void writeUser(const config::Workload& workload, WorkloadLines& out) {
  const auto& user = workload.user;
  std::string groups;
  for (const auto group : user.groups) groups += (groups.empty() ? "" : ", ") + std::to_string(group);
  out.line("user: {uid: " + std::to_string(user.uid) + ", gid: " + std::to_string(user.gid) +
           (user.uid == 0 ? ", allowRoot: true" : "") + (groups.empty() ? "" : ", groups: [" + groups + "]") +
           "}");
}

void writeProfile(const char* key, const config::SecurityProfile& profile, WorkloadLines& out) {
  using Type = config::SecurityProfile::Type;
  if (profile.type == Type::unconfined) out.line(std::string(key) + ": {type: Unconfined}");
  if (profile.type != Type::localhost) return;
  if (!isCleanPath("/" + profile.localhost)) {
    return out.open(std::string(key) + " " + fallbackd::quoted(profile.localhost) + ": " + kOnlyInherited);
  }
  out.line(std::string(key) + ": {type: Localhost, localhostProfile: " + yamlQuoted(profile.localhost) + "}");
}

void writeSecurity(const config::Security& security, WorkloadLines& out) {
  if (security.capabilities != 0) {
    out.line("capabilities: [" + config::capabilityList(security.capabilities) + "]");
  }
  writeProfile("seccompProfile", security.seccomp, out);
  writeProfile("appArmorProfile", security.appArmor, out);
  if (!security.seLinuxLabel.empty()) out.line("seLinuxLabel: " + yamlQuoted(security.seLinuxLabel));
}

void writeVolumes(const config::Workload& workload, WorkloadLines& out) {
  constexpr std::array kKinds{"configMap",   "secret", "projected", "emptyDir",
                              "downwardAPI", "csi",    "hostPath"};
  std::vector<std::string> lines;
  std::vector<std::string> mounted;
  for (const auto& volume : workload.volumes) {
    if (volume.mountPath.starts_with("/dev/")) {
      out.open("volume " + volume.name + " at " + volume.mountPath + ": " + kOnlyInherited);
      continue;
    }
    std::string line = "  - {";
    if (!volume.name.empty()) line += "name: " + yamlQuoted(volume.name) + ", ";
    line += std::string("type: ") + kKinds.at(static_cast<std::size_t>(volume.kind));
    if (volume.kind == config::Volume::Kind::host_path) line += ", path: " + yamlQuoted(volume.path);
    line += ", mountPath: " + yamlQuoted(volume.mountPath);
    if (!volume.subPath.empty()) line += ", subPath: " + yamlQuoted(volume.subPath);
    const bool usual = volume.kind != config::Volume::Kind::empty_dir;
    if (volume.readOnly != usual) line += std::string(", readOnly: ") + (volume.readOnly ? "true" : "false");
    lines.push_back(line + "}");
    mounted.push_back(volume.mountPath);
  }
  if (!lines.empty()) out.line("volumes:");
  for (const auto& line : lines) out.line(line);
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : workload.envFiles) {
    const bool there = std::any_of(mounted.begin(), mounted.end(), [&, &path = file](const auto& one) {
      return path == one || path.starts_with(one + "/");
    });
    if (there) {
      files.emplace(name, file);
    } else {
      out.open("variable " + fallbackd::quoted(name) + ": " + kOnlyInherited);
    }
  }
  if (!files.empty()) out.line("envFiles: " + yamlMap(files));
}

template <class When>
bool isCommand(const When& when) {
  return std::holds_alternative<config::ReadyWhenCommand>(when);
}

template <class When>
std::string whenOf(const When& when, WorkloadLines& out) {
  if (const auto* const tcp = std::get_if<config::ReadyWhenTcp>(&when))
    return "tcp: {port: " + std::to_string(tcp->port) + "}";
  if (const auto* const http = std::get_if<config::ReadyWhenHttp>(&when)) {
    for (const auto& [name, value] : http->headers)
      out.open("the probe's header " + fallbackd::quoted(name) + ": " + kOnlyInherited);
    return "http: {port: " + std::to_string(http->port) + ", path: " + yamlQuoted(http->path) + "}";
  }
  if (const auto* const grpc = std::get_if<config::ReadyWhenGrpc>(&when)) {
    out.open("the probe by gRPC's health protocol: " + std::string(kOnlyInherited));
    return "tcp: {port: " + std::to_string(grpc->port) + "}";
  }
  if (isCommand(when)) out.open("the probe that runs a command: " + std::string(kOnlyInherited));
  return "exec: {}";
}

void writeProbes(const config::Workload& workload, WorkloadLines& out) {
  const auto& readiness = workload.readiness;
  const auto ready = whenOf(readiness.when, out);
  const bool usual = readiness.timeout == config::Readiness{}.timeout;
  out.line("readiness: {" + ready + (usual ? "" : ", timeout: " + seconds(readiness.timeout)) + "}");
  if (!workload.liveness) return;
  const auto& liveness = *workload.liveness;
  const auto alive = whenOf(liveness.when, out);
  if (isCommand(liveness.when)) return;  // a workload cannot express it, and has nothing instead
  constexpr unsigned kMaxFailures = 100;
  out.line("liveness: {" + alive + ", interval: " + seconds(liveness.interval) +
           ", timeout: " + seconds(liveness.timeout) +
           ", failures: " + std::to_string(std::min(liveness.failures, kMaxFailures)) + "}");
}

void writeResources(const config::Resources& resources, WorkloadLines& out) {
  std::string text;
  if (resources.memoryBytes) text = "memory: " + yamlQuoted(std::to_string(*resources.memoryBytes));
  constexpr double kMaxCpus = 1024;
  if (resources.cpus && *resources.cpus <= kMaxCpus) {
    const auto millis = std::llround(*resources.cpus * 1000);
    text += std::string(text.empty() ? "" : ", ") + "cpu: " + std::to_string(std::max(millis, 1LL)) + "m";
  }
  if (!text.empty()) out.line("resources: {" + text + "}");
}

void writeTheRest(const config::Workload& workload, WorkloadLines& out) {
  const config::Workload usual;
  if (workload.terminationGrace != usual.terminationGrace)
    out.line("terminationGrace: " + seconds(workload.terminationGrace));
  switch (config::pullPolicyOf(workload)) {
    case config::PullPolicy::always:
      out.line("detection: {imagePullPolicy: Always}");
      break;
    case config::PullPolicy::never:
      out.line("detection: {imagePullPolicy: Never}");
      out.open("kubelet never pulls this image: no registry can block it, so it needs no fallback");
      break;
    case config::PullPolicy::if_not_present:
      if (workload.detection.pullPolicy) out.line("detection: {imagePullPolicy: IfNotPresent}");
      break;
  }
  if (!workload.startAfter.empty()) out.line("startAfter: " + yamlList(workload.startAfter));
  if (workload.restart.policy && *workload.restart.policy != config::RestartPolicy::always) {
    out.line(std::string("restart: {policy: ") +
             (*workload.restart.policy == config::RestartPolicy::never ? "Never" : "OnFailure") + "}");
  }
  for (const auto& alias : workload.hostAliases)
    out.open("hostAliases " + alias.ip + " " + join(alias.names, " ") + ": " + kOnlyInherited);
}

}  // namespace

std::string WorkloadLines::oneLine(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
      ' ');
  return text;
}

std::string yamlQuoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.append({'\\', c});
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr std::string_view kHex = "0123456789abcdef";
      out.append({'\\', 'x', kHex[byte >> 4], kHex[byte & 15]});
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string yamlList(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const auto& text : texts) out += (out.size() > 1 ? ", " : "") + yamlQuoted(text);
  return out + "]";
}

void writeWorkload(const config::Workload& workload, WorkloadLines& out) {
  writeProcess(workload, out);
  writeUser(workload, out);
  writeSecurity(workload.security, out);
  writeVolumes(workload, out);
  writeProbes(workload, out);
  writeResources(workload.resources, out);
  writeTheRest(workload, out);
}

}  // namespace fallbackd::ctl
