// SPDX-License-Identifier: Apache-2.0
#include "base/paths.hpp"
#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/raw_parts.hpp"
#include "config/security_names.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::uint64_t kMaxId = 4294967294;  // (uid_t)-1 means "leave it alone"

void readProfile(const MapReader& outer, std::string_view key, const LauncherSettings& settings,
                 std::string_view example, SecurityProfile& out) {
  const auto place = outer.find(key);
  if (!place) return;
  const MapReader map(*place, {"type", "localhostProfile"});
  if (!map.valid()) return;
  static_cast<void>(map.require("type", "RuntimeDefault"));
  using Type = SecurityProfile::Type;
  if (const auto i = map.choice("type", {"RuntimeDefault", "Localhost", "Unconfined"})) {
    out.type = static_cast<Type>(*i);
  }
  if (out.type == Type::unconfined && !settings.allowUnconfined) {
    map.problem("type", "Unconfined is not allowed on this node", "add launcher.allowUnconfined: true");
  }
  if (out.type != Type::localhost) {
    map.forbid("localhostProfile", "only a profile of type Localhost has a localhostProfile", "remove it");
    return;
  }
  static_cast<void>(map.require("localhostProfile", example));
  if (map.read("localhostProfile", out.localhost) && !isCleanPath("/" + out.localhost)) {
    map.problem("localhostProfile", quoted(out.localhost) + " must be a relative path without . and ..");
  }
}

void readRlimits(const Place& place, std::vector<Rlimit>& out) {
  eachEntry(place, [&](const std::string& name, const Place& namePlace, const Place& value) {
    const auto resource = parseRlimit(name);
    if (!resource) {
      namePlace.problem(quoted(name) + " is not a resource limit", suggestFor(name, rlimitNames()));
      return;
    }
    const auto text = scalar(value, "a number or unlimited");
    if (!text) return;
    if (*text == "unlimited") {
      out.push_back({*resource, std::nullopt});
    } else if (const auto number = wholeNumber(value, 0, ~0ULL - 1)) {
      out.push_back({*resource, *number});
    }
  });
}

}  // namespace

bool readDnsLabel(const MapReader& map, std::string_view key, std::string& out) {
  std::string text;
  if (!map.read(key, text)) return false;
  if (!isDnsLabel(text)) {
    map.problem(key, quoted(text) + " is not a name that Kubernetes accepts",
                "a-z, 0-9 and -, a letter or digit at both ends, at most 63 characters");
    return false;
  }
  out = std::move(text);
  return true;
}

std::set<std::string, std::less<>> readUser(const Place& place, User& out) {
  const MapReader map(place, {"uid", "gid", "groups", "allowRoot"});
  if (const auto number = map.integer("uid", 0, kMaxId, out.uid)) out.uid = static_cast<uid_t>(*number);
  if (const auto number = map.integer("gid", 0, kMaxId, out.gid)) out.gid = static_cast<gid_t>(*number);
  if (const auto groups = map.find("groups")) {
    eachItem(*groups, [&](const Place& item) {
      if (const auto number = wholeNumber(item, 0, kMaxId)) out.groups.push_back(static_cast<gid_t>(*number));
    });
  }
  map.read("allowRoot", out.allowRoot);
  if (out.uid == 0 && !out.allowRoot) {
    map.problem("uid", "a fallback must not run as root", "choose another uid, or add allowRoot: true");
  }
  return map.keys();
}

void readCapabilities(const Place& list, std::uint64_t& out) {
  out = 0;
  eachItem(list, [&](const Place& item) {
    const auto name = scalar(item, "the name of a capability");
    if (!name) return;
    if (const auto number = parseCapability(*name)) {
      out |= 1ULL << *number;
    } else {
      item.problem(quoted(*name) + " is not a capability", suggestFor(*name, capabilityNames()));
    }
  });
}

void readSecurity(const MapReader& map, const LauncherSettings& settings, Security& out) {
  if (const auto list = map.find("capabilities")) {
    readCapabilities(*list, out.capabilities);
    if (const auto beyond = out.capabilities & ~settings.allowedCapabilities; beyond != 0) {
      map.problem("capabilities", capabilityList(beyond) + " is not allowed on this node",
                  "add it to launcher.allowedCapabilities");
    }
  }
  readProfile(map, "seccompProfile", settings, "profiles/checkout.json", out.seccomp);
  readProfile(map, "appArmorProfile", settings, "k8s-checkout", out.appArmor);
  if (map.read("seLinuxLabel", out.seLinuxLabel) &&
      std::count(out.seLinuxLabel.begin(), out.seLinuxLabel.end(), ':') < 2) {
    map.problem("seLinuxLabel", quoted(out.seLinuxLabel) + " is not USER:ROLE:TYPE[:LEVEL]");
  }
  if (const auto section = map.find("rlimits")) readRlimits(*section, out.rlimits);
}

}  // namespace fallbackd::config
