// SPDX-License-Identifier: Apache-2.0
#include "kube/environment.hpp"

#include "base/strings.hpp"
#include "kube/downward.hpp"
#include "kube/expand.hpp"
#include "kube/mounted_data.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::kube {

namespace {

using Weight = NotInherited::Weight;

/// "ConfigMap "settings""
std::string objectName(KeyRef::Kind kind, const std::string& name) {
  return (kind == KeyRef::Kind::secret ? "Secret " : "ConfigMap ") + quoted(name);
}

/// Whether a Service may set it: SHOP_SERVICE_HOST, SHOP_PORT, SHOP_PORT_80_TCP_ADDR.
bool looksLikeOfService(std::string_view name) {
  return name.ends_with("_SERVICE_HOST") || name.find("_SERVICE_PORT") != std::string_view::npos ||
         name.ends_with("_PORT") || name.find("_PORT_") != std::string_view::npos;
}

bool canBeName(const std::string& name) {
  return !name.empty() && name.find('=') == std::string::npos && name.find('\0') == std::string::npos;
}

std::string references(const std::set<std::string>& names) {
  std::vector<std::string> texts;
  for (const auto& name : names) texts.push_back(asReference(name));
  return join(texts, ", ");
}

const std::optional<std::map<std::string, std::string>>* contentOf(const Facts& facts, KeyRef::Kind kind,
                                                                   const std::string& name) {
  const auto& all = kind == KeyRef::Kind::secret ? facts.secrets : facts.configMaps;
  const auto found = all.find(name);
  return found == all.end() ? nullptr : &found->second;
}

}  // namespace

ContainerEnvironment::ContainerEnvironment(const Pod& pod, const Container& container, const Facts& facts,
                                           const ConfiguredVariables& configured)
    : pod_(pod),
      container_(container),
      facts_(facts),
      configured_(configured),
      values_(configured.values),
      files_(configured.files) {
  for (const auto& [name, file] : files_) unknown_.insert(name);
  for (std::size_t i = 0; i < container.envFrom.size(); ++i) {
    takeAll(container.envFrom[i], container.path + ".envFrom[" + std::to_string(i) + "]");
  }
  for (std::size_t i = 0; i < container.env.size(); ++i) {
    take(container.env[i], container.path + ".env[" + std::to_string(i) + "]");
  }
  refuseIfTooLarge(container.path + ".env", missing_);
  if (!facts.serviceVariables) return;
  for (const auto& [name, value] : *facts.serviceVariables) {
    if (!files_.contains(name) && !unknown_.contains(name)) values_.emplace(name, value);
  }
}

bool ContainerEnvironment::configures(const std::string& name) const {
  return configured_.values.contains(name) || configured_.files.contains(name);
}

bool ContainerEnvironment::isUnknown(std::string_view name) const {
  if (unknown_.contains(name)) return true;
  if (moreUnknown_) return true;  // the caller has looked among the known ones
  const bool linked = pod_.enableServiceLinks || name.starts_with("KUBERNETES_");
  return !facts_.serviceVariables && linked && looksLikeOfService(name);
}

void ContainerEnvironment::set(const std::string& name, std::string value, const std::string& path) {
  if (configures(name)) return;
  if (!canBeName(name)) {
    missing_.push_back({path, quoted(name) + " cannot be the name of a variable", Weight::differs});
    return;
  }
  if (value.find('\0') != std::string::npos) return miss(name, path, "its value contains a NUL byte");
  values_[name] = std::move(value);
  files_.erase(name);
  unknown_.erase(name);
}

void ContainerEnvironment::setFile(const std::string& name, std::string file) {
  if (configures(name)) return;
  values_.erase(name);
  unknown_.insert(name);
  files_[name] = std::move(file);
}

void ContainerEnvironment::miss(const std::string& name, const std::string& path, std::string why) {
  if (configures(name)) return;
  values_.erase(name);
  files_.erase(name);
  unknown_.insert(name);
  missing_.push_back({path, "variable " + quoted(name) + ": " + std::move(why), Weight::variable});
}

void ContainerEnvironment::takeAll(const EnvFrom& from, const std::string& path) {
  if (!from.kind) {
    moreUnknown_ = true;
    missing_.push_back({path, "variables come from a source of a kind that is not known", Weight::variable});
    return;
  }
  const auto* const content = contentOf(facts_, *from.kind, from.name);
  if (content == nullptr) {
    moreUnknown_ = true;
    // A program must be able to run without an optional source.
    missing_.push_back({path, "the variables of " + objectName(*from.kind, from.name) + " are not known",
                        from.optional ? Weight::differs : Weight::variable});
    return;
  }
  if (!*content) {
    if (!from.optional) {
      missing_.push_back({path, objectName(*from.kind, from.name) + " does not exist", Weight::variable});
    }
    return;
  }
  for (const auto& [key, value] : **content) set(from.prefix + key, value, path);
}

void ContainerEnvironment::take(const EnvVar& variable, const std::string& path) {
  const auto& name = variable.name;
  if (!canBeName(name)) return set(name, {}, path);
  if (!variable.value.empty() || std::holds_alternative<std::monostate>(variable.valueFrom)) {
    std::set<std::string> unknown;
    auto value = expandKnown(variable.value, unknown);
    if (unknown.empty()) return set(name, std::move(value), path);
    return miss(name, path, "it refers to " + references(unknown) + ", whose value is not known");
  }
  if (const auto* const field = std::get_if<FieldRef>(&variable.valueFrom))
    return takeField(name, *field, path);
  if (const auto* const resource = std::get_if<ResourceFieldRef>(&variable.valueFrom)) {
    return takeResource(name, *resource, path);
  }
  if (const auto* const key = std::get_if<KeyRef>(&variable.valueFrom)) return takeKey(name, *key, path);
  miss(name, path,
       "its source " + quoted(std::get<UnknownSource>(variable.valueFrom).kind) +
           " is of a kind that is not known");
}

void ContainerEnvironment::takeField(const std::string& name, const FieldRef& ref, const std::string& path) {
  auto value = fieldValue(ref, pod_, facts_);
  if (value) return set(name, std::move(*value), path);
  miss(name, path, value.error().context);
}

void ContainerEnvironment::takeResource(const std::string& name, const ResourceFieldRef& ref,
                                        const std::string& path) {
  auto value = resourceValue(ref, pod_, container_, facts_);
  if (value) return set(name, std::move(*value), path);
  miss(name, path, value.error().context);
}

void ContainerEnvironment::takeKey(const std::string& name, const KeyRef& ref, const std::string& path) {
  const auto object = objectName(ref.kind, ref.name);
  if (const auto* const content = contentOf(facts_, ref.kind, ref.name)) {
    const bool there = content->has_value() && (*content)->contains(ref.key);
    if (there) return set(name, (*content)->at(ref.key), path);
    if (ref.optional) return;
    return miss(
        name, path,
        content->has_value() ? object + " has no key " + quoted(ref.key) : object + " does not exist");
  }
  const auto file = mountedFile(pod_, container_, ref);
  // Only the launch shows whether an optional key is there, and a missing file is an error then.
  if (file && !ref.optional) return setFile(name, *file);
  const auto volume = volumeShowing(pod_, ref.kind, ref.name);
  auto why = "key " + quoted(ref.key) + " of " + object + " is not known";
  if (!volume.empty() && !file)
    why += "; volume " + quoted(volume) + " shows it, but this container does not mount it";
  if (!ref.optional) return miss(name, path, why);
  if (configures(name)) return;
  unknown_.insert(name);
  values_.erase(name);
  missing_.push_back({path, "variable " + quoted(name) + ", which is optional: " + why, Weight::differs});
}

std::string ContainerEnvironment::expandKnown(std::string_view text, std::set<std::string>& unknown) const {
  return expand(text, [&](std::string_view name) {
    if (const auto found = values_.find(std::string(name)); found != values_.end())
      return spend(found->second);
    if (facts_.serviceVariables) {
      const auto found = facts_.serviceVariables->find(std::string(name));
      if (found != facts_.serviceVariables->end() && !unknown_.contains(name)) return spend(found->second);
    }
    if (isUnknown(name)) unknown.emplace(name);
    return asReference(name);
  });
}

std::string ContainerEnvironment::spend(const std::string& value) const {
  tooLarge_ = tooLarge_ || value.size() > left_;
  if (tooLarge_) return {};
  left_ -= value.size();
  return value;
}

void ContainerEnvironment::refuseIfTooLarge(const std::string& path, NotInheritedList& missing) const {
  if (!tooLarge_) return;
  missing.push_back({path,
                     "what its references expand to is larger than " + std::to_string(kMaxExpanded >> 20U) +
                         " MiB together",
                     Weight::refuses});
}

std::string ContainerEnvironment::expandArgument(std::string_view text, const std::string& path,
                                                 NotInheritedList& missing) const {
  std::set<std::string> unknown;
  auto expanded = expandKnown(text, unknown);
  if (!unknown.empty()) {
    missing.push_back(
        {path, "it refers to " + references(unknown) + ", whose value is not known", Weight::variable});
  }
  refuseIfTooLarge(path, missing);
  return expanded;
}

std::string ContainerEnvironment::expandSubPath(std::string_view text, const std::string& path,
                                                NotInheritedList& missing) const {
  std::set<std::string> without;
  auto expanded = expand(text, [&](std::string_view name) {
    const auto found = values_.find(std::string(name));
    if (found == values_.end() || found->second.empty()) {
      without.emplace(name);
      return std::string();
    }
    return spend(found->second);
  });
  refuseIfTooLarge(path, missing);
  if (!without.empty()) {
    missing.push_back({path, "it refers to " + references(without) + ", which has no value that is known",
                       Weight::refuses});
  }
  return expanded;
}

}  // namespace fallbackd::kube
