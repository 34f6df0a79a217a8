// SPDX-License-Identifier: Apache-2.0
#include "base/paths.hpp"
#include "base/strings.hpp"
#include "config/drill.hpp"
#include "config/names.hpp"
#include "config/quantity.hpp"
#include "config/raw.hpp"
#include "config/raw_parts.hpp"
#include "domain/stand_in.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::uint64_t kMaxPids = 4194304;  // PID_MAX_LIMIT
constexpr std::size_t kMaxStandInPath = 99;  // what one header of a tar file holds

void readLabels(const Place& place, std::map<std::string, std::string>& out) {
  eachEntry(place, [&](const std::string& key, const Place& keyPlace, const Place& value) {
    if (!isLabelKey(key)) {
      keyPlace.problem(quoted(key) + " is not the key of a label that Kubernetes accepts",
                       "[PREFIX/]NAME, for example app.kubernetes.io/name");
    }
    const auto text = scalar(value, "a string");
    if (!text) return;
    if (!isLabelValue(*text)) {
      value.problem(quoted(*text) + " is not the value of a label that Kubernetes accepts",
                    "A-Z, a-z, 0-9, -, _ and ., at most 63 characters");
    }
    out.emplace(key, *text);
  });
}

void readMatch(const Place& place, RawWorkload& out) {
  out.matchPosition = place.position();
  const auto before = place.problems->count();
  const MapReader map(place, {"namespace", "labels", "container"});
  auto& match = out.workload.match;
  std::string ns;
  if (readDnsLabel(map, "namespace", ns)) match.namespaceName = ns;
  if (const auto labels = map.find("labels")) readLabels(*labels, match.labels);
  static_cast<void>(map.require("container", "NAME"));
  readDnsLabel(map, "container", match.container);
  // A partly read match would seem to overlap with others.
  out.matchable = place.problems->count() == before && !match.container.empty();
}

void readHealthCheck(const Place& place, HealthCheck& out) {
  const MapReader map(place, {"args", "timeout"});
  map.read("args", out.args);
  map.duration("timeout", out.timeout);
}

std::uint16_t readPort(const MapReader& map) {
  static_cast<void>(map.require("port", "8080"));
  return static_cast<std::uint16_t>(map.integer("port", 1, 65535).value_or(0));
}

ReadyWhenHttp readHttp(const Place& place) {
  const MapReader map(place, {"port", "path"});
  ReadyWhenHttp when;
  when.port = readPort(map);
  if (map.read("path", when.path) &&
      (!when.path.starts_with('/') || when.path.find_first_of(" \t\r\n") != std::string::npos)) {
    map.problem("path", quoted(when.path) + " must begin with / and hold no spaces");
  }
  return when;
}

void readReadiness(const Place& place, Readiness& out) {
  const MapReader map(place, {"tcp", "http", "exec", "timeout"});
  map.duration("timeout", out.timeout);
  int ways = 0;
  if (const auto exec = map.find("exec")) {
    ++ways;
    const MapReader inner(*exec, {});
  }
  if (const auto tcp = map.find("tcp")) {
    ++ways;
    out.when = ReadyWhenTcp{readPort(MapReader(*tcp, {"port"}))};
  }
  if (const auto http = map.find("http")) {
    ++ways;
    out.when = readHttp(*http);
  }
  if (ways > 1) place.problem("has more than one of tcp, http and exec", "keep one of them");
}

void readLiveness(const Place& place, std::optional<Liveness>& out) {
  const MapReader map(place, {"tcp", "http", "interval", "timeout", "failures"});
  if (!map.valid()) return;
  auto& liveness = out.emplace();
  if (map.has("tcp") == map.has("http"))
    place.problem("must have one of tcp and http", "keep or add one of them");
  if (const auto tcp = map.find("tcp")) liveness.when = ReadyWhenTcp{readPort(MapReader(*tcp, {"port"}))};
  if (const auto http = map.find("http")) liveness.when = readHttp(*http);
  map.duration("interval", liveness.interval);
  map.duration("timeout", liveness.timeout);
  if (const auto number = map.integer("failures", 1, 100, liveness.failures))
    liveness.failures = static_cast<unsigned>(*number);
}

void readWorkloadDetection(const Place& place, DetectionSettings& out) {
  const MapReader map(place,
                      {"triggers", "stallTimeout", "responseTimeout", "startTimeout", "imagePullPolicy"});
  readDetection(map, out);
  if (const auto i = map.choice("imagePullPolicy", {"IfNotPresent", "Always", "Never"})) {
    out.pullPolicy = static_cast<PullPolicy>(*i);
  }
}

void readStartAfter(const Place& place, const std::string& own, std::vector<std::string>& out) {
  eachItem(place, [&](const Place& item) {
    auto name = scalar(item, "the name of an init container");
    if (!name) return;
    if (!isDnsLabel(*name)) item.problem(quoted(*name) + " is not a name that Kubernetes accepts");
    if (*name == own) item.problem("the container cannot wait for itself", "name its init containers");
    out.push_back(std::move(*name));
  });
}

void readHandBack(const Place& place, HandBack& out) {
  const MapReader map(place, {"on", "when", "grace"});
  if (const auto i = map.choice("on", {"container", "image", "start"}, static_cast<std::size_t>(out.on)))
    out.on = static_cast<HandBackOn>(*i);
  if (const auto i = map.choice("when", {"now", "spread", "onDelete"}, static_cast<std::size_t>(out.when)))
    out.when = static_cast<HandBackWhen>(*i);
  if (out.on == HandBackOn::image && out.when == HandBackWhen::on_delete) {
    map.problem("when", "with on: image the fallback ends when the image comes",
                "write on: container, or leave out when");
  }
  map.duration("grace", out.grace, true);
}

bool isAtOrBelow(std::string_view path, std::string_view other) {
  return path == other || (path.starts_with(other) && path[other.size()] == '/');
}

/// The runtime mounts its own file systems there.
bool isMountedOver(std::string_view path) {
  constexpr std::array<std::string_view, 4> kMounts{"/proc", "/dev", "/sys", "/etc"};
  return std::any_of(kMounts.begin(), kMounts.end(),
                     [&](std::string_view mount) { return isAtOrBelow(path, mount); });
}

void readStandIn(const Place& place, StandIn& out) {
  const MapReader map(place, {"path"});
  if (!map.read("path", out.path)) return;
  if (!isCleanPath(out.path) || out.path == "/" || out.path.size() > kMaxStandInPath) {
    map.problem("path", quoted(out.path) + " must be an absolute path without . and .., of at most " +
                            std::to_string(kMaxStandInPath) + " bytes");
  } else if (isMountedOver(out.path)) {
    map.problem("path", quoted(out.path) + " is where the runtime mounts its own file systems",
                "write the path of the program in its image: /app/server");
  } else if (isAtOrBelow(out.path, kStandInProgram)) {
    map.problem("path", quoted(out.path) + " is taken by the stand-in's own program",
                "write the path of the program in its image: /app/server");
  }
}

void readResources(const Place& place, Resources& out) {
  const MapReader map(place, {"memory", "cpu", "pids"});
  out.memoryBytes = map.bytes("memory");
  out.pids = map.integer("pids", 1, kMaxPids);
  std::string cpu;
  if (!map.read("cpu", cpu)) return;
  out.cpus = parseCpus(cpu);
  if (!out.cpus) map.problem("cpu", quoted(cpu) + " is not an amount of CPUs", "write 500m, 0.5 or 2");
}

void readRestart(const Place& place, Restart& out) {
  const MapReader map(place, {"policy", "initialDelay", "maxDelay", "resetAfter"});
  if (const auto i = map.choice("policy", {"Always", "OnFailure", "Never"}))
    out.policy = static_cast<RestartPolicy>(*i);
  map.duration("initialDelay", out.initialDelay);
  map.duration("maxDelay", out.maxDelay);
  map.duration("resetAfter", out.resetAfter);
  if (out.maxDelay < out.initialDelay) {
    map.problem("maxDelay", "maxDelay is shorter than initialDelay", "make it at least as long");
  }
}

void readEnv(const Place& place, std::map<std::string, std::string>& out) {
  eachEntry(place, [&](const std::string& name, const Place& namePlace, const Place& value) {
    if (name.empty() || name.find('=') != std::string::npos) {
      namePlace.problem(quoted(name) + " is not the name of an environment variable",
                        "it must not be empty or hold a =");
    }
    if (auto text = scalar(value, "a string")) out.emplace(name, std::move(*text));
  });
}

/// Variables whose values are read from files in the mounted volumes.
void readEnvFiles(const Place& place, const Workload& workload, std::map<std::string, std::string>& out) {
  eachEntry(place, [&](const std::string& name, const Place& namePlace, const Place& value) {
    if (name.empty() || name.find('=') != std::string::npos) {
      namePlace.problem(quoted(name) + " is not the name of an environment variable",
                        "it must not be empty or hold a =");
    }
    if (workload.env.contains(name)) {
      namePlace.problem("variable " + quoted(name) + " is also set in env", "keep one of the two");
    }
    auto path = scalar(value, "the path of a file in one of the volumes");
    if (!path) return;
    const bool mounted = std::any_of(
        workload.volumes.begin(), workload.volumes.end(),
        [&](const Volume& one) { return *path == one.mountPath || path->starts_with(one.mountPath + "/"); });
    if (!isCleanPath(*path) || !mounted) {
      value.problem(quoted(*path) + " is not below the mountPath of any volume",
                    "mount the volume that has the file");
    }
    out.emplace(name, std::move(*path));
  });
}

void readBinary(const MapReader& map, BinaryRef& out) {
  static_cast<void>(map.require("binary", "checkout@1.8.3"));
  std::string text;
  if (!map.read("binary", text)) return;
  auto ref = parseBinaryRef(text);
  if (ref) {
    out = std::move(*ref);
  } else {
    map.problem("binary", ref.error().context);
  }
}

bool isFree(const MapReader& map, const Workload& workload) {
  if (!isDrill(workload)) return true;
  map.problem("name", "the name " + std::string(kDrillWorkload) + " is reserved for drills",
              "give the workload a different name");
  return false;
}

/// Without a name it gets that of its binary.
bool readName(const MapReader& map, Workload& workload) {
  const auto& binary = workload.binary.name;
  if (map.has("name") || binary.empty()) {
    return readDnsLabel(map, "name", workload.name) && isFree(map, workload);
  }
  if (isDnsLabel(binary)) {
    workload.name = binary;
    return isFree(map, workload);
  }
  static_cast<void>(map.require("name", "NAME"));
  return false;
}

}  // namespace

RawWorkload readWorkload(const Place& place, const Config& config) {
  RawWorkload out;
  out.position = place.position();
  const MapReader map(place, {"name",
                              "match",
                              "image",
                              "binary",
                              "inherit",
                              "versionMatch",
                              "versionFrom",
                              "missingEnv",
                              "args",
                              "env",
                              "envFiles",
                              "serviceVariables",
                              "caCertificates",
                              "timeZoneData",
                              "workingDir",
                              "user",
                              "capabilities",
                              "seccompProfile",
                              "appArmorProfile",
                              "seLinuxLabel",
                              "rlimits",
                              "volumes",
                              "healthCheck",
                              "readiness",
                              "liveness",
                              "detection",
                              "startAfter",
                              "dockerconfigjson",
                              "handBack",
                              "resources",
                              "restart",
                              "mode",
                              "settle",
                              "standIn",
                              "terminationGrace"});
  if (!map.valid()) return out;
  auto& workload = out.workload;
  workload.detection = config.detection.workloadDefaults;
  workload.definedAt = place.file + ":" + std::to_string(out.position.line);
  workload.given = map.keys();
  if (const auto match = map.require("match", "{container: NAME}")) readMatch(*match, out);
  readImageReference(map, "image", workload.image);
  readInheritance(map, config, workload.inheritance);
  readBinary(map, workload.binary);
  out.named = readName(map, workload);
  map.read("args", workload.args);
  if (const auto section = map.find("env")) readEnv(*section, workload.env);
  if (map.read("workingDir", workload.workingDir) && !isCleanPath(workload.workingDir)) {
    map.problem("workingDir", quoted(workload.workingDir) + " must be an absolute path without . and ..");
  }
  map.read("serviceVariables", workload.serviceVariables);
  map.read("caCertificates", workload.caCertificates);
  map.read("timeZoneData", workload.timeZoneData);
  if (const auto section = map.find("user")) {
    for (const auto& key : readUser(*section, workload.user)) workload.given.insert("user." + key);
  }
  readSecurity(map, config.launcher, workload.security);
  if (const auto list = map.find("volumes")) {
    eachItem(*list, [&](const Place& item) { readVolume(item, config.launcher, workload.volumes); });
  }
  if (const auto section = map.find("envFiles")) readEnvFiles(*section, workload, workload.envFiles);
  if (const auto section = map.find("healthCheck")) readHealthCheck(*section, workload.healthCheck);
  if (const auto section = map.find("readiness")) readReadiness(*section, workload.readiness);
  if (const auto section = map.find("liveness")) readLiveness(*section, workload.liveness);
  if (const auto section = map.find("detection")) readWorkloadDetection(*section, workload.detection);
  if (const auto list = map.find("startAfter")) {
    readStartAfter(*list, workload.match.container, workload.startAfter);
  }
  map.absolutePath("dockerconfigjson", workload.dockerConfig);
  if (const auto section = map.find("handBack")) readHandBack(*section, workload.handBack);
  if (const auto section = map.find("resources")) readResources(*section, workload.resources);
  if (const auto section = map.find("restart")) readRestart(*section, workload.restart);
  workload.mode = readMode(map);
  workload.settle = readSettle(map);
  if (const auto section = map.find("standIn")) readStandIn(*section, workload.standIn);
  map.duration("terminationGrace", workload.terminationGrace, true);
  return out;
}

}  // namespace fallbackd::config
