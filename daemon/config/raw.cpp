// SPDX-License-Identifier: Apache-2.0
#include "config/raw.hpp"

#include "base/clock.hpp"
#include "base/paths.hpp"
#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/raw_parts.hpp"
#include "domain/image_reference.hpp"

#include <algorithm>
#include <sys/un.h>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::chrono::milliseconds kMinStallTimeout{200};
// On a loaded node CreateContainer takes that long.
constexpr std::chrono::milliseconds kMinStartTimeout{500};
constexpr std::chrono::milliseconds kMinReprobeInterval{100};

constexpr std::string_view kApiVersion = "fallbackd.io/v1";

void socketPath(const MapReader& map, std::string_view key, std::string& out) {
  map.absolutePath(key, out);
  if (out.size() >= sizeof(sockaddr_un::sun_path)) {
    map.problem(key, "is longer than the 107 bytes that a unix socket's path may have");
  }
}

void readContainerd(const Place& place, ContainerdSettings& out) {
  const MapReader map(place, {"socket", "namespace", "resyncInterval", "sandboxImage"});
  socketPath(map, "socket", out.socket);
  map.read("namespace", out.namespaceName);
  map.duration("resyncInterval", out.resyncInterval);
  readImageReference(map, "sandboxImage", out.sandboxImage);
}

void readRollbacks(const Place& place, std::vector<Rollback>& out) {
  eachItem(place, [&](const Place& item) {
    const MapReader map(item, {"binary", "rollbackTo"});
    if (!map.valid()) return;
    static_cast<void>(map.require("binary", "checkout@1.9.0"));
    static_cast<void>(map.require("rollbackTo", "1.8.3"));
    std::string binary;
    Rollback rollback;
    const bool named = map.read("binary", binary);
    if (!map.read("rollbackTo", rollback.to) || !named) return;
    auto from = parseBinaryRef(binary);
    if (!from) return map.problem("binary", from.error().context);
    rollback.from = std::move(*from);
    if (!parseBinaryRef(rollback.from.name + "@" + rollback.to)) {
      return map.problem("rollbackTo", quoted(rollback.to) + " is not a version", "write it like 1.8.3");
    }
    if (compareVersions(rollback.to, rollback.from.version) >= 0) {
      map.problem("rollbackTo", rollback.to + " is not below " + rollback.from.version);
    }
    if (std::any_of(out.begin(), out.end(),
                    [&](const auto& one) { return one.from.name == rollback.from.name; })) {
      map.problem("binary", quoted(rollback.from.name) + " is rolled back twice", "keep one of them");
    }
    out.push_back(std::move(rollback));
  });
}

void readCache(const Place& place, CacheSettings& out) {
  const MapReader map(place, {"path", "keys", "threshold", "state", "revoked", "expiryGrace", "requirePie",
                              "memoryBudget", "rollbacks"});
  map.absolutePath("path", out.path);
  map.absolutePath("keys", out.keys);
  map.absolutePath("state", out.state);
  if (const auto number = map.integer("threshold", 1, kMaxThreshold, out.threshold))
    out.threshold = static_cast<unsigned>(*number);
  if (map.has("revoked")) map.absolutePath("revoked", out.revoked.emplace());
  map.duration("expiryGrace", out.expiryGrace, true);
  map.read("requirePie", out.requirePie);
  if (const auto amount = map.bytes("memoryBudget", out.memoryBudgetBytes)) out.memoryBudgetBytes = *amount;
  if (const auto list = map.find("rollbacks")) readRollbacks(*list, out.rollbacks);
}

void readLogLimits(const Place& place, LogLimits& out) {
  const MapReader map(place, {"maxSize", "maxFiles", "bytesPerSecond", "linesPerSecond"});
  if (const auto amount = map.bytes("maxSize", out.maxBytes)) out.maxBytes = *amount;
  if (const auto number = map.integer("maxFiles", 2, 100, out.maxFiles))
    out.maxFiles = static_cast<unsigned>(*number);
  if (const auto amount = map.bytes("bytesPerSecond", out.bytesPerSecond)) out.bytesPerSecond = *amount;
  if (const auto number = map.integer("linesPerSecond", 100, 10'000'000, out.linesPerSecond))
    out.linesPerSecond = static_cast<unsigned>(*number);
}

void readHostPaths(const Place& place, std::vector<std::string>& out) {
  eachItem(place, [&](const Place& item) {
    auto path = scalar(item, "a folder on the node");
    if (!path) return;
    if (!isCleanPath(*path) || *path == "/") {
      item.problem(quoted(*path) + " must be an absolute path below /, without . and ..");
    }
    out.push_back(std::move(*path));
  });
}

void readLauncher(const Place& place, LauncherSettings& out) {
  const MapReader map(place, {"runDir", "kubeletPods", "allowHostNetwork", "allowHostPid", "allowHostIpc",
                              "allowedCapabilities", "allowUnconfined", "allowedHostPaths", "seccompProfiles",
                              "caCertificates", "zoneInfo", "logs", "logLinks", "maxConcurrentLaunches"});
  map.absolutePath("runDir", out.runDir);
  map.absolutePath("kubeletPods", out.kubeletPods);
  map.read("allowHostNetwork", out.allowHostNetwork);
  map.read("allowHostPid", out.allowHostPid);
  map.read("allowHostIpc", out.allowHostIpc);
  if (const auto list = map.find("allowedCapabilities")) readCapabilities(*list, out.allowedCapabilities);
  map.read("allowUnconfined", out.allowUnconfined);
  if (const auto list = map.find("allowedHostPaths")) readHostPaths(*list, out.allowedHostPaths);
  map.absolutePath("seccompProfiles", out.seccompProfiles);
  map.absolutePath("caCertificates", out.caCertificates);
  map.absolutePath("zoneInfo", out.zoneInfo);
  if (const auto section = map.find("logs")) readLogLimits(*section, out.logs);
  map.absolutePath("logLinks", out.logLinks);
  if (const auto number = map.integer("maxConcurrentLaunches", 1, 256, out.maxConcurrentLaunches)) {
    out.maxConcurrentLaunches = static_cast<unsigned>(*number);
  }
}

void readTls(const Place& place, std::optional<Tls>& out) {
  const MapReader map(place, {"certificate", "key"});
  if (!map.valid()) return;
  auto& tls = out.emplace();
  static_cast<void>(map.require("certificate", "/etc/fallbackd/tls/tls.crt"));
  static_cast<void>(map.require("key", "/etc/fallbackd/tls/tls.key"));
  map.absolutePath("certificate", tls.certificate);
  map.absolutePath("key", tls.key);
}

void readTelemetry(const Place& place, TelemetrySettings& out) {
  const MapReader map(place, {"listen", "tls", "tokenFile", "profiling", "socket", "logFormat", "logLevel"});
  std::string listen = out.listen.value_or("off");
  if (map.read("listen", listen)) {
    if (listen == "off") {
      out.listen.reset();
    } else if (isSocketAddress(listen)) {
      out.listen = listen;
    } else {
      map.problem("listen", quoted(listen) + " is not ADDRESS:PORT",
                  "write 127.0.0.1:9477, [::1]:9477 or \"off\"");
    }
  }
  if (const auto section = map.find("tls")) readTls(*section, out.tls);
  map.absolutePath("tokenFile", out.tokenFile);
  map.read("profiling", out.profiling);
  if (!out.listen) {
    map.forbid("tls", "has no effect while listen is off", "remove it, or set listen to an address");
    map.forbid("tokenFile", "has no effect while listen is off", "remove it, or set listen to an address");
  }
  socketPath(map, "socket", out.socket);
  if (const auto i = map.choice("logFormat", {"human", "json"}, static_cast<std::size_t>(out.logFormat)))
    out.logFormat = static_cast<LogFormat>(*i);
  if (const auto i = map.choice("logLevel", {"debug", "info", "warn", "error"},
                                static_cast<std::size_t>(out.logLevel))) {
    out.logLevel = static_cast<LogLevel>(*i);
  }
}

void readDetectionDefaults(const Place& place, DetectionDefaults& out) {
  const MapReader map(place, {"reprobeInterval", "maxConcurrentProbes", "unstick", "triggers", "stallTimeout",
                              "responseTimeout", "startTimeout"});
  if (map.duration("reprobeInterval", out.reprobeInterval) && out.reprobeInterval < kMinReprobeInterval) {
    map.problem("reprobeInterval", "is so short that it would burden containerd", "write 100ms or more");
  }
  if (const auto number = map.integer("maxConcurrentProbes", 1, 64, out.maxConcurrentProbes)) {
    out.maxConcurrentProbes = static_cast<unsigned>(*number);
  }
  map.read("unstick", out.unstick);
  readDetection(map, out.workloadDefaults);
}

void readRepositories(const Place& place, std::vector<std::string>& out) {
  eachItem(place, [&](const Place& item) {
    auto path = scalar(item, "the path of a repository");
    if (!path) return;
    if (!isRepositoryPath(*path)) {
      item.problem(quoted(*path) + " is not the path of a repository",
                   "write shop for everything below HOST/shop, without the host and without a tag");
    }
    out.push_back(std::move(*path));
  });
}

void readRegistries(const Place& place, std::vector<Registry>& out) {
  eachItem(place, [&](const Place& item) {
    const MapReader map(item, {"host", "dockerconfigjson", "repositories"});
    if (!map.valid()) return;
    Registry registry;
    static_cast<void>(map.require("host", "registry.example.com"));
    static_cast<void>(map.require("dockerconfigjson", "/etc/fallbackd/pull-secret/.dockerconfigjson"));
    if (map.read("host", registry.host)) {
      auto host = parseRegistryHost(registry.host);
      if (host) {
        registry.host = std::move(*host);
      } else {
        map.problem("host", host.error().context);
      }
    }
    map.absolutePath("dockerconfigjson", registry.dockerConfig);
    if (const auto list = map.find("repositories")) readRepositories(*list, registry.repositories);
    if (std::any_of(out.begin(), out.end(), [&](const auto& one) { return one.host == registry.host; })) {
      map.problem("host", "registry " + quoted(registry.host) + " is named twice", "keep one of them");
    }
    out.push_back(std::move(registry));
  });
}

void readCredentialProviders(const Place& place, std::optional<CredentialProviders>& out) {
  const MapReader map(place, {"config", "binDir"});
  if (!map.valid()) return;
  auto& providers = out.emplace();
  static_cast<void>(map.require("config", "/etc/kubernetes/credential-provider-config.yaml"));
  static_cast<void>(map.require("binDir", "/usr/libexec/kubernetes/kubelet-plugins/credential-provider"));
  map.absolutePath("config", providers.config);
  map.absolutePath("binDir", providers.binDir);
}

void readPodAnnotations(const Place& place, PodAnnotations& out) {
  const MapReader map(place, {"namespaces", "binaries"});
  if (const auto list = map.find("namespaces")) readNamespaceNames(*list, out.namespaces);
  if (const auto list = map.find("binaries")) {
    eachItem(*list, [&](const Place& item) {
      const MapReader entry(item, {"name", "namespaces"});
      if (!entry.valid()) return;
      std::string name;
      static_cast<void>(entry.require("name", "checkout"));
      if (entry.read("name", name) && !parseBinaryRef(name + "@1"))
        entry.problem("name", quoted(name) + " is not the name of a binary", "write it without its version");
      const auto namespaces = entry.require("namespaces", "[shop]");
      if (out.binaries.contains(name)) {
        entry.problem("name", "binary " + quoted(name) + " is named twice", "keep one of them");
        return;
      }
      if (namespaces) readNamespaceNames(*namespaces, out.binaries[name]);
    });
  }
}

void readNamespaces(const Place& place, std::map<std::string, Mode>& out) {
  eachItem(place, [&](const Place& item) {
    const MapReader map(item, {"name", "mode"});
    if (!map.valid()) return;
    std::string name;
    static_cast<void>(map.require("name", "shop"));
    static_cast<void>(map.require("mode", "observe"));
    readDnsLabel(map, "name", name);
    const auto mode = readMode(map);
    if (name.empty() || !mode) return;
    if (!out.emplace(name, *mode).second)
      map.problem("name", "namespace " + quoted(name) + " is named twice", "keep one of them");
  });
}

void readSections(const MapReader& map, Config& config) {
  if (const auto section = map.find("containerd")) readContainerd(*section, config.containerd);
  if (const auto section = map.find("cache")) readCache(*section, config.cache);
  if (const auto section = map.find("launcher")) readLauncher(*section, config.launcher);
  if (const auto section = map.find("telemetry")) readTelemetry(*section, config.telemetry);
  if (const auto section = map.find("detection")) readDetectionDefaults(*section, config.detection);
  if (const auto list = map.find("registries")) readRegistries(*list, config.registries);
  if (const auto section = map.find("credentialProviders"))
    readCredentialProviders(*section, config.credentialProviders);
  if (const auto section = map.find("podAnnotations")) readPodAnnotations(*section, config.podAnnotations);
  if (const auto mode = readMode(map, config.mode)) config.mode = *mode;
  if (const auto list = map.find("namespaces")) readNamespaces(*list, config.namespaceModes);
  if (const auto settle = readSettle(map, config.settle)) config.settle = *settle;
  if (const auto section = map.find("kubernetes"))
    readKubernetes(*section, config.kubernetes, config.inheritance);
  if (const auto section = map.find("mirror")) readMirror(*section, config.mirror);
}

void checkApiVersion(const MapReader& map) {
  static_cast<void>(map.require("apiVersion", kApiVersion));
  std::string version;
  if (map.read("apiVersion", version) && version != kApiVersion) {
    map.problem("apiVersion", quoted(version) + " is not known", "write " + std::string(kApiVersion));
  }
}

}  // namespace

void readNamespaceNames(const Place& list, std::vector<std::string>& out) {
  eachItem(list, [&](const Place& item) {
    auto name = scalar(item, "the name of a namespace");
    if (!name) return;
    if (!isDnsLabel(*name)) item.problem(quoted(*name) + " is not a name that Kubernetes accepts");
    out.push_back(std::move(*name));
  });
}

std::optional<Mode> readMode(const MapReader& map, std::optional<Mode> otherwise) {
  const auto index = otherwise ? std::optional(static_cast<std::size_t>(*otherwise)) : std::nullopt;
  const auto i = map.choice("mode", {"recover", "observe"}, index);
  return i ? std::optional(static_cast<Mode>(*i)) : std::nullopt;
}

std::optional<Settle> readSettle(const MapReader& map, std::optional<Settle> otherwise) {
  const auto index = otherwise ? std::optional(static_cast<std::size_t>(*otherwise)) : std::nullopt;
  const auto i = map.choice("settle", {"auto", "always", "never"}, index);
  return i ? std::optional(static_cast<Settle>(*i)) : std::nullopt;
}

void readImageReference(const MapReader& map, std::string_view key, std::string& out) {
  if (!map.read(key, out)) return;
  const auto reference = ImageReference::parse(out);
  if (!reference) map.problem(key, reference.error().context);
}

void readDetection(const MapReader& map, DetectionSettings& out) {
  // A healthy but distant registry may well be silent for a moment.
  if (map.duration("stallTimeout", out.stallTimeout) && out.stallTimeout < kMinStallTimeout) {
    map.problem("stallTimeout", "is so short that healthy pulls would fail", "write 200ms or more");
  }
  if (map.duration("responseTimeout", out.responseTimeout) && out.responseTimeout < out.stallTimeout) {
    map.problem("responseTimeout",
                "is shorter than stallTimeout, but an answer takes longer than a connection",
                "write " + formatDuration(out.stallTimeout) + " or more");
  }
  // Raising stallTimeout alone raises the limit for answers, too.
  out.responseTimeout = std::max(out.responseTimeout, out.stallTimeout);
  if (map.duration("startTimeout", out.startTimeout) && out.startTimeout < kMinStartTimeout) {
    map.problem("startTimeout", "is so short that kubelet cannot have created a container",
                "write " + formatDuration(kMinStartTimeout) + " or more");
  }
  const auto list = map.find("triggers");
  if (!list) return;
  CauseSet triggers;
  eachItem(*list, [&](const Place& item) {
    item.oneOf(causeNames());
    const auto name = scalar(item, "the name of a cause");
    if (!name) return;
    if (const auto cause = parseCause(*name)) {
      triggers.insert(*cause);
      return;
    }
    const std::vector<std::string> names(causeNames().begin(), causeNames().end());
    const auto near = closest(*name, causeNames());
    item.problem(quoted(*name) + " is not a cause; causes are " + join(names, ", "),
                 near ? "did you mean " + std::string(*near) + "?" : "");
  });
  out.triggers = std::move(triggers);
}

namespace {

/// A whole file; if `place` is a description, describes the main file.
void readRoot(const Place& place, bool dropIn, Config& config, std::vector<RawWorkload>& workloads) {
  const MapReader map(place, {"apiVersion", "containerd", "cache", "launcher", "telemetry", "detection",
                              "registries", "credentialProviders", "podAnnotations", "mode", "namespaces",
                              "settle", "kubernetes", "mirror", "workloads"});
  if (!map.valid()) return;
  checkApiVersion(map);
  if (dropIn) {
    for (const std::string_view key :
         {"containerd", "cache", "launcher", "telemetry", "detection", "registries", "credentialProviders",
          "podAnnotations", "mode", "namespaces", "settle", "kubernetes", "mirror"}) {
      map.forbid(key, "key " + quoted(key) + " is allowed in the main file only",
                 "a drop-in may hold only apiVersion and workloads");
    }
  } else {
    readSections(map, config);
  }
  if (const auto list = map.find("workloads")) {
    eachItem(*list, [&](const Place& item) { workloads.push_back(readWorkload(item, config)); });
  }
}

}  // namespace

void readDocument(const std::string& file, std::string_view text, bool dropIn, Config& config,
                  std::vector<RawWorkload>& workloads, Problems& problems) {
  const auto document = parseDocument(file, text, problems);
  if (!document) return;
  readRoot({&*document, file, "", &problems}, dropIn, config, workloads);
}

Description describeConfiguration() {
  const Node nothing;
  Problems problems;
  Description description;
  constexpr std::size_t kMaxWords = 12;  // in any choice
  for (std::size_t variant = 0; variant <= kMaxWords; ++variant) {
    Config config;
    std::vector<RawWorkload> workloads;
    readRoot({&nothing, "", "", &problems, &description, variant}, false, config, workloads);
  }
  return description;
}

}  // namespace fallbackd::config
