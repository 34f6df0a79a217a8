// SPDX-License-Identifier: Apache-2.0
#include "cri/blob.hpp"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace fallbackd::cri {

namespace {

Result<std::string> readFrom(const BlobFile& from, std::uint64_t offset, std::size_t limit) {
  std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(limit, from.size - offset)), '\0');
  std::size_t got = 0;
  while (got < piece.size()) {
    const ssize_t part =
        ::pread(from.file->get(), piece.data() + got, piece.size() - got, static_cast<off_t>(offset + got));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return failErrno(Stage::containerd, "read the binary");
    if (part == 0) return fail(Stage::containerd, Reason::internal, "the binary is shorter than it was");
    got += static_cast<std::size_t>(part);
  }
  return piece;
}

}  // namespace

std::uint64_t Blob::size() const {
  return bytes.size() + (file ? file->size + file->after.size() : 0);
}

Result<std::string> pieceOf(const Blob& blob, std::uint64_t offset, std::size_t limit) {
  if (offset < blob.bytes.size()) return blob.bytes.substr(static_cast<std::size_t>(offset), limit);
  offset -= blob.bytes.size();
  if (!blob.file) return std::string();
  if (offset < blob.file->size) return readFrom(*blob.file, offset, limit);
  offset -= blob.file->size;
  if (offset >= blob.file->after.size()) return std::string();
  return blob.file->after.substr(static_cast<std::size_t>(offset), limit);
}

}  // namespace fallbackd::cri
