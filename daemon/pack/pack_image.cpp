// SPDX-License-Identifier: Apache-2.0
#include "pack/pack_image.hpp"

#include "base/clock.hpp"
#include "cache/attestation.hpp"
#include "cache/elf.hpp"
#include "pack/image_writer.hpp"
#include "pack/unpack.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <boost/json.hpp>

namespace fallbackd::pack {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxAttestation = 1 << 20;

/// The label's text.
Result<std::string> describe(const std::vector<cache::PackItem>& items) {
  json::array list;
  for (const auto& item : items) {
    const auto& file = item.attestations.front();
    FB_TRY(const auto text, sys::readFile(Stage::cli, file, kMaxAttestation));
    FB_TRY(const auto envelope, cache::parseEnvelope(text, file));
    FB_TRY(const auto statement, cache::parseStatement(envelope.payload, file));
    list.push_back(json::object{{"name", statement.ref.name},
                                {"version", statement.ref.version},
                                {"arch", statement.arch},
                                {"sha256", statement.digest},
                                {"expires", rfc3339(statement.expires)}});
  }
  return json::serialize(list);
}

/// The installer, and the pack beside it.
Result<std::vector<LayerFile>> filesOf(const PackImage& content) {
  std::vector<LayerFile> files;
  if (content.kind == ImageKind::image) files.push_back({std::string(kInstaller), content.installer, 0755});
  FB_TRY(const auto dir, sys::openDir(Stage::cli, content.folder));
  FB_TRY(const auto names, sys::listDir(Stage::cli, dir));
  for (const auto& name : names) {
    if (name.starts_with('.')) continue;
    struct stat info {};
    if (::fstatat(dir.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return failErrno(Stage::cli, "stat " + name);
    }
    files.push_back({"pack/" + name, content.folder + "/" + name, info.st_mode & 0777U});
  }
  return files;
}

}  // namespace

Result<> writePackImage(const std::string& layout, const std::string& tag, const PackImage& content) {
  NewImage image;
  image.kind = content.kind;
  image.copied = content.copied;
  image.architecture = cache::nodeArchitecture();
  image.createdBy = "fallbackctl pack build";
  image.entrypoint = {"/" + std::string(kInstaller)};
  image.command = {"install", "--from", "/pack"};
  FB_TRY(image.labels[kPackLabel], describe(content.items));
  for (const auto& [name, value] : content.labels) image.labels[name] = value;
  FB_TRY(image.files, filesOf(content));
  image.created = content.created;
  return writeImage(layout, tag, image);
}

}  // namespace fallbackd::pack
