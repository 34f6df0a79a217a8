// SPDX-License-Identifier: Apache-2.0
// What a ClusterRole allows, verb by verb, and what a request needs, as judged by the API server's RBAC
// authorizer and by kubelet's own.
#pragma once

#include <compare>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::kube_test {

/// One verb on one resource.
struct Permission {
  std::string verb;
  std::string resource;  // "pods", "nodes/pods"
  std::string group;     // "": the core API

  auto operator<=>(const Permission&) const = default;
  /// "list pods", "get deployments.apps"
  [[nodiscard]] std::string text() const;
};

/// The permissions of every ClusterRole in a manifest. Ours have no wildcards: these throw
/// std::runtime_error, as do files that cannot be read.
std::vector<Permission> permissionsIn(const std::filesystem::path& manifest);

/// The permissions of one Role in a template of the chart with rules in plain YAML.
std::vector<Permission> permissionsInTemplate(const std::filesystem::path& file, const std::string& role);

enum class Asked : std::uint8_t { api_server, kubelet };
/// What a request needs; nullopt: it is not about resources, and no role grants it.
std::optional<Permission> needs(Asked whom, const std::string& method, const std::string& path, bool watch);

/// Records what was requested.
class Authorizer {
 public:
  explicit Authorizer(std::set<Permission> granted) : granted_(std::move(granted)) {}

  /// Empty: allowed. Otherwise worded as by a real server.
  std::string refusal(Asked whom, const std::string& method, const std::string& path, bool watch);
  [[nodiscard]] const std::set<std::string>& asked() const { return asked_; }

 private:
  std::set<Permission> granted_;
  std::set<std::string> asked_;
};

}  // namespace fallbackd::kube_test
