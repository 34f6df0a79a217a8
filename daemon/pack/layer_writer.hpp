// SPDX-License-Identifier: Apache-2.0
// Writes files as a layer of an OCI image: a tar file, compressed with gzip. The same files and the same time
// give the same bytes. For fallbackctl; blocks.
#pragma once

#include "base/error.hpp"
#include "sys/copy_progress.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <ctime>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::pack {

struct LayerFile {
  std::string path;    // in the image, relative
  std::string source;  // on this machine
  mode_t mode = 0644;
};

struct WrittenLayer {
  std::string digest;  // hex, of the compressed bytes: names the blob
  std::string diffId;  // hex, of the tar file: what the image's configuration lists
  std::uint64_t size = 0;
};

/// Writes the files in this order; folders come before the first file in them. Everything belongs to root and
/// has this time. Stage cli, reasons system, unsafe_file_type (a source is not a regular file).
Result<WrittenLayer> writeLayer(const sys::UniqueFd& target, const std::vector<LayerFile>& files,
                                std::time_t time, const sys::CopyProgress& copied = {});

}  // namespace fallbackd::pack
