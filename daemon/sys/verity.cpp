// SPDX-License-Identifier: Apache-2.0
#include "sys/verity.hpp"

#include "base/strings.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <linux/fsverity.h>
#include <span>
#include <sys/ioctl.h>

namespace fallbackd::sys {

namespace {
constexpr std::size_t kDigestBytes = 32;
}  // namespace

bool enableVerity(const UniqueFd& file) {
  fsverity_enable_arg how{};
  how.version = 1;
  how.hash_algorithm = FS_VERITY_HASH_ALG_SHA256;
  how.block_size = 4096;
  return ::ioctl(file.get(), FS_IOC_ENABLE_VERITY, &how) == 0;
}

std::optional<std::string> measureVerity(const UniqueFd& file) {
  // The header is followed by room for the digest.
  alignas(fsverity_digest) std::array<std::byte, sizeof(fsverity_digest) + kDigestBytes> buffer{};
  fsverity_digest head{};
  head.digest_size = kDigestBytes;
  std::memcpy(buffer.data(), &head, sizeof head);
  if (::ioctl(file.get(), FS_IOC_MEASURE_VERITY, buffer.data()) != 0) return std::nullopt;
  std::memcpy(&head, buffer.data(), sizeof head);
  if (head.digest_algorithm != FS_VERITY_HASH_ALG_SHA256 || head.digest_size != kDigestBytes)
    return std::nullopt;
  return "sha256:" + toHex(std::span(buffer).subspan(offsetof(fsverity_digest, digest), kDigestBytes));
}

}  // namespace fallbackd::sys
