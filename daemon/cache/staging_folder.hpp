// A folder of the cache that is being filled, and goes away with this object unless it was committed.
#pragma once

#include "base/error.hpp"

#include <string>

namespace fallbackd::cache {

class StagingFolder {
 public:
  /// Of the folders that a power cut leaves behind; the next installer removes them.
  static constexpr const char* kPrefix = ".install-";

  /// Makes one that only we can read. Stage cli.
  static Result<StagingFolder> make(const std::string& cache);
  StagingFolder(StagingFolder&& other) noexcept;
  StagingFolder& operator=(StagingFolder&&) = delete;
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;
  ~StagingFolder();

  [[nodiscard]] const std::string& path() const { return path_; }
  void release() { path_.clear(); }

 private:
  explicit StagingFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace fallbackd::cache
