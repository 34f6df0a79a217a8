#include "base/strings.hpp"
#include "config/quantity.hpp"
#include "config/raw.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::uint64_t kMaxId = 4294967294;  // (uid_t)-1 means "leave it alone"

bool isDnsLabel(std::string_view text) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= 63 && alnum(text.front()) && alnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return alnum(c) || c == '-'; });
}

/// A name that Kubernetes would accept; reported and left empty otherwise.
void dnsLabel(const MapReader& map, std::string_view key, std::string& out, bool required) {
  std::string text;
  map.read(key, text, required);
  if (text.empty()) return;
  if (!isDnsLabel(text)) {
    map.find(key)->problem(quoted(text) + " is not a name that Kubernetes accepts",
                           "a-z, 0-9 and -, at most 63 characters");
    return;
  }
  out = text;
}

/// Absolute, without "." and ".." parts, without doubled or trailing slashes.
bool isCleanPath(std::string_view path) {
  if (!path.starts_with('/')) return false;
  if (path == "/") return true;
  const auto parts = split(path.substr(1), '/');
  return std::none_of(parts.begin(), parts.end(),
                      [](std::string_view part) { return part.empty() || part == "." || part == ".."; });
}

void readMatch(const Place& place, RawWorkload& out) {
  out.matchPosition = place.position();
  const MapReader map(place, {"namespace", "labels", "container"});
  if (!map.valid()) return;
  auto& match = out.workload.match;
  std::string ns;
  dnsLabel(map, "namespace", ns, false);
  if (!ns.empty()) match.namespaceName = ns;
  map.read("labels", match.labels);
  dnsLabel(map, "container", match.container, true);
  out.matchable = !match.container.empty();
}

void readUser(const Place& place, User& out) {
  const MapReader map(place, {"uid", "gid", "groups", "allowRoot"});
  map.integer("uid", 0, kMaxId, [&](std::uint64_t n) { out.uid = static_cast<uid_t>(n); });
  map.integer("gid", 0, kMaxId, [&](std::uint64_t n) { out.gid = static_cast<gid_t>(n); });
  std::vector<std::string> groups;
  map.read("groups", groups);
  for (const auto& group : groups) {
    const auto number = parseBytes(group);
    if (!number || *number > kMaxId) {
      map.find("groups")->problem(quoted(group) + " is not a group number");
    } else {
      out.groups.push_back(static_cast<gid_t>(*number));
    }
  }
  map.read("allowRoot", out.allowRoot);
  if (out.uid == 0 && !out.allowRoot) {
    map.find("uid")->problem("a fallback must not run as root", "choose another uid, or say allowRoot: true");
  }
}

void readVolume(const Place& place, std::vector<Volume>& out) {
  const MapReader map(place, {"name", "type", "mountPath", "subPath", "readOnly"});
  if (!map.valid()) return;
  Volume volume;
  dnsLabel(map, "name", volume.name, true);
  static_cast<void>(map.find("type", true));
  map.choice("type", {"configMap", "secret", "projected", "emptyDir", "downwardAPI"},
             [&](std::size_t i) { volume.kind = static_cast<Volume::Kind>(i); });
  volume.readOnly = volume.kind != Volume::Kind::empty_dir;
  map.read("readOnly", volume.readOnly);
  map.read("mountPath", volume.mountPath, true);
  if (!volume.mountPath.empty() && (!isCleanPath(volume.mountPath) || volume.mountPath == "/")) {
    map.find("mountPath")->problem(quoted(volume.mountPath) + " must be an absolute path without . and ..");
  }
  constexpr std::array<std::string_view, 3> kOurs{"/proc", "/dev", "/sys"};
  for (const auto ours : kOurs) {
    if (volume.mountPath == ours || volume.mountPath.starts_with(std::string(ours) + "/")) {
      map.find("mountPath")->problem("nothing can be mounted on or below " + std::string(ours));
    }
  }
  map.read("subPath", volume.subPath);
  if (!volume.subPath.empty() && !isCleanPath("/" + volume.subPath)) {
    map.find("subPath")->problem(quoted(volume.subPath) + " must be a relative path without . and ..");
  }
  const bool doubled = std::any_of(out.begin(), out.end(), [&](const Volume& other) {
    return !volume.mountPath.empty() && other.mountPath == volume.mountPath;
  });
  if (doubled) map.find("mountPath")->problem(quoted(volume.mountPath) + " is mounted on twice");
  out.push_back(std::move(volume));
}

void readHealthCheck(const Place& place, HealthCheck& out) {
  const MapReader map(place, {"args", "timeout"});
  map.read("args", out.args);
  map.duration("timeout", out.timeout);
}

void readReadiness(const Place& place, Readiness& out) {
  const MapReader map(place, {"tcp", "http", "exec", "timeout"});
  if (!map.valid()) return;
  map.duration("timeout", out.timeout);
  const int ways = (map.has("tcp") ? 1 : 0) + (map.has("http") ? 1 : 0) + (map.has("exec") ? 1 : 0);
  if (ways > 1) place.problem("says more than one of tcp, http and exec", "keep one of them");
  const auto readPort = [](const MapReader& from, std::uint16_t& port) {
    static_cast<void>(from.find("port", true));
    from.integer("port", 1, 65535, [&](std::uint64_t n) { port = static_cast<std::uint16_t>(n); });
  };
  if (const auto tcp = map.find("tcp")) {
    const MapReader inner(*tcp, {"port"});
    readPort(inner, out.when.emplace<ReadyWhenTcp>().port);
  } else if (const auto http = map.find("http")) {
    const MapReader inner(*http, {"port", "path"});
    auto& when = out.when.emplace<ReadyWhenHttp>();
    readPort(inner, when.port);
    inner.read("path", when.path);
    if (!when.path.starts_with('/') || when.path.find_first_of(" \r\n") != std::string::npos) {
      inner.find("path")->problem(quoted(when.path) + " must start with / and hold no spaces");
    }
  } else if (const auto exec = map.find("exec")) {
    static_cast<void>(MapReader(*exec, {}));
  }
}

void readWorkloadDetection(const Place& place, DetectionSettings& out) {
  const MapReader map(place, {"triggers", "stallTimeout", "imagePullPolicy"});
  readDetection(map, out);
  map.choice("imagePullPolicy", {"IfNotPresent", "Always"},
             [&](std::size_t i) { out.pullPolicy = static_cast<PullPolicy>(i); });
}

void readHandBack(const Place& place, HandBack& out) {
  const MapReader map(place, {"on", "grace"});
  map.choice("on", {"container", "image"}, [&](std::size_t i) { out.on = static_cast<HandBackOn>(i); });
  map.duration("grace", out.grace, true);
}

void readResources(const Place& place, Resources& out) {
  const MapReader map(place, {"memory", "cpu", "pids"});
  map.bytes("memory", [&](std::uint64_t n) { out.memoryBytes = n; });
  map.integer("pids", 1, 4194304, [&](std::uint64_t n) { out.pids = n; });
  std::string cpu;
  map.read("cpu", cpu);
  if (cpu.empty()) return;
  out.cpus = parseCpus(cpu);
  if (!out.cpus) map.find("cpu")->problem(quoted(cpu) + " is not an amount of CPUs", "write 500m, 0.5 or 2");
}

void readRestart(const Place& place, Restart& out) {
  const MapReader map(place, {"initialDelay", "maxDelay", "resetAfter"});
  map.duration("initialDelay", out.initialDelay);
  map.duration("maxDelay", out.maxDelay);
  map.duration("resetAfter", out.resetAfter);
  if (out.maxDelay < out.initialDelay) place.problem("maxDelay is shorter than initialDelay");
}

void readEnv(const MapReader& map, std::map<std::string, std::string>& out) {
  map.read("env", out);
  for (const auto& [name, value] : out) {
    if (name.find('=') != std::string::npos) map.find("env")->problem(quoted(name) + " must not hold a =");
  }
}

}  // namespace

RawWorkload readWorkload(const Place& place, const DetectionSettings& defaults) {
  RawWorkload out;
  out.position = place.position();
  const MapReader map(place, {"name", "match", "image", "binary", "args", "env", "workingDir", "user",
                              "volumes", "healthCheck", "readiness", "detection", "handBack", "resources",
                              "restart", "terminationGrace"});
  if (!map.valid()) return out;
  auto& workload = out.workload;
  workload.detection = defaults;
  workload.definedAt = place.file + ":" + std::to_string(out.position.line);
  dnsLabel(map, "name", workload.name, true);
  out.named = !workload.name.empty();
  if (const auto match = map.find("match", true)) readMatch(*match, out);
  map.read("image", workload.image, true);
  if (workload.image.find_first_of(" \t\n") != std::string::npos) {
    map.find("image")->problem(quoted(workload.image) + " is not an image reference");
  }
  std::string binary;
  map.read("binary", binary, true);
  if (!binary.empty()) {
    if (auto ref = parseBinaryRef(binary)) {
      workload.binary = std::move(*ref);
    } else {
      map.find("binary")->problem(ref.error().context);
    }
  }
  map.read("args", workload.args);
  readEnv(map, workload.env);
  map.read("workingDir", workload.workingDir);
  if (!isCleanPath(workload.workingDir)) {
    map.find("workingDir")
        ->problem(quoted(workload.workingDir) + " must be an absolute path without . and ..");
  }
  if (const auto section = map.find("user")) readUser(*section, workload.user);
  map.each("volumes", [&](const Place& item) { readVolume(item, workload.volumes); });
  if (const auto section = map.find("healthCheck")) readHealthCheck(*section, workload.healthCheck);
  if (const auto section = map.find("readiness")) readReadiness(*section, workload.readiness);
  if (const auto section = map.find("detection")) readWorkloadDetection(*section, workload.detection);
  if (const auto section = map.find("handBack")) readHandBack(*section, workload.handBack);
  if (const auto section = map.find("resources")) readResources(*section, workload.resources);
  if (const auto section = map.find("restart")) readRestart(*section, workload.restart);
  map.duration("terminationGrace", workload.terminationGrace, true);
  return out;
}

}  // namespace fallbackd::config
