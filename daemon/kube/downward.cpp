// SPDX-License-Identifier: Apache-2.0
#include "kube/downward.hpp"

#include "base/strings.hpp"
#include "kube/resource_quantity.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

namespace fallbackd::kube {

namespace {

tl::unexpected<Error> noField(const std::string& path) {
  return fail(Stage::config, Reason::invalid, quoted(path) + " is not a field that a variable can have");
}

tl::unexpected<Error> notKnownYet(std::string what) {
  return fail(Stage::config, Reason::not_found, std::move(what));
}

/// "metadata.labels['app']" -> "app".
std::optional<std::string_view> subscriptOf(std::string_view path, std::string_view field) {
  const std::string opening = std::string(field) + "['";
  if (!path.starts_with(opening) || !path.ends_with("']") || path.size() < opening.size() + 2)
    return std::nullopt;
  return path.substr(opening.size(), path.size() - opening.size() - 2);
}

std::string valueOr(const std::map<std::string, std::string>& map, std::string_view key) {
  const auto found = map.find(std::string(key));
  return found == map.end() ? std::string() : found->second;
}

const Container* containerNamed(const Pod& pod, const std::string& name) {
  for (const auto* list : {&pod.containers, &pod.initContainers}) {
    const auto found =
        std::find_if(list->begin(), list->end(), [&](const Container& one) { return one.name == name; });
    if (found != list->end()) return &*found;
  }
  return nullptr;
}

std::optional<ResourceQuantity> quantityIn(const std::map<std::string, std::string>& map,
                                           const std::string& resource) {
  const auto found = map.find(resource);
  return found == map.end() ? std::nullopt : ResourceQuantity::parse(found->second);
}

/// What limits a container without its own limit.
std::optional<ResourceQuantity> outerLimit(const std::string& resource, const Pod& pod, const Facts& facts) {
  const auto node = quantityIn(facts.allocatable, resource);
  const auto whole = quantityIn(pod.resources.limits, resource);
  if (node && whole) return std::min(*node, *whole);
  return whole ? whole : node;
}

/// kubelet divides as floating-point numbers and rounds up.
std::string divided(std::int64_t value, std::int64_t by) {
  const auto quotient = std::ceil(static_cast<double>(value) / static_cast<double>(by));
  return std::to_string(static_cast<std::int64_t>(std::min(quotient, 9.2e18)));
}

}  // namespace

const std::vector<std::string>& podAddresses(const Pod& pod, const Facts& facts) {
  if (!facts.podIps.empty()) return facts.podIps;
  if (!pod.podIps.empty() || !pod.hostNetwork) return pod.podIps;
  return hostAddresses(pod, facts);
}

const std::vector<std::string>& hostAddresses(const Pod& pod, const Facts& facts) {
  return facts.hostIps.empty() ? pod.hostIps : facts.hostIps;
}

Result<std::string> fieldValue(const FieldRef& ref, const Pod& pod, const Facts& facts) {
  const auto& path = ref.fieldPath;
  if (const auto key = subscriptOf(path, "metadata.labels")) return valueOr(pod.labels, *key);
  if (const auto key = subscriptOf(path, "metadata.annotations")) return valueOr(pod.annotations, *key);
  if (path == "metadata.name") return pod.name;
  if (path == "metadata.namespace") return pod.namespaceName;
  if (path == "metadata.uid") return pod.uid;
  if (path == "spec.nodeName" || path == "spec.host") return pod.nodeName;
  if (path == "spec.serviceAccountName") return pod.serviceAccountName;
  const bool ofHost = path == "status.hostIP" || path == "status.hostIPs";
  if (!ofHost && path != "status.podIP" && path != "status.podIPs") return noField(path);
  const auto& addresses = ofHost ? hostAddresses(pod, facts) : podAddresses(pod, facts);
  if (addresses.empty()) {
    return notKnownYet(std::string("the address of the ") + (ofHost ? "node" : "pod") + " is not known");
  }
  return path.ends_with('s') ? join(addresses, ",") : addresses.front();
}

Result<std::string> resourceValue(const ResourceFieldRef& ref, const Pod& pod, const Container& own,
                                  const Facts& facts) {
  const auto* const container = ref.containerName.empty() ? &own : containerNamed(pod, ref.containerName);
  if (container == nullptr) return notKnownYet("the pod has no container " + quoted(ref.containerName));
  const auto dot = ref.resource.find('.');
  const auto kind = ref.resource.substr(0, dot);
  const auto resource = dot == std::string::npos ? std::string() : ref.resource.substr(dot + 1);
  const bool limit = kind == "limits";
  const bool ofTheNode = resource == "cpu" || resource == "memory" || resource == "ephemeral-storage";
  if ((!limit && kind != "requests") || (!ofTheNode && !resource.starts_with("hugepages-"))) {
    return noField(ref.resource);
  }
  const auto divisor = ref.divisor.empty() ? ResourceQuantity() : ResourceQuantity::parse(ref.divisor);
  if (!divisor) return noField(ref.divisor);
  auto value = quantityIn(limit ? container->resources.limits : container->resources.requests, resource);
  if (limit && ofTheNode && (!value || value->isZero())) {
    value = outerLimit(resource, pod, facts);
    if (!value) return notKnownYet("the container has no limit, and how much the node has is not known");
  }
  const auto amount = value.value_or(ResourceQuantity());
  const auto unit = divisor->isZero() ? *ResourceQuantity::parse("1") : *divisor;
  return resource == "cpu" ? divided(amount.thousandths(), unit.thousandths())
                           : divided(amount.units(), unit.units());
}

}  // namespace fallbackd::kube
