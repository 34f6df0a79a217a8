// SPDX-License-Identifier: Apache-2.0
// The user and what confines the process: the container's own security context before the pod's, field by
// field, as kubelet merges them (DetermineEffectiveSecurityContext), and within the launcher's limits.
#include "base/paths.hpp"
#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/security_names.hpp"
#include "kube/inherit_parts.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

namespace fallbackd::kube {

namespace {

constexpr std::uint64_t kMaxNumericId = 4294967294;
constexpr std::uint64_t kAllCapabilities = (1ULL << 41U) - 1;

/// A value, and where it is set: in the container's context or in the pod's.
template <class T>
struct Said {
  std::optional<T> value;
  std::string path;
};
template <class T>
Said<T> effective(const Inheritance& to, std::optional<T> SecurityContext::*field, std::string_view name) {
  const auto& own = to.container.securityContext.*field;
  if (own) return {own, to.pathOf("securityContext." + std::string(name))};
  return {to.request.pod.securityContext.*field, "spec.securityContext." + std::string(name)};
}

std::optional<std::int64_t> numericId(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size() || number > kMaxNumericId) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

/// USER of the image: UID[:GID], or names, which only the image's /etc/passwd can resolve.
struct ImageUser {
  std::optional<std::int64_t> uid;
  std::optional<std::int64_t> gid;
  std::string name;  // of a user or group that is not a number
};
ImageUser imageUser(const ImageConfig& image) {
  if (image.user.empty()) return {0, 0, {}};
  const auto colon = image.user.find(':');
  const auto user = std::string_view(image.user).substr(0, colon);
  ImageUser parsed{numericId(user), {}, {}};
  if (!parsed.uid) parsed.name = user;
  if (user == "root") parsed = {0, 0, {}};
  if (colon == std::string::npos) return parsed;
  const auto group = std::string_view(image.user).substr(colon + 1);
  parsed.gid = group == "root" ? 0 : numericId(group);
  if (!parsed.gid && parsed.name.empty()) parsed.name = group;
  return parsed;
}

struct Identity {
  std::optional<std::int64_t> uid;
  std::optional<std::int64_t> gid;
  std::string path;  // of the user
};

/// The image's group counts only together with its user.
Identity identityOf(const Inheritance& to) {
  const auto user = effective(to, &SecurityContext::runAsUser, "runAsUser");
  const auto group = effective(to, &SecurityContext::runAsGroup, "runAsGroup");
  Identity identity{user.value, group.value, user.path};
  if (identity.uid || !to.request.image) return identity;
  const auto image = imageUser(*to.request.image);
  identity.path = to.pathOf("image");
  identity.uid = image.uid;
  if (!identity.gid) identity.gid = image.gid;
  if (!image.name.empty()) {
    to.note(identity.path,
            "its USER " + quoted(to.request.image->user) + " is a name that only the image can resolve");
  }
  return identity;
}

/// If runAsNonRoot is true, kubelet starts neither root nor a user that may be root.
void checkNonRoot(const Inheritance& to, const Identity& identity) {
  const auto nonRoot = effective(to, &SecurityContext::runAsNonRoot, "runAsNonRoot");
  if (!nonRoot.value.value_or(false)) return;
  if (identity.uid == 0)
    to.refuse(nonRoot.path, "the user is root, so kubelet would not start the container either");
  if (!identity.uid && to.request.image) {
    to.refuse(
        nonRoot.path,
        "kubelet cannot tell whether the image's user is root, so it would not start the container either");
  }
}

void inheritCapabilities(const Inheritance& to) {
  auto& out = to.out.workload.security.capabilities;
  if (to.given("capabilities")) return;
  const auto& context = to.container.securityContext;
  const std::string path = to.pathOf("securityContext.capabilities");
  const bool root = to.out.workload.user.uid == 0;
  // A process that is not root has none of the default set: it has nothing that could raise them. What a pod
  // adds for such a user is for a program with file capabilities, so the program is meant to have them.
  std::uint64_t wanted = root ? config::kDefaultCapabilities : 0;
  if (context.capabilities) {
    const auto& [add, drop] = *context.capabilities;
    const auto has = [](const std::vector<std::string>& list, std::string_view name) {
      return std::find(list.begin(), list.end(), name) != list.end();
    };
    if (has(add, "ALL")) wanted = kAllCapabilities;
    if (has(drop, "ALL")) wanted = 0;
    const auto bitsOf = [&](const std::vector<std::string>& list) {
      std::uint64_t bits = 0;
      for (const auto& name : list) {
        if (name == "ALL") continue;
        if (const auto number = config::parseCapability(name)) {
          bits |= 1ULL << *number;
        } else {
          to.note(path, quoted(name) + " is not a capability that is known");
        }
      }
      return bits;
    };
    wanted = (wanted | bitsOf(add)) & ~bitsOf(drop);
  }
  const auto allowed = to.request.launcher.allowedCapabilities;
  if (const auto beyond = wanted & ~allowed; beyond != 0) {
    to.note(path, config::capabilityList(beyond) +
                      " may not be requested on this node (launcher.allowedCapabilities)");
  }
  out = wanted & allowed;
}

/// The name of a loaded profile: "unconfined" and names of namespaces or stacks mean something else to the
/// kernel.
bool isAppArmorProfile(std::string_view name) {
  return name != "unconfined" && name.find("//&") == std::string_view::npos && !name.starts_with(':');
}

void inheritProfile(const Inheritance& to, std::string_view key, const Said<Profile>& said,
                    config::SecurityProfile& out) {
  if (to.given(key)) return;
  out = {};  // a fallback has at least RuntimeDefault, even if the pod sets nothing
  if (!said.value || said.value->type == "RuntimeDefault") return;
  using Type = config::SecurityProfile::Type;
  if (said.value->type == "Unconfined") {
    if (to.request.launcher.allowUnconfined) {
      out.type = Type::unconfined;
    } else {
      to.note(said.path,
              "Unconfined is not allowed on this node (launcher.allowUnconfined); it is RuntimeDefault");
    }
    return;
  }
  const auto& file = said.value->localhostProfile;
  const bool usable =
      !file.empty() && (key == "appArmorProfile" ? isAppArmorProfile(file) : isCleanPath("/" + file));
  if (said.value->type != "Localhost" || !usable) {
    return to.refuse(said.path, quoted(said.value->type) + " is not a profile that a fallback can have");
  }
  out = {Type::localhost, file};
}

/// Until 1.30 an annotation set it: runtime/default, localhost/NAME, unconfined.
Said<Profile> appArmorOf(const Inheritance& to) {
  auto said = effective(to, &SecurityContext::appArmorProfile, "appArmorProfile");
  if (said.value) return said;
  const auto key = "container.apparmor.security.beta.kubernetes.io/" + to.container.name;
  const auto found = to.request.pod.annotations.find(key);
  if (found == to.request.pod.annotations.end()) return said;
  const auto& text = found->second;
  constexpr std::string_view kLocalhost = "localhost/";
  said.path = "metadata.annotations['" + key + "']";
  if (text.starts_with(kLocalhost)) {
    said.value = Profile{"Localhost", text.substr(kLocalhost.size())};
  } else {
    said.value = Profile{text == "unconfined"        ? "Unconfined"
                         : text == "runtime/default" ? "RuntimeDefault"
                                                     : text,
                         {}};
  }
  return said;
}

/// The sandbox has the label from the pod's own options, and a fallback has the sandbox's.
void inheritLabel(const Inheritance& to) {
  const auto& options = to.container.securityContext.seLinuxOptions;
  if (to.given("seLinuxLabel") || !options) return;
  if (options->level.empty()) {
    if (options->user.empty() && options->role.empty() && options->type.empty()) return;
    return to.note(to.pathOf("securityContext.seLinuxOptions"),
                   "without a level the runtime chooses one, so the fallback has the sandbox's label");
  }
  const auto or_ = [](const std::string& said, const char* otherwise) {
    return said.empty() ? otherwise : said;
  };
  to.out.workload.security.seLinuxLabel = or_(options->user, "system_u") + ":" +
                                          or_(options->role, "system_r") + ":" +
                                          or_(options->type, "container_t") + ":" + options->level;
}

}  // namespace

void inheritUser(const Inheritance& to) {
  auto& user = to.out.workload.user;
  const auto identity = identityOf(to);
  if (!to.given("user.uid") && identity.uid) {
    checkNonRoot(to, identity);
    if (*identity.uid != 0 || user.allowRoot) {
      user.uid = static_cast<uid_t>(*identity.uid);
      // As the runtime does for a user that is not in the image's /etc/passwd.
      if (!to.given("user.gid")) user.gid = static_cast<gid_t>(identity.gid.value_or(0));
      if (!identity.gid && !to.given("user.gid")) {
        to.note(identity.path,
                "the group that the image's /etc/passwd gives to the user is not known; it is 0");
      }
    } else {
      to.note(identity.path, "a fallback is root only if its workload sets user.allowRoot; it is " +
                                 std::to_string(user.uid) + ":" + std::to_string(user.gid));
    }
  } else if (!to.given("user.uid")) {
    checkNonRoot(to, identity);
    to.note(identity.path, "the user is not known; it is " + std::to_string(user.uid));
  }
  if (to.given("user.groups")) return;
  const auto& pod = to.request.pod.securityContext;
  std::set<gid_t> groups(user.groups.begin(), user.groups.end());
  for (const auto group : pod.supplementalGroups) groups.insert(static_cast<gid_t>(group));
  if (pod.fsGroup) groups.insert(static_cast<gid_t>(*pod.fsGroup));
  user.groups.assign(groups.begin(), groups.end());
}

void inheritSecurity(const Inheritance& to) {
  const auto& context = to.container.securityContext;
  auto& security = to.out.workload.security;
  if (context.privileged.value_or(false)) {
    const std::string why = "a fallback is never privileged";
    if (to.given("capabilities")) {
      to.note(to.pathOf("securityContext.privileged"), why);
    } else {
      to.refuse(to.pathOf("securityContext.privileged"), why + "; write the capabilities that it needs");
    }
  }
  inheritCapabilities(to);
  inheritProfile(to, "seccompProfile", effective(to, &SecurityContext::seccompProfile, "seccompProfile"),
                 security.seccomp);
  inheritProfile(to, "appArmorProfile", appArmorOf(to), security.appArmor);
  inheritLabel(to);
  if (!context.procMount.empty() && context.procMount != "Default") {
    to.refuse(to.pathOf("securityContext.procMount"), "a fallback's /proc is always masked");
  }
  if (!context.readOnlyRootFilesystem.value_or(false)) {
    to.note(to.pathOf("securityContext.readOnlyRootFilesystem"),
            "a fallback's root is read-only and empty; it can write to /tmp and to the pod's volumes");
  }
}

}  // namespace fallbackd::kube
