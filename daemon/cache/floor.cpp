#include "cache/floor.hpp"

#include "cache/json.hpp"
#include "sys/file.hpp"

#include <array>
#include <cstdio>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::cache {

namespace {

constexpr std::array<const char*, 2> kFileNames{"version-floor.json", "version-floor.copy.json"};
constexpr std::size_t kMaxBytes = 1 << 20;

Result<std::map<std::string, std::string>> parseFloor(const std::string& text, const std::string& fileName) {
  FB_TRY(const auto value, parseStrict(text, fileName));
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

void VersionFloor::readOne(const std::string& name, Mode mode) {
  const std::string path = folder_ + "/" + name;
  const auto text = sys::readFile(Stage::admission, path, kMaxBytes);
  if (!text && text.error().reason == Reason::not_found) return;
  const auto versions = text ? parseFloor(*text, name) : tl::unexpected<Error>(text.error());
  if (versions) {
    for (const auto& [binary, version] : *versions) {
      auto& known = versions_.try_emplace(binary, version).first->second;
      if (compareVersions(version, known) > 0) known = version;
    }
    return;
  }
  std::string said = warning_ ? *warning_ + "; " : std::string();
  said.append(versions.error().message());
  if (mode == Mode::keep) {
    const std::string aside = path + ".damaged";
    const auto dir = sys::openDir(Stage::admission, folder_);
    // Where even that fails (a read-only file system), the next start says so again.
    const bool kept =
        dir && ::renameat(dir->get(), name.c_str(), dir->get(), (name + ".damaged").c_str()) == 0;
    said.append(kept ? ", the damaged file is kept as " + aside : ", " + path + " cannot be renamed");
  }
  warning_ = std::move(said);
}

Result<VersionFloor> VersionFloor::open(const std::string& folder, Mode mode) {
  VersionFloor floor;
  floor.folder_ = folder;
  if (mode == Mode::keep) FB_CHECK(sys::makeDirs(Stage::admission, folder, 0755));
  for (const auto* name : kFileNames) floor.readOne(name, mode);
  if (floor.warning_ && floor.versions_.empty()) floor.warning_->append("; the version floor starts anew");
  return floor;
}

Result<> VersionFloor::check(const BinaryRef& ref) const {
  const auto found = versions_.find(ref.name);
  if (found == versions_.end() || compareVersions(ref.version, found->second) >= 0) return {};
  return fail(Stage::admission, Reason::version_rollback,
              ref.toString() + " is older than " + found->second + ", which was accepted here before");
}

Result<> VersionFloor::raise(const BinaryRef& ref) {
  const auto found = versions_.find(ref.name);
  if (found != versions_.end() && compareVersions(ref.version, found->second) <= 0) return {};
  auto next = versions_;
  next[ref.name] = ref.version;
  boost::json::object list;
  for (const auto& [name, version] : next) list[name] = version;
  const auto text = boost::json::serialize(boost::json::object{{"versions", std::move(list)}}) + "\n";
  auto written = sys::openDir(Stage::admission, folder_).and_then([&](const sys::DirFd& dir) {
    return sys::replaceFile(Stage::admission, dir, kFileNames[0], text, 0644).and_then([&] {
      return sys::replaceFile(Stage::admission, dir, kFileNames[1], text, 0644);
    });
  });
  if (!written) {
    written.error().reason = Reason::floor_unwritable;
    return written;
  }
  versions_ = std::move(next);
  return {};
}

}  // namespace fallbackd::cache
