// SPDX-License-Identifier: Apache-2.0
#include "cache/floor.hpp"

#include "base/clock.hpp"
#include "cache/json.hpp"
#include "sys/file.hpp"
#include "sys/folder_lock.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::cache {

namespace {

constexpr std::array<const char*, 2> kFileNames{"version-floor.json", "version-floor.copy.json"};
// A name and a version have together at most 127 characters, plus eight around them.
constexpr JsonLimits kLimits{.bytes = VersionFloor::kMaxNames * 136, .entries = VersionFloor::kMaxNames};

Result<std::map<std::string, std::string>> parseFloor(const std::string& text, const std::string& fileName) {
  FB_TRY(const auto value, parseStrict(text, fileName, kLimits));
  const auto* root = value.if_object();
  const auto* versions = root == nullptr ? nullptr : root->if_contains("versions");
  if (versions == nullptr || !versions->is_object()) {
    return fail(Stage::admission, Reason::invalid, fileName + " has no versions");
  }
  std::map<std::string, std::string> floor;
  for (const auto& entry : versions->get_object()) {
    const std::string name(entry.key());
    const std::string version = stringAt(versions->get_object(), entry.key());
    if (!parseBinaryRef(name + "@" + version)) {
      return fail(Stage::admission, Reason::invalid, fileName + " has a damaged entry for " + name);
    }
    floor.emplace(name, version);
  }
  return floor;
}

}  // namespace

std::string_view toString(RollbackState state) {
  constexpr std::array<std::string_view, 3> kNames{"in_effect", "not_needed", "passed"};
  return kNames.at(static_cast<std::size_t>(state));
}

void VersionFloor::warn(const std::string& text) {
  warning_ = warning_ ? *warning_ + "; " + text : text;
}

/// False if the file is missing or damaged.
Result<bool> VersionFloor::readOne(const std::string& name, Mode mode) {
  const std::string path = folder_ + "/" + name;
  const auto text = sys::readFile(Stage::admission, path, kLimits.bytes);
  if (!text && text.error().reason == Reason::not_found) return false;
  if (!text) return tl::unexpected<Error>(text.error());
  const auto versions = parseFloor(*text, name);
  if (!versions && versions.error().reason == Reason::too_large)
    return tl::unexpected<Error>(versions.error());
  if (!versions) {
    std::string said = versions.error().message();
    if (mode == Mode::keep) {
      const std::string aside = path + ".damaged";
      const auto dir = sys::openDir(Stage::admission, folder_);
      // If even that fails (a read-only file system), the next start reports it again.
      const bool kept =
          dir && ::renameat(dir->get(), name.c_str(), dir->get(), (name + ".damaged").c_str()) == 0;
      said.append(kept ? ", the damaged file is kept as " + aside : ", " + path + " cannot be renamed");
    }
    warn(said);
    return false;
  }
  for (const auto& [binary, version] : *versions) {
    auto& known = versions_.try_emplace(binary, version).first->second;
    if (compareVersions(version, known) > 0) known = version;
  }
  return true;
}

Result<> VersionFloor::readAll(Mode mode) {
  bool found = false;
  std::optional<Error> unread;
  for (const auto* name : kFileNames) {
    auto one = readOne(name, mode);
    found = found || (one && *one);
    if (one) continue;
    one.error().context.insert(0, "the version floor cannot be read: ");
    unread = one.error();
  }
  if (unread && !found) return tl::unexpected<Error>(std::move(*unread));
  if (unread) warn(unread->message());
  return {};
}

Result<VersionFloor> VersionFloor::open(const std::string& folder, Mode mode, const Clock& clock) {
  VersionFloor floor;
  floor.clock_ = &clock;
  floor.folder_ = folder;
  if (mode == Mode::keep) FB_CHECK(sys::makeDirs(Stage::admission, folder, 0755));
  FB_CHECK(floor.readAll(mode));
  if (floor.warning_ && floor.versions_.empty()) {
    floor.warning_->append("; the version floor starts from nothing");
  }
  return floor;
}

std::optional<std::string> VersionFloor::of(const std::string& name) const {
  const auto found = versions_.find(name);
  return found == versions_.end() ? std::nullopt : std::optional(found->second);
}

RollbackState VersionFloor::stateOf(const config::Rollback& rollback) const {
  const auto floor = of(rollback.from.name);
  if (!floor || compareVersions(*floor, rollback.to) <= 0) return RollbackState::not_needed;
  return compareVersions(*floor, rollback.from.version) <= 0 ? RollbackState::in_effect
                                                             : RollbackState::passed;
}

std::optional<std::string> VersionFloor::effective(const std::string& name,
                                                   const Rollbacks& rollbacks) const {
  const auto found = std::find_if(rollbacks.begin(), rollbacks.end(), [&](const config::Rollback& one) {
    return one.from.name == name && stateOf(one) == RollbackState::in_effect;
  });
  return found == rollbacks.end() ? of(name) : std::optional(found->to);
}

Result<> VersionFloor::check(const BinaryRef& ref, const Rollbacks& rollbacks) const {
  const auto least = effective(ref.name, rollbacks);
  if (!least || compareVersions(ref.version, *least) >= 0) return {};
  return fail(Stage::admission, Reason::version_rollback,
              ref.toString() + " is below " + *least +
                  ", the version floor of its name; only a version that the configuration names may be, or "
                  "one that its cache.rollbacks allows (fallbackctl: --config)");
}

Result<> VersionFloor::write(const std::map<std::string, std::string>& versions) const {
  if (versions.size() > kMaxNames) {
    return fail(Stage::admission, Reason::too_large,
                "the version floor in " + folder_ + " has " + std::to_string(kMaxNames) +
                    " names, which is the limit");
  }
  boost::json::object list;
  for (const auto& [name, version] : versions) list[name] = version;
  const auto text = boost::json::serialize(boost::json::object{{"versions", std::move(list)}}) + "\n";
  FB_TRY(const auto dir, sys::openDir(Stage::admission, folder_));
  for (const auto* name : kFileNames) FB_CHECK(sys::replaceFile(Stage::admission, dir, name, text, 0644));
  return {};
}

Result<> VersionFloor::raise(const BinaryRef& ref) {
  const auto raised = [&]() -> Result<> {
    FB_TRY(const auto dir, sys::openDir(Stage::admission, folder_));
    FB_CHECK(sys::lockFolder(Stage::admission, dir, folder_, *clock_));
    FB_CHECK(readAll(Mode::keep));
    const auto found = versions_.find(ref.name);
    if (found != versions_.end() && compareVersions(ref.version, found->second) <= 0) return {};
    auto next = versions_;
    next[ref.name] = ref.version;
    FB_CHECK(write(next));
    versions_ = std::move(next);
    return {};
  };
  const auto found = versions_.find(ref.name);
  if (found != versions_.end() && compareVersions(ref.version, found->second) <= 0) return {};
  auto done = raised();
  if (!done) done.error().reason = Reason::floor_unwritable;
  return done;
}

}  // namespace fallbackd::cache
