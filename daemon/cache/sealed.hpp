// SPDX-License-Identifier: Apache-2.0
// A copy of a binary that nobody can change: this is what is hashed, inspected and executed.
#pragma once

#include "base/error.hpp"
#include "cache/crypto.hpp"
#include "sys/fd.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace fallbackd::cache {

/// How the copy is held; the later methods are for older kernels and stricter settings.
enum class SealMethod : std::uint8_t {
  memfd_exec,  // MFD_EXEC, kernel 6.3
  memfd,       // before 6.3: EINVAL for MFD_EXEC
  tmpfile,     // vm.memfd_noexec=2: EACCES; an unlinked file on a mount of its own, made read-only
};
std::string_view toString(SealMethod method);

struct SealOptions {
  SealMethod first = SealMethod::memfd_exec;  // tests force the fallbacks
  std::string tmpDir = "/run";  // where the unlinked file is created; may be mounted with noexec
};

class SealedCopy {
 public:
  /// Copies `size` bytes from the beginning of `source` in one pass and seals the copy. The digest is that of
  /// the sealed copy. A file that is shorter or longer than `size` has changed meanwhile: digest_mismatch.
  static Result<SealedCopy> make(const sys::UniqueFd& source, std::uint64_t size, const std::string& name,
                                 const SealOptions& options = {});

  SealedCopy(SealedCopy&& other) noexcept;
  SealedCopy& operator=(SealedCopy&&) = delete;
  SealedCopy(const SealedCopy&) = delete;
  SealedCopy& operator=(const SealedCopy&) = delete;
  ~SealedCopy();

  [[nodiscard]] const Digest& digest() const { return digest_; }
  [[nodiscard]] SealMethod method() const { return method_; }
  /// The sealed bytes, mapped read-only.
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  /// Gives the descriptor away; the mapping is released with this object.
  [[nodiscard]] sys::UniqueFd takeFd() { return std::move(fd_); }

 private:
  SealedCopy() = default;
  Result<> map(const sys::UniqueFd& fd, std::uint64_t size, const std::string& name);
  void unmap();

  sys::UniqueFd fd_;
  SealMethod method_ = SealMethod::memfd_exec;
  Digest digest_{};
  std::span<const std::byte> bytes_;
};

}  // namespace fallbackd::cache
