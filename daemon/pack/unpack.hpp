// Packs that come as an OCI image: a layer (tar, also gzip or zstd), an image layout (folder), or such a
// layout in a tar file, as `skopeo copy ... oci-archive:` writes it. For fallbackctl; blocks.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <set>
#include <string>
#include <string_view>

namespace fallbackd::pack {

/// Whether `from` has to be unpacked first; a folder that is no image layout is a pack as it stands.
Result<bool> isPacked(const std::string& from);

/// Lays the files of the pack into the empty folder `into`, which is ours alone, without any subfolder. They
/// must all lie in one folder of the image; upper layers replace and remove files of lower ones as the OCI
/// image specification says. Nothing of it is trusted: admission judges the files afterwards. Stage cli.
Result<> unpack(const std::string& from, const std::string& into);

/// One layer on top of what lies in `into`. `folder` is the one of the image that the pack lies in: empty
/// until a file is found.
class LayerStack {
 public:
  explicit LayerStack(const sys::DirFd& into) : into_(into) {}
  Result<> apply(const sys::UniqueFd& layer, const std::string& what);

 private:
  Result<> remove(std::string_view path, const std::set<std::string>& here);
  const sys::DirFd& into_;
  std::string folder_;
  bool known_ = false;
};

}  // namespace fallbackd::pack
