// SPDX-License-Identifier: Apache-2.0
// Content to be stored in containerd, whole or from a file. Reading a file blocks.
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::cri {

/// The middle of a blob, too large to be kept in memory. The file must not change.
struct BlobFile {
  std::shared_ptr<const sys::UniqueFd> file;
  std::uint64_t size = 0;
  std::string after;  // what follows it
};

struct Blob {
  std::string mediaType;
  std::string digest;  // "sha256:..."
  std::string bytes;
  Labels labels = {};  // by which containerd's garbage collection follows references
  std::optional<BlobFile> file = {};

  [[nodiscard]] std::uint64_t size() const;
};

/// Up to `limit` bytes from `offset` on; fewer only at the end of a part. Stage containerd.
Result<std::string> pieceOf(const Blob& blob, std::uint64_t offset, std::size_t limit);

}  // namespace fallbackd::cri
