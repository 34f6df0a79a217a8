// SPDX-License-Identifier: Apache-2.0
#include "kube/pod_parts.hpp"

#include <limits>
#include <utility>

namespace fallbackd::kube {

namespace {

constexpr std::int64_t kMaxId = 4294967294;  // (uid_t)-1 means "leave it alone"
constexpr std::int64_t kMaxPort = 65535;
constexpr std::int64_t kMaxSeconds = std::numeric_limits<std::int32_t>::max();

KeyRef readKeyRef(const Fields& fields, KeyRef::Kind kind) {
  return {kind, fields.text("name"), fields.text("key"), fields.boolean("optional").value_or(false)};
}

/// In the order in which kubelet checks them.
decltype(EnvVar::valueFrom) readValueFrom(const Fields& from) {
  if (from.has("fieldRef")) return FieldRef{from.object("fieldRef").text("fieldPath")};
  if (from.has("resourceFieldRef")) {
    const auto ref = from.object("resourceFieldRef");
    return ResourceFieldRef{ref.text("containerName"), ref.text("resource"), ref.textOrNumber("divisor")};
  }
  if (from.has("configMapKeyRef"))
    return readKeyRef(from.object("configMapKeyRef"), KeyRef::Kind::config_map);
  if (from.has("secretKeyRef")) return readKeyRef(from.object("secretKeyRef"), KeyRef::Kind::secret);
  const auto keys = from.keys();
  if (!keys.empty()) return UnknownSource{keys.front()};
  return std::monostate{};
}

EnvVar readEnvVar(const Fields& fields) {
  fields.require("name");
  return {fields.text("name"), fields.text("value"), readValueFrom(fields.object("valueFrom"))};
}

EnvFrom readEnvFrom(const Fields& fields) {
  EnvFrom from;
  from.prefix = fields.text("prefix");
  const bool secret = !fields.has("configMapRef");
  const auto ref = fields.object(secret ? "secretRef" : "configMapRef");
  if (!ref.present()) return from;
  from.kind = secret ? KeyRef::Kind::secret : KeyRef::Kind::config_map;
  from.name = ref.text("name");
  from.optional = ref.boolean("optional").value_or(false);
  return from;
}

PortRef readPortRef(const Fields& fields) {
  const auto text = fields.textOrNumber("port");
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) return text;
  const bool fits = text.size() <= 5 && std::stoi(text) <= kMaxPort;
  if (!fits) fields.problem("port", "is not a port");
  return static_cast<std::uint16_t>(fits ? std::stoi(text) : 0);
}

HttpGet readHttpGet(const Fields& fields) {
  HttpGet get{readPortRef(fields), fields.text("host"), fields.text("path"), fields.text("scheme"), {}};
  fields.each("httpHeaders", [&](const Fields& header) {
    get.headers.emplace_back(header.text("name"), header.text("value"));
  });
  return get;
}

std::optional<Probe> readProbe(const Fields& fields) {
  if (!fields.present()) return std::nullopt;
  Probe probe;
  if (fields.has("exec")) {
    probe.handler = ExecCommand{fields.object("exec").texts("command")};
  } else if (fields.has("httpGet")) {
    probe.handler = readHttpGet(fields.object("httpGet"));
  } else if (fields.has("tcpSocket")) {
    const auto socket = fields.object("tcpSocket");
    probe.handler = TcpSocket{readPortRef(socket), socket.text("host")};
  } else if (fields.has("grpc")) {
    const auto grpc = fields.object("grpc");
    probe.handler = GrpcCheck{static_cast<std::uint16_t>(grpc.integer("port", 0, kMaxPort).value_or(0)),
                              grpc.text("service")};
  }
  // An object that was not given its defaults has zero.
  const auto seconds = [&](std::string_view key, std::int64_t otherwise) {
    const auto number = fields.integer(key, 0, kMaxSeconds).value_or(0);
    return number == 0 ? otherwise : number;
  };
  probe.initialDelaySeconds = seconds("initialDelaySeconds", 0);
  probe.timeoutSeconds = seconds("timeoutSeconds", 1);
  probe.periodSeconds = seconds("periodSeconds", 10);
  probe.successThreshold = seconds("successThreshold", 1);
  probe.failureThreshold = seconds("failureThreshold", 3);
  return probe;
}

std::optional<Profile> readPodProfile(const Fields& fields) {
  if (!fields.present()) return std::nullopt;
  return Profile{fields.text("type"), fields.text("localhostProfile")};
}

VolumeMount readVolumeMount(const Fields& fields) {
  fields.require("name");
  fields.require("mountPath");
  return {fields.text("name"),
          fields.text("mountPath"),
          fields.text("subPath"),
          fields.text("subPathExpr"),
          fields.text("mountPropagation"),
          fields.boolean("readOnly").value_or(false)};
}

}  // namespace

SecurityContext readSecurityContext(const Fields& fields) {
  SecurityContext context;
  context.runAsUser = fields.integer("runAsUser", 0, kMaxId);
  context.runAsGroup = fields.integer("runAsGroup", 0, kMaxId);
  context.runAsNonRoot = fields.boolean("runAsNonRoot");
  context.seccompProfile = readPodProfile(fields.object("seccompProfile"));
  context.appArmorProfile = readPodProfile(fields.object("appArmorProfile"));
  if (const auto options = fields.object("seLinuxOptions"); options.present()) {
    context.seLinuxOptions = SeLinuxOptions{options.text("user"), options.text("role"), options.text("type"),
                                            options.text("level")};
  }
  context.privileged = fields.boolean("privileged");
  context.readOnlyRootFilesystem = fields.boolean("readOnlyRootFilesystem");
  if (const auto capabilities = fields.object("capabilities"); capabilities.present()) {
    context.capabilities = Capabilities{capabilities.texts("add"), capabilities.texts("drop")};
  }
  context.procMount = fields.text("procMount");
  context.supplementalGroups = fields.integers("supplementalGroups", 0, kMaxId);
  context.fsGroup = fields.integer("fsGroup", 0, kMaxId);
  return context;
}

ResourceRequirements readResources(const Fields& fields) {
  ResourceRequirements resources{fields.textOrNumberMap("limits"), fields.textOrNumberMap("requests"), {}};
  fields.each("claims", [&](const Fields& claim) { resources.claims.push_back(claim.text("name")); });
  return resources;
}

Container readContainer(const Fields& fields) {
  Container container;
  container.path = fields.path();
  fields.require("name");
  container.name = fields.text("name");
  container.image = fields.text("image");
  container.imagePullPolicy = fields.text("imagePullPolicy");
  container.workingDir = fields.text("workingDir");
  container.restartPolicy = fields.text("restartPolicy");
  container.command = fields.texts("command");
  container.args = fields.texts("args");
  fields.each("env", [&](const Fields& one) { container.env.push_back(readEnvVar(one)); });
  fields.each("envFrom", [&](const Fields& one) { container.envFrom.push_back(readEnvFrom(one)); });
  fields.each("ports", [&](const Fields& one) {
    container.ports.push_back(
        {one.text("name"), static_cast<std::uint16_t>(one.integer("containerPort", 0, kMaxPort).value_or(0)),
         one.text("protocol")});
  });
  fields.each("volumeMounts",
              [&](const Fields& one) { container.volumeMounts.push_back(readVolumeMount(one)); });
  fields.each("volumeDevices",
              [&](const Fields& one) { container.volumeDevices.push_back(one.text("name")); });
  container.lifecycle = fields.object("lifecycle").keys();
  container.readinessProbe = readProbe(fields.object("readinessProbe"));
  container.livenessProbe = readProbe(fields.object("livenessProbe"));
  container.startupProbe = readProbe(fields.object("startupProbe"));
  container.securityContext = readSecurityContext(fields.object("securityContext"));
  container.resources = readResources(fields.object("resources"));
  container.stdin = fields.boolean("stdin").value_or(false);
  container.tty = fields.boolean("tty").value_or(false);
  return container;
}

}  // namespace fallbackd::kube
