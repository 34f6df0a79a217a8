#include "config/raw.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::string_view kApiVersion = "fallbackd.io/v1";

void absolutePath(const MapReader& map, std::string_view key, std::string& out) {
  map.read(key, out);
  const auto place = map.find(key);
  if (place && place->node.IsScalar() && !place->node.Scalar().starts_with('/')) {
    place->problem("must be an absolute path, but is " + quoted(place->node.Scalar()));
  }
}

void readContainerd(const Place& place, ContainerdSettings& out) {
  const MapReader map(place, {"socket", "namespace", "resyncInterval"});
  absolutePath(map, "socket", out.socket);
  map.read("namespace", out.namespaceName);
  map.duration("resyncInterval", out.resyncInterval);
}

void readCache(const Place& place, CacheSettings& out) {
  const MapReader map(
      place, {"path", "keys", "threshold", "state", "revoked", "expiryGrace", "requirePie", "memoryBudget"});
  absolutePath(map, "path", out.path);
  absolutePath(map, "keys", out.keys);
  absolutePath(map, "state", out.state);
  map.integer("threshold", 1, 16, [&](std::uint64_t n) { out.threshold = static_cast<unsigned>(n); });
  if (map.has("revoked")) absolutePath(map, "revoked", out.revoked.emplace());
  map.duration("expiryGrace", out.expiryGrace, true);
  map.read("requirePie", out.requirePie);
  map.bytes("memoryBudget", [&](std::uint64_t n) { out.memoryBudgetBytes = n; });
}

void readLauncher(const Place& place, LauncherSettings& out) {
  const MapReader map(place, {"runDir", "kubeletPods", "allowHostNetwork"});
  absolutePath(map, "runDir", out.runDir);
  absolutePath(map, "kubeletPods", out.kubeletPods);
  map.read("allowHostNetwork", out.allowHostNetwork);
}

void readTelemetry(const Place& place, TelemetrySettings& out) {
  const MapReader map(place, {"listen", "socket", "logFormat", "logLevel"});
  std::string listen;
  map.read("listen", listen);
  if (listen == "off") {
    out.listen.reset();
  } else if (!listen.empty()) {
    const auto colon = listen.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == listen.size()) {
      map.find("listen")->problem(quoted(listen) + " is not ADDRESS:PORT",
                                  "write 127.0.0.1:9477, [::1]:9477 or \"off\"");
    }
    out.listen = listen;
  }
  absolutePath(map, "socket", out.socket);
  map.choice("logFormat", {"human", "json"},
             [&](std::size_t i) { out.logFormat = static_cast<LogFormat>(i); });
  map.choice("logLevel", {"debug", "info", "warn", "error"},
             [&](std::size_t i) { out.logLevel = static_cast<LogLevel>(i); });
}

DetectionSettings readDetectionDefaults(const Place& place, DetectionDefaults& out) {
  const MapReader map(place, {"reprobeInterval", "maxConcurrentProbes", "triggers", "stallTimeout"});
  DetectionSettings settings;
  map.duration("reprobeInterval", out.reprobeInterval);
  map.integer("maxConcurrentProbes", 1, 64,
              [&](std::uint64_t n) { out.maxConcurrentProbes = static_cast<unsigned>(n); });
  readDetection(map, settings);
  return settings;
}

void checkApiVersion(const MapReader& map) {
  std::string version;
  map.read("apiVersion", version, true);
  if (!version.empty() && version != kApiVersion) {
    map.find("apiVersion")->problem(quoted(version) + " is not known", "write " + std::string(kApiVersion));
  }
}

/// The one document of a file; reports and returns nothing where there is none or more than one.
std::optional<YAML::Node> parseOne(const std::string& file, const std::string& text, Problems& problems) {
  try {
    auto documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      problems.add({file, 1, 1}, "holds several YAML documents", "write one file for each");
      return std::nullopt;
    }
    if (documents.empty() || documents.front().IsNull()) {
      problems.add({file, 1, 1}, "is empty", "begin with apiVersion: " + std::string(kApiVersion));
      return std::nullopt;
    }
    return documents.front();
  } catch (const YAML::Exception& error) {
    problems.add({file, error.mark.line + 1, error.mark.column + 1}, "malformed YAML: " + error.msg,
                 text.find("\t") == std::string::npos ? "" : "indent with spaces, not tabs");
    return std::nullopt;
  }
}

}  // namespace

void readDetection(const MapReader& map, DetectionSettings& out) {
  map.duration("stallTimeout", out.stallTimeout);
  if (!map.has("triggers")) return;
  CauseSet triggers;
  map.each("triggers", [&](const Place& item) {
    const auto name = scalar(item, "the name of a cause");
    if (!name) return;
    if (const auto cause = parseCause(*name)) {
      triggers.insert(*cause);
      return;
    }
    std::vector<std::string> names(causeNames().begin(), causeNames().end());
    const auto near = closest(*name, causeNames());
    item.problem(quoted(*name) + " is no cause; causes are " + join(names, ", "),
                 near ? "did you mean " + std::string(*near) + "?" : "");
  });
  out.triggers = std::move(triggers);
}

void readDocument(const std::string& file, const std::string& text, bool dropIn, Config& config,
                  std::vector<RawWorkload>& workloads, Problems& problems) {
  const auto document = parseOne(file, text, problems);
  if (!document) return;
  const Place place{*document, file, "", &problems};
  const auto map = dropIn ? MapReader(place, {"apiVersion", "workloads"})
                          : MapReader(place, {"apiVersion", "containerd", "cache", "launcher", "telemetry",
                                              "detection", "workloads"});
  if (!map.valid()) return;
  checkApiVersion(map);
  if (const auto section = map.find("containerd")) readContainerd(*section, config.containerd);
  if (const auto section = map.find("cache")) readCache(*section, config.cache);
  if (const auto section = map.find("launcher")) readLauncher(*section, config.launcher);
  if (const auto section = map.find("telemetry")) readTelemetry(*section, config.telemetry);
  if (const auto section = map.find("detection")) {
    config.detection.workloadDefaults = readDetectionDefaults(*section, config.detection);
  }
  map.each("workloads", [&](const Place& item) {
    workloads.push_back(readWorkload(item, config.detection.workloadDefaults));
  });
}

}  // namespace fallbackd::config
