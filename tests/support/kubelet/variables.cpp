// SPDX-License-Identifier: Apache-2.0
#include "kubelet/rules.hpp"
#include "pod_json.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace fallbackd::e2e {

namespace {

namespace json = boost::json;

bool isOptional(const json::object& reference) {
  const auto* const found = reference.if_contains("optional");
  return found != nullptr && found->as_bool();
}

/// metadata.labels['KEY'] -> KEY
std::string subscript(const std::string& path) {
  const auto begin = path.find("['");
  return begin == std::string::npos ? std::string() : path.substr(begin + 2, path.size() - begin - 4);
}

std::string fieldOf(const json::object& pod, const std::string& path, const Pod& running,
                    const Surroundings& around) {
  const auto& metadata = pod.at("metadata").as_object();
  const auto& spec = pod.at("spec").as_object();
  if (path == "metadata.name" || path == "metadata.namespace" || path == "metadata.uid")
    return textOf(metadata, path.substr(9));
  if (path == "spec.nodeName") return around.nodeName;
  if (path == "spec.serviceAccountName") return textOf(spec, "serviceAccountName");
  const auto* const status = childOf(pod, "status");
  const auto hostIp = status == nullptr ? std::string() : textOf(*status, "hostIP");
  if (path == "status.hostIP" || path == "status.hostIPs") return hostIp;
  if (path == "status.podIP" || path == "status.podIPs") return running.ip.empty() ? hostIp : running.ip;
  const auto* const map = childOf(metadata, path.starts_with("metadata.labels") ? "labels" : "annotations");
  return map == nullptr ? std::string() : textOf(*map, subscript(path));
}

/// A container without its own limit has the node's.
std::string resourceOf(const json::object& container, const json::object& reference,
                       const Surroundings& around) {
  const auto resource = textOf(reference, "resource");  // limits.cpu
  const auto dot = resource.find('.');
  const auto kind = resource.substr(0, dot);
  const auto name = resource.substr(dot + 1);
  std::string said;
  if (const auto* const resources = childOf(container, "resources")) {
    if (const auto* const part = childOf(*resources, kind)) said = textOf(*part, name);
  }
  if (said.empty() && kind == "limits" && around.allocatable.contains(name))
    said = around.allocatable.at(name);
  const auto value = milliQuantity(said).value_or(0);
  auto divisor = milliQuantity(textOf(reference, "divisor", "1")).value_or(0);
  if (divisor == 0) divisor = 1000;
  return std::to_string((value + divisor - 1) / divisor);
}

Result<std::optional<std::string>> keyOf(const std::map<std::string, Texts>& all,
                                         const json::object& reference, const char* what) {
  const auto object = all.find(textOf(reference, "name"));
  if (object != all.end()) {
    const auto value = object->second.find(textOf(reference, "key"));
    if (value != object->second.end()) return std::optional(value->second);
  }
  if (isOptional(reference)) return std::optional<std::string>();
  return fail(Stage::config, Reason::not_found,
              std::string(what) + " " + textOf(reference, "name") + " with key " + textOf(reference, "key"));
}

Result<> addFrom(const json::object& source, const Surroundings& around, Texts& out) {
  for (const auto& [field, all] :
       {std::pair{"configMapRef", &around.configMaps}, {"secretRef", &around.secrets}}) {
    const auto* const reference = childOf(source, field);
    if (reference == nullptr) continue;
    const auto object = all->find(textOf(*reference, "name"));
    if (object == all->end()) {
      if (isOptional(*reference)) continue;
      return fail(Stage::config, Reason::not_found, std::string(field) + " " + textOf(*reference, "name"));
    }
    for (const auto& [key, value] : object->second) out[textOf(source, "prefix") + key] = value;
  }
  return {};
}

}  // namespace

std::optional<std::int64_t> milliQuantity(std::string_view text) {
  double number = 0;
  const auto parsed =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (text.empty() || parsed.ec != std::errc()) return std::nullopt;
  const std::string_view unit(parsed.ptr, static_cast<std::size_t>(text.data() + text.size() - parsed.ptr));
  constexpr std::array<std::pair<std::string_view, double>, 12> kUnits{{{"", 1},
                                                                        {"m", 1e-3},
                                                                        {"k", 1e3},
                                                                        {"M", 1e6},
                                                                        {"G", 1e9},
                                                                        {"T", 1e12},
                                                                        {"Ki", 1024.0},
                                                                        {"Mi", 1048576.0},
                                                                        {"Gi", 1073741824.0},
                                                                        {"Ti", 1099511627776.0},
                                                                        {"P", 1e15},
                                                                        {"E", 1e18}}};
  for (const auto& [name, factor] : kUnits) {
    if (name == unit) return static_cast<std::int64_t>(std::ceil(number * factor * 1000));
  }
  return std::nullopt;
}

std::string expandVariables(std::string_view text, const Texts& variables) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '$' || at + 1 == text.size()) {
      out += text[at];
      continue;
    }
    if (text[at + 1] == '$') {
      out += '$';
      ++at;
      continue;
    }
    const auto end = text[at + 1] == '(' ? text.find(')', at) : std::string_view::npos;
    if (end == std::string_view::npos) {
      out += '$';
      continue;
    }
    const std::string name(text.substr(at + 2, end - at - 2));
    const auto found = variables.find(name);
    out += found == variables.end() ? "$(" + name + ")" : found->second;
    at = end;
  }
  return out;
}

Result<Texts> variablesOf(const json::object& pod, const json::object& container, const Pod& running,
                          const Surroundings& around) {
  Texts services = around.kubernetes;
  const auto* const links = pod.at("spec").as_object().if_contains("enableServiceLinks");
  if (links == nullptr || links->as_bool()) services.insert(around.services.begin(), around.services.end());
  Texts own;
  if (const auto* const sources = container.if_contains("envFrom")) {
    for (const auto& source : sources->as_array()) FB_CHECK(addFrom(source.as_object(), around, own));
  }
  if (const auto* const list = container.if_contains("env")) {
    for (const auto& item : list->as_array()) {
      const auto& variable = item.as_object();
      const auto name = textOf(variable, "name");
      const auto* const from = childOf(variable, "valueFrom");
      if (from == nullptr) {
        // Earlier variables first, then those of Services.
        Texts known = services;
        for (const auto& [key, value] : own) known[key] = value;
        own[name] = expandVariables(textOf(variable, "value"), known);
      } else if (const auto* const field = childOf(*from, "fieldRef")) {
        own[name] = fieldOf(pod, textOf(*field, "fieldPath"), running, around);
      } else if (const auto* const resource = childOf(*from, "resourceFieldRef")) {
        own[name] = resourceOf(container, *resource, around);
      } else {
        const auto* const config = childOf(*from, "configMapKeyRef");
        FB_TRY(const auto value, config != nullptr
                                     ? keyOf(around.configMaps, *config, "ConfigMap")
                                     : keyOf(around.secrets, from->at("secretKeyRef").as_object(), "Secret"));
        if (value) own[name] = *value;
      }
    }
  }
  own.insert(services.begin(), services.end());
  return own;
}

}  // namespace fallbackd::e2e
