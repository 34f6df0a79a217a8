#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/quantity.hpp"
#include "config/raw.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::uint64_t kMaxId = 4294967294;  // (uid_t)-1 means "leave it alone"
constexpr std::uint64_t kMaxPids = 4194304;   // PID_MAX_LIMIT

/// A name that Kubernetes would accept; reported and `out` left alone otherwise.
bool readDnsLabel(const MapReader& map, std::string_view key, std::string& out) {
  std::string text;
  if (!map.read(key, text)) return false;
  if (!isDnsLabel(text)) {
    map.problem(key, quoted(text) + " is not a name that Kubernetes accepts",
                "a-z, 0-9 and -, a letter or digit at both ends, at most 63 characters");
    return false;
  }
  out = std::move(text);
  return true;
}

void readLabels(const Place& place, std::map<std::string, std::string>& out) {
  eachEntry(place, [&](const std::string& key, const Place& keyPlace, const Place& value) {
    if (!isLabelKey(key)) {
      keyPlace.problem(quoted(key) + " is not the key of a label that Kubernetes accepts",
                       "[PREFIX/]NAME, for example app.kubernetes.io/name");
    }
    const auto text = scalar(value, "a text");
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
  // A half-read match would seem to overlap with others.
  out.matchable = place.problems->count() == before && !match.container.empty();
}

void readUser(const Place& place, User& out) {
  const MapReader map(place, {"uid", "gid", "groups", "allowRoot"});
  if (const auto number = map.integer("uid", 0, kMaxId)) out.uid = static_cast<uid_t>(*number);
  if (const auto number = map.integer("gid", 0, kMaxId)) out.gid = static_cast<gid_t>(*number);
  if (const auto groups = map.find("groups")) {
    eachItem(*groups, [&](const Place& item) {
      if (const auto number = wholeNumber(item, 0, kMaxId)) out.groups.push_back(static_cast<gid_t>(*number));
    });
  }
  map.read("allowRoot", out.allowRoot);
  if (out.uid == 0 && !out.allowRoot) {
    map.problem("uid", "a fallback must not run as root", "choose another uid, or add allowRoot: true");
  }
}

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

void readVolume(const Place& place, std::vector<Volume>& out) {
  const MapReader map(place, {"name", "type", "mountPath", "subPath", "readOnly"});
  if (!map.valid()) return;
  Volume volume;
  static_cast<void>(map.require("name", "NAME"));
  readDnsLabel(map, "name", volume.name);
  static_cast<void>(map.require("type", "configMap"));
  if (const auto i = map.choice("type", {"configMap", "secret", "projected", "emptyDir", "downwardAPI"})) {
    volume.kind = static_cast<Volume::Kind>(*i);
  }
  volume.readOnly = volume.kind != Volume::Kind::empty_dir;
  map.read("readOnly", volume.readOnly);
  readMountPath(map, out, volume.mountPath);
  if (map.read("subPath", volume.subPath) && !isCleanPath("/" + volume.subPath)) {
    map.problem("subPath", quoted(volume.subPath) + " must be a relative path without . and ..");
  }
  out.push_back(std::move(volume));
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
    const MapReader inner(*http, {"port", "path"});
    ReadyWhenHttp when;
    when.port = readPort(inner);
    if (inner.read("path", when.path) &&
        (!when.path.starts_with('/') || when.path.find_first_of(" \t\r\n") != std::string::npos)) {
      inner.problem("path", quoted(when.path) + " must begin with / and hold no spaces");
    }
    out.when = std::move(when);
  }
  if (ways > 1) place.problem("says more than one of tcp, http and exec", "keep one of them");
}

void readWorkloadDetection(const Place& place, DetectionSettings& out) {
  const MapReader map(place, {"triggers", "stallTimeout", "imagePullPolicy"});
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
  const MapReader map(place, {"on", "grace"});
  if (const auto i = map.choice("on", {"container", "image"})) out.on = static_cast<HandBackOn>(*i);
  map.duration("grace", out.grace, true);
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
  const MapReader map(place, {"initialDelay", "maxDelay", "resetAfter"});
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
    if (auto text = scalar(value, "a text")) out.emplace(name, std::move(*text));
  });
}

void readImage(const MapReader& map, std::string& out) {
  static_cast<void>(map.require("image", "registry.example.com/shop/checkout:1.8.3"));
  if (!map.read("image", out) || isImageReference(out)) return;
  map.problem("image", quoted(out) + " is not an image reference",
              out.find("://") != std::string::npos ? "leave the scheme away" : "");
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

}  // namespace

RawWorkload readWorkload(const Place& place, const DetectionSettings& defaults) {
  RawWorkload out;
  out.position = place.position();
  const MapReader map(place, {"name", "match", "image", "binary", "args", "env", "workingDir", "user",
                              "volumes", "healthCheck", "readiness", "detection", "startAfter",
                              "dockerconfigjson", "handBack", "resources", "restart", "terminationGrace"});
  if (!map.valid()) return out;
  auto& workload = out.workload;
  workload.detection = defaults;
  workload.definedAt = place.file + ":" + std::to_string(out.position.line);
  static_cast<void>(map.require("name", "NAME"));
  out.named = readDnsLabel(map, "name", workload.name);
  if (const auto match = map.require("match", "{container: NAME}")) readMatch(*match, out);
  readImage(map, workload.image);
  readBinary(map, workload.binary);
  map.read("args", workload.args);
  if (const auto section = map.find("env")) readEnv(*section, workload.env);
  if (map.read("workingDir", workload.workingDir) && !isCleanPath(workload.workingDir)) {
    map.problem("workingDir", quoted(workload.workingDir) + " must be an absolute path without . and ..");
  }
  if (const auto section = map.find("user")) readUser(*section, workload.user);
  if (const auto list = map.find("volumes")) {
    eachItem(*list, [&](const Place& item) { readVolume(item, workload.volumes); });
  }
  if (const auto section = map.find("healthCheck")) readHealthCheck(*section, workload.healthCheck);
  if (const auto section = map.find("readiness")) readReadiness(*section, workload.readiness);
  if (const auto section = map.find("detection")) readWorkloadDetection(*section, workload.detection);
  if (const auto list = map.find("startAfter")) {
    readStartAfter(*list, workload.match.container, workload.startAfter);
  }
  map.absolutePath("dockerconfigjson", workload.dockerConfig);
  if (const auto section = map.find("handBack")) readHandBack(*section, workload.handBack);
  if (const auto section = map.find("resources")) readResources(*section, workload.resources);
  if (const auto section = map.find("restart")) readRestart(*section, workload.restart);
  map.duration("terminationGrace", workload.terminationGrace, true);
  return out;
}

}  // namespace fallbackd::config
