#include "cache/floor.hpp"

#include "cache/json.hpp"
#include "sys/file.hpp"

#include <cstdio>

#include <boost/json.hpp>

namespace fallbackd::cache {

namespace {

constexpr const char* kFileName = "version-floor.json";
constexpr std::size_t kMaxBytes = 1 << 20;

Result<std::map<std::string, std::string>> parseFloor(const std::string& text) {
  FB_TRY(const auto value, parseStrict(text, kFileName));
  const auto* root = value.if_object();
  const auto* versions = root == nullptr ? nullptr : root->if_contains("versions");
  if (versions == nullptr || !versions->is_object()) {
    return fail(Stage::admission, Reason::invalid, std::string(kFileName) + " has no versions");
  }
  std::map<std::string, std::string> floor;
  for (const auto& entry : versions->get_object()) {
    const std::string name(entry.key());
    const std::string version = stringAt(versions->get_object(), entry.key());
    if (!parseBinaryRef(name + "@" + version)) {
      return fail(Stage::admission, Reason::invalid,
                  std::string(kFileName) + " has a damaged entry for " + name);
    }
    floor.emplace(name, version);
  }
  return floor;
}

}  // namespace

Result<VersionFloor> VersionFloor::open(const std::string& folder, Mode mode) {
  VersionFloor floor;
  floor.folder_ = folder;
  if (mode == Mode::keep) FB_CHECK(sys::makeDirs(Stage::admission, folder, 0755));
  const std::string path = folder + "/" + kFileName;
  const auto text = sys::readFile(Stage::admission, path, kMaxBytes);
  if (!text && text.error().reason == Reason::not_found) return floor;
  auto versions = text ? parseFloor(*text) : tl::unexpected<Error>(text.error());
  if (versions) {
    floor.versions_ = std::move(*versions);
    return floor;
  }
  floor.warning_ = versions.error().message() + "; the version floor starts anew";
  if (mode == Mode::look) return floor;
  const std::string aside = path + ".damaged";
  // Where even that fails (a read-only file system), the next start says so again.
  const bool kept = std::rename(path.c_str(), aside.c_str()) == 0;
  floor.warning_->append(kept ? ", the damaged file is kept as " + aside
                              : ", " + path + " cannot be renamed");
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
    return sys::replaceFile(Stage::admission, dir, kFileName, text, 0644);
  });
  if (!written) {
    written.error().reason = Reason::floor_unwritable;
    return written;
  }
  versions_ = std::move(next);
  return {};
}

}  // namespace fallbackd::cache
