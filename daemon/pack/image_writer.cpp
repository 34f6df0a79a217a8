// SPDX-License-Identifier: Apache-2.0
#include "pack/image_writer.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"
#include "cache/crypto.hpp"
#include "cache/json.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <set>
#include <string_view>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::pack {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxLayoutText = 1 << 20;
constexpr std::string_view kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kConfigType = "application/vnd.oci.image.config.v1+json";
constexpr std::string_view kLayerType = "application/vnd.oci.image.layer.v1.tar+gzip";
constexpr std::string_view kEmptyType = "application/vnd.oci.empty.v1+json";
constexpr std::string_view kTitleKey = "org.opencontainers.image.title";
constexpr std::string_view kTagKey = "org.opencontainers.image.ref.name";
constexpr std::string_view kSha256Prefix = "sha256:";
constexpr const char* kUnfinished = ".layer.new";

json::object descriptorOf(std::string_view type, const std::string& digest, std::uint64_t size) {
  return {{"mediaType", type}, {"digest", std::string(kSha256Prefix) + digest}, {"size", size}};
}

std::string tagOf(const json::value& descriptor) {
  const auto* const object = descriptor.if_object();
  const auto* const annotations = object == nullptr ? nullptr : object->if_contains("annotations");
  if (annotations == nullptr || !annotations->is_object()) return {};
  return cache::stringAt(annotations->get_object(), kTagKey);
}

class LayoutWriter {
 public:
  static Result<LayoutWriter> open(const std::string& path) {
    FB_CHECK(sys::makeDirs(Stage::cli, path + "/blobs/sha256", 0755));
    FB_TRY(auto dir, sys::openDir(Stage::cli, path));
    // Locked until this object ends: a layer has a fixed name while it is written, and the index is read and
    // replaced.
    if (::flock(dir.get(), LOCK_EX) != 0) return failErrno(Stage::cli, "lock " + path);
    FB_TRY(auto blobs, sys::openDir(Stage::cli, path + "/blobs/sha256"));
    LayoutWriter layout(std::move(dir), std::move(blobs), path);
    FB_CHECK(layout.readHead());
    FB_CHECK(layout.readIndex());
    return layout;
  }

  Result<json::object> addJson(std::string_view type, const json::object& content) const {
    const auto text = json::serialize(content);
    const auto digest = toHex(cache::Sha256::of(text));
    FB_CHECK(sys::replaceFile(Stage::cli, blobs_, digest, text, 0644));
    return descriptorOf(type, digest, text.size());
  }

  Result<WrittenLayer> addLayer(const NewImage& image) const {
    const sys::UniqueFd target(
        ::openat(blobs_.get(), kUnfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!target) return failErrno(Stage::cli, "create a layer in " + path_);
    auto written = writeLayer(target, image.files, image.created, image.copied);
    if (!written) {
      static_cast<void>(::unlinkat(blobs_.get(), kUnfinished, 0));
      return written;
    }
    if (::fsync(target.get()) != 0 ||
        ::renameat(blobs_.get(), kUnfinished, blobs_.get(), written->digest.c_str()) != 0) {
      return failErrno(Stage::cli, "keep a layer in " + path_);
    }
    return written;
  }

  /// The image is in the layout from now on.
  Result<> tag(const std::string& name, json::object manifest) {
    manifest["annotations"] = json::object{{kTagKey, name}};
    json::array kept;
    std::set<std::string> stale;
    for (const auto& one : manifests_) {
      if (tagOf(one) == name) {
        stale.merge(blobsOf(one).value_or(std::set<std::string>()));
      } else {
        kept.push_back(one);
      }
    }
    kept.push_back(std::move(manifest));
    manifests_ = std::move(kept);
    const json::object index{{"schemaVersion", 2}, {"manifests", manifests_}};
    FB_CHECK(sys::replaceFile(Stage::cli, dir_, "index.json", json::serialize(index), 0644));
    return removeUnused(std::move(stale));
  }

 private:
  LayoutWriter(sys::DirFd dir, sys::DirFd blobs, std::string path)
      : dir_(std::move(dir)), blobs_(std::move(blobs)), path_(std::move(path)) {}

  /// The object in a file; empty if there is no such file.
  Result<std::optional<json::object>> readObject(const sys::DirFd& folder, const std::string& name) const {
    const auto file = sys::openBeneath(Stage::cli, folder, name);
    if (!file && file.error().reason == Reason::not_found) return std::nullopt;
    if (!file) return tl::unexpected<Error>(file.error());
    const auto what = path_ + ": " + name;
    FB_TRY(const auto text, sys::readAll(Stage::cli, *file, kMaxLayoutText, what));
    auto value = cache::parseStrict(text, what);
    if (!value || !value->is_object()) return fail(Stage::cli, Reason::invalid, what + " is not an object");
    return std::move(value->get_object());
  }

  Result<> readHead() const {
    FB_TRY(const auto head, readObject(dir_, "oci-layout"));
    if (!head) {
      return sys::replaceFile(Stage::cli, dir_, "oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0644);
    }
    if (cache::stringAt(*head, "imageLayoutVersion").starts_with("1.")) return {};
    return fail(Stage::cli, Reason::invalid, path_ + " is not an OCI image layout of version 1");
  }

  Result<> readIndex() {
    FB_TRY(const auto index, readObject(dir_, "index.json"));
    const auto* const list = index ? index->if_contains("manifests") : nullptr;
    if (list == nullptr) return {};
    if (!list->is_array()) return fail(Stage::cli, Reason::invalid, path_ + ": index.json has no list");
    manifests_ = list->get_array();
    return {};
  }

  /// Hex digests of a manifest's blobs and its own; nothing if it is anything but an image of one platform.
  [[nodiscard]] std::optional<std::set<std::string>> blobsOf(const json::value& descriptor) const {
    std::set<std::string> found;
    const auto add = [&](const json::value* one) {
      const auto* const object = one == nullptr ? nullptr : one->if_object();
      const auto digest = object == nullptr ? std::string() : cache::stringAt(*object, "digest");
      if (!digest.starts_with(kSha256Prefix) || !isSha256(digest.substr(kSha256Prefix.size()))) return false;
      found.insert(digest.substr(kSha256Prefix.size()));
      return true;
    };
    if (!add(&descriptor)) return std::nullopt;
    if (cache::stringAt(descriptor.get_object(), "mediaType") != kManifestType) return std::nullopt;
    const auto manifest = readObject(blobs_, *found.begin());
    if (!manifest || !*manifest || !add((*manifest)->if_contains("config"))) return std::nullopt;
    const auto* const layers = (*manifest)->if_contains("layers");
    if (layers == nullptr || !layers->is_array()) return std::nullopt;
    for (const auto& layer : layers->get_array()) {
      if (!add(&layer)) return std::nullopt;
    }
    return found;
  }

  /// If any image of the layout cannot be understood, all blobs stay.
  Result<> removeUnused(std::set<std::string> stale) const {
    for (const auto& one : manifests_) {
      const auto used = blobsOf(one);
      if (!used) return {};
      for (const auto& digest : *used) stale.erase(digest);
    }
    for (const auto& digest : stale) {
      if (::unlinkat(blobs_.get(), digest.c_str(), 0) != 0 && errno != ENOENT) {
        return failErrno(Stage::cli, "remove an unused blob of " + path_);
      }
    }
    return {};
  }

  sys::DirFd dir_;
  sys::DirFd blobs_;
  std::string path_;
  json::array manifests_;
};

json::array toArray(const std::vector<std::string>& words) {
  json::array list;
  for (const auto& word : words) list.emplace_back(word);
  return list;
}

json::object configOf(const NewImage& image, const json::object& labels, const WrittenLayer& layer) {
  const auto created = rfc3339(Wall::from_time_t(image.created));
  return {{"created", created},
          {"architecture", image.architecture},
          {"os", "linux"},
          {"config", json::object{{"Entrypoint", toArray(image.entrypoint)},
                                  {"Cmd", toArray(image.command)},
                                  {"Labels", labels}}},
          {"rootfs", json::object{{"type", "layers"},
                                  {"diff_ids", json::array{std::string(kSha256Prefix) + layer.diffId}}}},
          {"history", json::array{json::object{{"created", created}, {"created_by", image.createdBy}}}}};
}

}  // namespace

Result<> writeImage(const std::string& path, const std::string& tag, const NewImage& image) {
  FB_TRY(auto layout, LayoutWriter::open(path));
  FB_TRY(const auto written, layout.addLayer(image));
  json::object labels;
  for (const auto& [name, value] : image.labels) labels[name] = value;
  auto layer = descriptorOf(kLayerType, written.digest, written.size);
  json::object manifest{{"schemaVersion", 2}, {"mediaType", kManifestType}};
  if (image.kind == ImageKind::artifact) {
    manifest["artifactType"] = kArtifactType;
    layer["annotations"] = json::object{{kTitleKey, "pack.tar.gz"}};  // the name of the file for oras
    FB_TRY(manifest["config"], layout.addJson(kEmptyType, {}));
  } else {
    FB_TRY(manifest["config"], layout.addJson(kConfigType, configOf(image, labels, written)));
  }
  manifest["layers"] = json::array{std::move(layer)};
  manifest["annotations"] = std::move(labels);
  FB_TRY(auto descriptor, layout.addJson(kManifestType, manifest));
  return layout.tag(tag, std::move(descriptor));
}

}  // namespace fallbackd::pack
