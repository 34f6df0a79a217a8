// A tar file, plain or compressed with gzip or zstd, that somebody else wrote: what may be in it and how much
// is bounded here, the format is libarchive's work.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <functional>
#include <string>

struct archive;

namespace fallbackd::pack {

struct TarLimits {
  std::size_t entries = 10'000;
  std::uint64_t fileBytes = 2ULL << 30U;
  std::uint64_t allBytes = 16ULL << 30U;  // of what is unpacked, whatever its kind
};

/// One regular file in it.
class TarFile {
 public:
  TarFile(archive* from, std::string path, std::uint64_t size, std::string what)
      : from_(from), path_(std::move(path)), size_(size), what_(std::move(what)) {}

  /// Relative, without "." and "..", no part empty.
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Writes it to a new file `name` in `dir`, which nobody else can read. Once, and before the visit ends.
  Result<> writeTo(const sys::DirFd& dir, const std::string& name) const;

 private:
  archive* from_;
  std::string path_;
  std::uint64_t size_;
  std::string what_;
};

/// Whether to go on.
using TarVisit = std::function<Result<bool>(const TarFile&)>;

/// Visits every regular file. Folders are passed over; links, devices and whatever else is no plain file make
/// the whole archive refused, as do paths that lead out of it, sparse files and what exceeds the limits.
/// Stage cli, reasons invalid, unsafe_path, unsafe_file_type, too_large.
Result<> visitTar(const sys::UniqueFd& file, const std::string& what, const TarVisit& visit,
                  const TarLimits& limits = {});

}  // namespace fallbackd::pack
