// SPDX-License-Identifier: Apache-2.0
// Reads a tar file of untrusted origin, plain or compressed with gzip or zstd. What it may contain and how
// much is limited here; libarchive parses the format.
#pragma once

#include "base/error.hpp"
#include "sys/copy_progress.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <functional>
#include <string>

struct archive;

namespace fallbackd::pack {

/// How much may still come. A visit lowers `entries` and `allBytes` by what it read, so that several archives
/// can share them.
struct TarLimits {
  std::size_t entries = 10'000;
  std::uint64_t fileBytes = 2ULL << 30U;
  std::uint64_t allBytes = 16ULL << 30U;  // of everything that is unpacked
};

/// One regular file of the archive.
class TarFile {
 public:
  TarFile(archive* from, std::string path, std::uint64_t size, std::string what)
      : from_(from), path_(std::move(path)), size_(size), what_(std::move(what)) {}

  /// Relative, without "." and "..", no part empty.
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Writes it to a new file `name` in `dir`, readable only by its owner. Once, before the visit ends.
  Result<> writeTo(const sys::DirFd& dir, const std::string& name,
                   const sys::CopyProgress& copied = {}) const;

 private:
  archive* from_;
  std::string path_;
  std::uint64_t size_;
  std::string what_;
};

/// Whether to continue.
using TarVisit = std::function<Result<bool>(const TarFile&)>;

/// Visits every regular file. Skips folders. Refuses the whole archive if it contains links, devices or other
/// special files, paths that lead out of it, sparse files, or more than the limits allow. Stage cli, reasons
/// invalid, unsafe_path, unsafe_file_type, too_large.
Result<> visitTar(const sys::UniqueFd& file, const std::string& what, const TarVisit& visit,
                  TarLimits& limits);

}  // namespace fallbackd::pack
