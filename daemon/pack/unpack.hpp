// SPDX-License-Identifier: Apache-2.0
// Packs that come as an OCI image: a layer (tar, optionally gzip or zstd), an image layout (folder), or such
// a layout in a tar file, as written by `skopeo copy ... oci-archive:`. For fallbackctl; blocks.
#pragma once

#include "base/error.hpp"
#include "pack/tar_reader.hpp"
#include "sys/copy_progress.hpp"
#include "sys/fd.hpp"

#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace fallbackd::pack {

/// Whether `from` has to be unpacked first; a folder that is not an image layout is a pack already.
Result<bool> isPacked(const std::string& from);

/// The program in the root of an image that `fallbackctl pack build` makes. It does not belong to the pack.
inline constexpr std::string_view kInstaller = "fallbackctl";

/// Puts the files of the pack into the empty folder `into`, which belongs to us, without subfolders. They
/// must all be in one folder of the image; upper layers replace and remove files of lower ones according to
/// the OCI image specification. `tag` chooses an image of a layout with several. Nothing in it is trusted:
/// admission judges the files afterwards. Stage cli.
Result<> unpack(const std::string& from, const std::string& into, const std::string& tag = {},
                const sys::CopyProgress& copied = {});

/// Applies one layer on top of what is in `into`. `folder` is the folder of the image that contains the pack:
/// empty until a file is found. The limits are those of all layers together.
class LayerStack {
 public:
  explicit LayerStack(const sys::DirFd& into, sys::CopyProgress copied = {}, TarLimits limits = {})
      : into_(into), copied_(std::move(copied)), limits_(limits) {}
  Result<> apply(const sys::UniqueFd& layer, const std::string& what);

 private:
  Result<> remove(std::string_view path, const std::set<std::string>& here);
  const sys::DirFd& into_;
  sys::CopyProgress copied_;
  TarLimits limits_;
  std::string folder_;
  bool known_ = false;
};

}  // namespace fallbackd::pack
