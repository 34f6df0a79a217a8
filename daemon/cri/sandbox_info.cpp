// SPDX-License-Identifier: Apache-2.0
#include "cri/sandbox_info.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::cri {

namespace {

namespace json = boost::json;

/// The value at a path of object keys, or null.
const json::value* find(const json::value& root, std::initializer_list<std::string_view> keys) {
  const json::value* at = &root;
  for (const auto key : keys) {
    const auto* object = at->if_object();
    at = object == nullptr ? nullptr : object->if_contains(key);
    if (at == nullptr) return nullptr;
  }
  return at;
}

std::string stringAt(const json::value& root, std::initializer_list<std::string_view> keys) {
  const auto* value = find(root, keys);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(*text);
}

/// The host path that the sandbox's own specification binds to `destination`. The specification also has the
/// runtime's defaults (/dev/shm from "shm", a new tmpfs); the last entry counts.
std::string mountSource(const json::value& root, std::string_view destination) {
  const auto* mounts = find(root, {"runtimeSpec", "mounts"});
  const auto* list = mounts == nullptr ? nullptr : mounts->if_array();
  if (list == nullptr) return {};
  std::string found;
  for (const auto& mount : *list) {
    auto source = stringAt(mount, {"source"});
    if (stringAt(mount, {"destination"}) == destination && source.starts_with('/')) found = std::move(source);
  }
  return found;
}

/// The groups of every process of the pod; kubelet adds the group of the pod's volumes (fsGroup).
std::vector<gid_t> supplementalGroups(const json::value& root) {
  std::vector<gid_t> groups;
  const auto* value = find(root, {"config", "linux", "security_context", "supplemental_groups"});
  const auto* list = value == nullptr ? nullptr : value->if_array();
  if (list == nullptr) return groups;
  for (const auto& item : *list) {
    const auto* group = item.if_int64();
    if (group != nullptr && *group >= 0 && *group < UINT32_MAX) groups.push_back(static_cast<gid_t>(*group));
  }
  return groups;
}

}  // namespace

Result<> applySandboxInfo(std::string_view text, SandboxStatus& status) {
  json::error_code error;
  const json::value root = json::parse({text.data(), text.size()}, error);
  if (error) {
    return fail(Stage::sandbox, Reason::protocol, "sandbox info is not JSON: " + error.message());
  }
  const auto* pid = find(root, {"pid"});
  const auto* number = pid == nullptr ? nullptr : pid->if_int64();
  if (number == nullptr || *number <= 1) {
    return fail(Stage::sandbox, Reason::sandbox_gone, "sandbox info has no pid of a running pause process");
  }
  status.pausePid = static_cast<pid_t>(*number);
  status.cgroupParent = stringAt(root, {"config", "linux", "cgroup_parent"});
  status.logDirectory = stringAt(root, {"config", "log_directory"});
  status.hostname = stringAt(root, {"config", "hostname"});
  if (status.hostname.empty()) status.hostname = stringAt(root, {"runtimeSpec", "hostname"});
  status.resolvConfPath = mountSource(root, "/etc/resolv.conf");
  status.shmPath = mountSource(root, "/dev/shm");
  status.supplementalGroups = supplementalGroups(root);
  return {};
}

std::string sandboxImageOf(std::string_view text) {
  json::error_code error;
  const json::value root = json::parse({text.data(), text.size()}, error);
  return error ? std::string() : stringAt(root, {"sandboxImage"});
}

}  // namespace fallbackd::cri
