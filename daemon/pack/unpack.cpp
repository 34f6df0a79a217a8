// SPDX-License-Identifier: Apache-2.0
#include "pack/unpack.hpp"

#include "base/strings.hpp"
#include "pack/oci_layout.hpp"
#include "pack/tar_reader.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <fcntl.h>
#include <set>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace fallbackd::pack {

namespace {

constexpr std::string_view kLayoutMark = "oci-layout";
constexpr std::string_view kBlobs = "blobs/sha256/";
constexpr std::string_view kWhiteout = ".wh.";
constexpr const char* kLayoutFolder = ".layout";
constexpr std::string_view kOpaque = ".wh..wh..opq";

bool isAtOrBelow(std::string_view path, std::string_view folder) {
  return folder.empty() || path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

/// What to unpack from an image layout, and where to report progress.
struct Source {
  const std::string& what;
  const std::string& tag;
  const sys::CopyProgress& copied;
};

Result<> applyAll(const sys::DirFd& layout, const Source& source, const sys::DirFd& into,
                  const TarLimits& limits) {
  FB_TRY(const auto layers, openLayers(layout, source.what, source.tag));
  LayerStack stack(into, source.copied, limits);
  for (const auto& layer : layers) {
    FB_CHECK(stack.apply(layer.blob, source.what + ": layer " + layer.digest));
  }
  return {};
}

Result<bool> holdsLayout(const sys::UniqueFd& file, const std::string& what) {
  bool found = false;
  TarLimits limits;  // nothing is kept
  const auto look = [&](const TarFile& one) -> Result<bool> {
    found = one.path() == kLayoutMark;
    return !found;
  };
  FB_CHECK(visitTar(file, what, look, limits));
  return found;
}

/// Unpacks an archived image layout into a folder; skips everything that does not belong to a layout.
Result<> extractLayout(const sys::UniqueFd& file, const Source& source, const std::string& folder,
                       TarLimits& limits) {
  FB_CHECK(sys::makeDirs(Stage::cli, folder + "/blobs/sha256", 0700));
  FB_TRY(const auto root, sys::openDir(Stage::cli, folder));
  FB_TRY(const auto blobs, sys::openDir(Stage::cli, folder + "/blobs/sha256"));
  const auto take = [&](const TarFile& one) -> Result<bool> {
    const std::string_view path = one.path();
    if (path == kLayoutMark || path == "index.json") {
      FB_CHECK(one.writeTo(root, one.path()));
    } else if (path.starts_with(kBlobs) && isSha256(path.substr(kBlobs.size()))) {
      FB_CHECK(one.writeTo(blobs, std::string(path.substr(kBlobs.size())), source.copied));
    }
    return true;
  };
  return visitTar(file, source.what, take, limits);
}

}  // namespace

Result<bool> isPacked(const std::string& from) {
  struct stat info {};
  if (::stat(from.c_str(), &info) != 0) {
    return fail(Stage::cli, errno == ENOENT ? Reason::not_found : Reason::system, "open " + from, errno);
  }
  if (S_ISREG(info.st_mode)) return true;
  if (S_ISDIR(info.st_mode)) return ::access((from + "/" + std::string(kLayoutMark)).c_str(), F_OK) == 0;
  return fail(Stage::cli, Reason::invalid, from + " is neither a folder nor a file");
}

Result<> unpack(const std::string& from, const std::string& into, const std::string& tag,
                const sys::CopyProgress& copied) {
  FB_TRY(auto opened, sys::openDir(Stage::cli, into));
  FB_TRY(const auto owned, sys::OwnedFolder::take(Stage::cli, std::move(opened), into));
  const auto& target = owned.dir();
  const Source source{from, tag, copied};
  TarLimits limits;
  const sys::UniqueFd file(::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0) return failErrno(Stage::cli, "open " + from);
  if (S_ISDIR(info.st_mode)) {
    FB_TRY(const auto layout, sys::openDir(Stage::cli, from));
    return applyAll(layout, source, target, limits);
  }
  if (!S_ISREG(info.st_mode)) return fail(Stage::cli, Reason::invalid, from + " is not a regular file");
  FB_TRY(const bool image, holdsLayout(file, from));
  if (!image && !tag.empty())
    return fail(Stage::cli, Reason::invalid, from + " is a layer, which has no tags");
  if (!image) return LayerStack(target, copied).apply(file, from);
  const auto folder = into + "/" + kLayoutFolder;
  FB_CHECK(extractLayout(file, source, folder, limits));
  FB_TRY(const auto layout, sys::openDir(Stage::cli, folder));
  FB_CHECK(applyAll(layout, source, target, limits));
  return sys::removeTree(Stage::cli, owned, kLayoutFolder);
}

/// Removes what lower layers have at `path` or below, but nothing that this layer, `here`, brought itself.
Result<> LayerStack::remove(std::string_view path, const std::set<std::string>& here) {
  if (!known_) return {};
  FB_TRY(const auto names, sys::listDir(Stage::cli, into_));
  for (const auto& name : names) {
    if (name.starts_with('.') || here.contains(name)) continue;
    if (!isAtOrBelow(folder_.empty() ? name : folder_ + "/" + name, path)) continue;
    if (::unlinkat(into_.get(), name.c_str(), 0) != 0) return failErrno(Stage::cli, "remove " + name);
  }
  return {};
}

Result<> LayerStack::apply(const sys::UniqueFd& layer, const std::string& what) {
  std::set<std::string> here;
  const auto take = [&](const TarFile& file) -> Result<> {
    const auto slash = file.path().rfind('/');
    const auto folder = slash == std::string::npos ? "" : file.path().substr(0, slash);
    const auto name = slash == std::string::npos ? file.path() : file.path().substr(slash + 1);
    if (name == kOpaque) return remove(folder, here);
    if (name.starts_with(kWhiteout)) {
      const auto gone = name.substr(kWhiteout.size());
      return gone.empty() ? Result<>() : remove(folder.empty() ? gone : folder + "/" + gone, here);
    }
    if (name.starts_with('.') || file.path() == kInstaller) return {};
    if (!known_) folder_ = folder;
    known_ = true;
    if (folder != folder_) {
      return fail(Stage::cli, Reason::invalid,
                  what + " has files in /" + folder_ + " and in /" + folder +
                      ": a pack is one folder; build the image FROM scratch, with nothing else in it");
    }
    if (!here.insert(name).second)
      return fail(Stage::cli, Reason::invalid, what + " has " + quoted(file.path()) + " twice");
    FB_CHECK(remove(file.path(), {}));
    return file.writeTo(into_, name, copied_);
  };
  const auto visit = [&](const TarFile& file) -> Result<bool> {
    FB_CHECK(take(file));
    return true;
  };
  return visitTar(layer, what, visit, limits_);
}

}  // namespace fallbackd::pack
