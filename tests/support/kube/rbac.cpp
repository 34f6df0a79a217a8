// SPDX-License-Identifier: Apache-2.0
#include "kube/rbac.hpp"

#include "base/strings.hpp"

#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>

#include <yaml-cpp/yaml.h>

namespace fallbackd::kube_test {

namespace {

/// What follows /api/v1/ or /apis/GROUP/VERSION/ in the path; and the group.
std::optional<std::pair<std::string, std::vector<std::string>>> partsOf(const std::string& path) {
  std::vector<std::string> parts;
  for (const auto part : split(path, '/')) parts.emplace_back(part);
  if (parts.size() >= 4 && parts[1] == "api")
    return std::pair(std::string(), std::vector(parts.begin() + 3, parts.end()));
  if (parts.size() >= 5 && parts[1] == "apis")
    return std::pair(parts[2], std::vector(parts.begin() + 4, parts.end()));
  return std::nullopt;
}

void addRules(const YAML::Node& rules, const std::string& manifest, std::vector<Permission>& all) {
  for (const auto& rule : rules) {
    for (const auto& entry : rule) {
      const auto key = entry.first.as<std::string>();
      // resourceNames would make a rule narrower than this code reads it.
      if (key != "apiGroups" && key != "resources" && key != "verbs")
        throw std::runtime_error("unknown key " + key);
    }
    for (const auto& group : rule["apiGroups"].as<std::vector<std::string>>()) {
      for (const auto& resource : rule["resources"].as<std::vector<std::string>>()) {
        for (const auto& verb : rule["verbs"].as<std::vector<std::string>>()) {
          if (group == "*" || resource.find('*') != std::string::npos || verb == "*")
            throw std::runtime_error("a wildcard in " + manifest);
          all.push_back({verb, resource, group});
        }
      }
    }
  }
}

}  // namespace

std::string Permission::text() const {
  return verb + " " + resource + (group.empty() ? "" : "." + group);
}

std::vector<Permission> permissionsIn(const std::filesystem::path& manifest) {
  std::vector<Permission> all;
  for (const auto& document : YAML::LoadAllFromFile(manifest)) {
    if (!document.IsMap() || document["kind"].as<std::string>("") != "ClusterRole") continue;
    addRules(document["rules"], manifest.string(), all);
  }
  if (all.empty()) throw std::runtime_error("no ClusterRole in " + manifest.string());
  return all;
}

std::vector<Permission> permissionsInTemplate(const std::filesystem::path& file, const std::string& role) {
  std::ifstream in(file);
  const std::string written{std::istreambuf_iterator<char>(in), {}};
  static const std::regex name(R"(\{\{ include "fallbackd\.fullname" [.$] \}\})");
  const auto text = std::regex_replace(written, name, "fallbackd");
  const auto kind = text.find("\nkind: Role\nmetadata:\n  name: " + role + "\n");
  const auto begin = kind == std::string::npos ? kind : text.find("\nrules:\n", kind);
  const auto end = begin == std::string::npos ? begin : text.find("\n---", begin);
  if (end == std::string::npos) throw std::runtime_error("no Role " + role + " in " + file.string());
  std::vector<Permission> all;
  addRules(YAML::Load(text.substr(begin, end - begin))["rules"], file.string(), all);
  return all;
}

std::optional<Permission> needs(Asked whom, const std::string& method, const std::string& path, bool watch) {
  if (whom == Asked::kubelet) {
    // From 1.33 on; before, and for every other path, it is nodes/proxy.
    if (path == "/pods" && method == "GET") return Permission{"get", "nodes/pods", ""};
    return Permission{method == "GET" ? "get" : "create", "nodes/proxy", ""};
  }
  auto found = partsOf(path);
  if (!found) return std::nullopt;
  auto& [group, parts] = *found;
  if (parts.size() > 2 && parts.front() == "namespaces") parts.erase(parts.begin(), parts.begin() + 2);
  Permission permission{{}, parts.front(), group};
  if (parts.size() > 2) permission.resource += "/" + parts[2];
  if (method == "POST") {
    permission.verb = "create";
  } else if (method == "PATCH") {
    permission.verb = "patch";
  } else if (method == "GET") {
    permission.verb = parts.size() > 1 ? "get" : watch ? "watch" : "list";
  } else {
    permission.verb = method == "PUT" ? "update" : "delete";
  }
  return permission;
}

std::string Authorizer::refusal(Asked whom, const std::string& method, const std::string& path, bool watch) {
  const auto needed = needs(whom, method, path, watch);
  const auto text = needed ? needed->text() : method + " " + path;
  asked_.insert(text);
  if (needed && granted_.contains(*needed)) return {};
  return "forbidden: User \"system:serviceaccount:fallbackd-system:fallbackd\" cannot " + text;
}

}  // namespace fallbackd::kube_test
