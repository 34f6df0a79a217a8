#include "cache/staging_folder.hpp"

#include "sys/file.hpp"

#include <stdlib.h>
#include <utility>

namespace fallbackd::cache {

Result<StagingFolder> StagingFolder::make(const std::string& cache) {
  std::string path = cache + "/" + kPrefix + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return failErrno(Stage::cli, "make a folder in " + cache);
  return StagingFolder(std::move(path));
}

StagingFolder::StagingFolder(StagingFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}

StagingFolder::~StagingFolder() {
  if (!path_.empty()) static_cast<void>(sys::removeTree(Stage::cli, path_));
}

}  // namespace fallbackd::cache
