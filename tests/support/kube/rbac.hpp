// SPDX-License-Identifier: Apache-2.0
// What a ClusterRole allows, verb by verb, and what a request needs: as the API server's RBAC authorizer and
// kubelet's own judge them.
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

/// Of every ClusterRole in a manifest. Wildcards are none of ours: they throw std::runtime_error, as do files
/// that cannot be read.
std::vector<Permission> permissionsIn(const std::filesystem::path& manifest);

/// Of one Role in a template of the chart, whose rules are plain YAML.
std::vector<Permission> permissionsInTemplate(const std::filesystem::path& file, const std::string& role);

enum class Asked : std::uint8_t { api_server, kubelet };
/// What a request needs; nullopt: it is not about resources, and nobody is granted those.
std::optional<Permission> needs(Asked whom, const std::string& method, const std::string& path, bool watch);

/// Remembers what was asked for.
class Authorizer {
 public:
  explicit Authorizer(std::set<Permission> granted) : granted_(std::move(granted)) {}

  /// Empty: allowed. Otherwise as a real server words it.
  std::string refusal(Asked whom, const std::string& method, const std::string& path, bool watch);
  [[nodiscard]] const std::set<std::string>& asked() const { return asked_; }

 private:
  std::set<Permission> granted_;
  std::set<std::string> asked_;
};

}  // namespace fallbackd::kube_test
