// SPDX-License-Identifier: Apache-2.0
// Probes and resources. A probe that fallbackd cannot send as kubelet does is not inherited; if it names a
// port, fallbackd checks instead whether the port accepts connections, and reports that. A command is
// inherited if it is the container's own program, which the binary stands in for.
#include "base/strings.hpp"
#include "kube/expand.hpp"
#include "kube/inherit_parts.hpp"
#include "kube/resource_quantity.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace fallbackd::kube {

namespace {

using Asked = decltype(config::Liveness::when);

constexpr std::size_t kMaxGrpcService = 1024;

constexpr std::int64_t kLongestWait = 86400;  // seconds: factors of it do not overflow

bool isHeaderName(std::string_view name) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

bool isHeaderValue(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

bool isUrlPath(std::string_view path) {
  return std::all_of(path.begin(), path.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > 0x20 && byte < 0x7f;
  });
}

/// Then the container's program only runs the probe's script, which the binary does not know.
bool runsScripts(std::string_view program) {
  const auto name = program.substr(program.rfind('/') + 1);
  constexpr std::array<std::string_view, 8> kNames{"env", "java", "node",   "perl",
                                                   "php", "ruby", "dotnet", "deno"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() || name.starts_with("python") ||
         name.ends_with(".sh") || name.ends_with(".py");
}

class ProbeReader {
 public:
  ProbeReader(const Inheritance& to, std::string_view name) : to_(to), path_(to.pathOf(name)) {}

  /// Empty if fallbackd cannot check any of it, which is reported.
  std::optional<Asked> read(const Probe& probe) const {
    if (const auto* const http = std::get_if<HttpGet>(&probe.handler)) return readHttp(*http);
    if (const auto* const tcp = std::get_if<TcpSocket>(&probe.handler)) return readTcp(*tcp);
    if (const auto* const grpc = std::get_if<GrpcCheck>(&probe.handler)) return readGrpc(*grpc);
    if (const auto* const exec = std::get_if<ExecCommand>(&probe.handler)) return readExec(*exec, probe);
    return std::nullopt;
  }

 private:
  std::optional<Asked> readExec(const ExecCommand& exec, const Probe& probe) const {
    const auto command = expanded(exec.command);
    if (command.empty() || command.front().empty() || command.front() != to_.out.workload.argv0) {
      to_.note(path_ + ".exec", "the command is not in the fallback's root");
      return std::nullopt;
    }
    if (runsScripts(command.front())) {
      to_.note(path_ + ".exec",
               quoted(command.front()) + " runs scripts, which the fallback's root does not have");
      return std::nullopt;
    }
    to_.note(path_ + ".exec",
             "it runs beside the fallback, with an empty /tmp of its own, and does not see its processes");
    return config::ReadyWhenCommand{command, std::chrono::seconds(probe.timeoutSeconds),
                                    std::chrono::seconds(probe.periodSeconds)};
  }

  /// As kubelet does here: with the values in the container's own env; those from other sources are empty.
  std::vector<std::string> expanded(const std::vector<std::string>& words) const {
    const auto& all = to_.container.env;
    const auto valueOf = [&](std::string_view name) {
      const auto last =
          std::find_if(all.rbegin(), all.rend(), [&](const EnvVar& one) { return one.name == name; });
      return last == all.rend() ? asReference(name) : last->value;
    };
    std::vector<std::string> result;
    for (const auto& word : words) result.push_back(expand(word, valueOf));
    return result;
  }

  std::optional<std::uint16_t> portOf(const PortRef& ref, const std::string& path) const {
    std::optional<std::uint16_t> port;
    if (const auto* const number = std::get_if<std::uint16_t>(&ref)) {
      port = *number;
    } else {
      const auto& ports = to_.container.ports;
      const auto& name = std::get<std::string>(ref);
      const auto found = std::find_if(ports.begin(), ports.end(), [&](const ContainerPort& one) {
        return !name.empty() && one.name == name;
      });
      if (found != ports.end()) port = found->containerPort;
    }
    if (port && *port != 0) return port;
    to_.note(path + ".port", "is not a port of the container");
    return std::nullopt;
  }

  std::optional<Asked> readTcp(const TcpSocket& tcp) const {
    const auto path = path_ + ".tcpSocket";
    const auto port = portOf(tcp.port, path);
    if (!port) return std::nullopt;
    if (!tcp.host.empty()) {
      to_.note(path + ".host", "only the pod's own address is probed, not " + quoted(tcp.host));
      return std::nullopt;
    }
    return config::ReadyWhenTcp{*port};
  }

  std::optional<Asked> readGrpc(const GrpcCheck& grpc) const {
    if (grpc.service.size() <= kMaxGrpcService) return config::ReadyWhenGrpc{grpc.port, grpc.service};
    to_.note(path_ + ".grpc.service", "it is too long; whether the port accepts connections is checked");
    return config::ReadyWhenTcp{grpc.port};
  }

  std::optional<Asked> readHttp(const HttpGet& http) const {
    const auto path = path_ + ".httpGet";
    const auto port = portOf(http.port, path);
    if (!port) return std::nullopt;
    if (!http.host.empty()) {
      to_.note(path + ".host", "only the pod's own address is probed, not " + quoted(http.host));
      return std::nullopt;
    }
    if (!http.scheme.empty() && http.scheme != "HTTP") {
      to_.note(path + ".scheme",
               quoted(http.scheme) + " is not supported; whether the port accepts connections is checked");
      return config::ReadyWhenTcp{*port};
    }
    if (!isUrlPath(http.path)) {
      to_.note(path + ".path", "it contains spaces or characters that a request cannot contain");
      return std::nullopt;
    }
    config::ReadyWhenHttp asked{*port, http.path.starts_with('/') ? http.path : "/" + http.path, {}};
    for (const auto& [name, value] : http.headers) {
      if (isHeaderName(name) && isHeaderValue(value)) {
        asked.headers.emplace_back(name, value);
      } else {
        to_.note(path + ".httpHeaders", quoted(name) + " is not a header that a request can have");
      }
    }
    return asked;
  }

  const Inheritance& to_;
  std::string path_;
};

/// The readiness probe decides what ready is; without one the startup probe does, which ends by then.
void inheritReadiness(const Inheritance& to) {
  const auto& container = to.container;
  auto& readiness = to.out.workload.readiness;
  if (to.given("readiness")) return;
  if (const auto& startup = container.startupProbe) {
    // kubelet waits this long for the container to start.
    readiness.timeout = std::chrono::seconds(startup->initialDelaySeconds) +
                        std::chrono::seconds(std::min(startup->periodSeconds, kLongestWait) *
                                             std::min(startup->failureThreshold, kLongestWait));
  }
  const bool own = container.readinessProbe.has_value();
  const auto& probe = own ? container.readinessProbe : container.startupProbe;
  if (!probe) return;
  const auto asked = ProbeReader(to, own ? "readinessProbe" : "startupProbe").read(*probe);
  if (!asked) return;
  std::visit([&](const auto& how) { readiness.when = how; }, *asked);
}

void inheritLiveness(const Inheritance& to) {
  const auto& probe = to.container.livenessProbe;
  if (to.given("liveness") || !probe) return;
  const auto asked = ProbeReader(to, "livenessProbe").read(*probe);
  if (!asked) return;
  auto& liveness = to.out.workload.liveness.emplace();
  liveness.when = *asked;
  liveness.interval = std::chrono::seconds(probe->periodSeconds);
  liveness.timeout = std::chrono::seconds(probe->timeoutSeconds);
  liveness.failures = static_cast<unsigned>(probe->failureThreshold);
}

std::optional<ResourceQuantity> limitOf(const Inheritance& to, const std::string& resource) {
  const auto& limits = to.container.resources.limits;
  const auto found = limits.find(resource);
  if (found == limits.end()) return std::nullopt;
  auto quantity = ResourceQuantity::parse(found->second);
  if (!quantity)
    to.note(to.pathOf("resources.limits." + resource), quoted(found->second) + " is not a quantity");
  return quantity && !quantity->isZero() ? quantity : std::nullopt;
}

}  // namespace

void inheritProbes(const Inheritance& to) {
  inheritReadiness(to);
  inheritLiveness(to);
}

void inheritResources(const Inheritance& to) {
  const auto& resources = to.container.resources;
  if (!to.given("resources")) {
    auto& out = to.out.workload.resources;
    if (const auto memory = limitOf(to, "memory"))
      out.memoryBytes = static_cast<std::uint64_t>(memory->units());
    if (const auto cpu = limitOf(to, "cpu")) out.cpus = static_cast<double>(cpu->thousandths()) / 1000;
  }
  constexpr std::array<std::string_view, 3> kOrdinary{"cpu", "memory", "ephemeral-storage"};
  for (const auto& [resource, quantity] : resources.limits) {
    if (std::find(kOrdinary.begin(), kOrdinary.end(), resource) != kOrdinary.end()) continue;
    const auto path = to.pathOf("resources.limits." + resource);
    if (resource.starts_with("hugepages-")) {
      to.note(path, "a fallback has the pod's limit");
    } else {
      to.refuse(path, "a fallback cannot have devices");
    }
  }
  for (const auto& claim : resources.claims) {
    to.refuse(to.pathOf("resources.claims"),
              "a fallback cannot have what the resource claim " + quoted(claim) + " gives");
  }
  if (resources.requests.contains("cpu") && to.request.pod.containers.size() > 1) {
    to.note(to.pathOf("resources.requests.cpu"),
            "among the pod's containers a fallback has the default weight");
  }
}

}  // namespace fallbackd::kube
