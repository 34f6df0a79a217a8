// SPDX-License-Identifier: Apache-2.0
#include "cache/sealed.hpp"

#include "sys/mount.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

// Since Linux 6.3 and 5.12; Debian 12's headers may be older than the kernel.
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

namespace fallbackd::cache {

namespace {

// Executable for the unprivileged users of fallbacks; the copy belongs to root.
constexpr mode_t kMode = 0555;

tl::unexpected<Error> changedMeanwhile(const std::string& name) {
  return fail(Stage::admission, Reason::digest_mismatch, name + " changed while it was read");
}

/// A writable, not yet sealed file for the copy; tries the methods from `method` on.
Result<sys::UniqueFd> openCopy(const std::string& name, const SealOptions& options, SealMethod& method) {
  if (method == SealMethod::memfd_exec) {
    sys::UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
    if (fd) return fd;
    if (errno != EINVAL && errno != EACCES) return failErrno(Stage::admission, "memfd for " + name);
    method = errno == EINVAL ? SealMethod::memfd : SealMethod::tmpfile;
  }
  if (method == SealMethod::memfd) {
    sys::UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd) return fd;
    if (errno != EACCES) return failErrno(Stage::admission, "memfd for " + name);
    method = SealMethod::tmpfile;
  }
  sys::UniqueFd fd(::open(options.tmpDir.c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, kMode));
  if (!fd) return failErrno(Stage::admission, "unlinked file in " + options.tmpDir + " for " + name);
  return fd;
}

constexpr std::uint64_t kFailed = ~0ULL;
constexpr std::size_t kChunk = 1U << 20U;
constexpr std::size_t kHashBuffer = 64U << 10U;

/// Publishes the number of bytes copied so far in `copied`.
Result<> copyBytes(const sys::UniqueFd& source, const sys::UniqueFd& target, std::uint64_t size,
                   const std::string& name, std::atomic<std::uint64_t>& copied) {
  off_t offset = 0;
  while (static_cast<std::uint64_t>(offset) < size) {
    const auto at = static_cast<std::uint64_t>(offset);
    const auto left = size - at;
    const ssize_t sent =
        ::sendfile(target.get(), source.get(), &offset, std::min<std::uint64_t>(left, kChunk));
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return failErrno(Stage::admission, "copy " + name);
    if (sent == 0) return changedMeanwhile(name);
    copied = static_cast<std::uint64_t>(offset);
    copied.notify_one();
  }
  std::array<char, 1> more{};
  if (::pread(source.get(), more.data(), more.size(), offset) != 0) return changedMeanwhile(name);
  return {};
}

/// Hashes bytes `from` to `to` of the copy through a small buffer. Reading through a mapping, it spent a
/// quarter of its time waiting for the memory of pages that another core had just written.
Result<> hashCopy(Sha256& hash, const sys::UniqueFd& target, std::uint64_t from, std::uint64_t to,
                  const std::string& name) {
  std::array<std::byte, kHashBuffer> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): read into
  while (from < to) {
    const auto wanted = std::min<std::uint64_t>(buffer.size(), to - from);
    const ssize_t got = ::pread(target.get(), buffer.data(), wanted, static_cast<off_t>(from));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failErrno(Stage::admission, "read the copy of " + name);
    hash.update(std::span(buffer).first(static_cast<std::size_t>(got)));
    from += static_cast<std::uint64_t>(got);
  }
  return {};
}

/// Copies on a second core, and hashes what has arrived, one step behind. Only we have the copy open, and it
/// is sealed before the digest is used.
Result<Digest> copyAndHash(const sys::UniqueFd& source, const sys::UniqueFd& target, std::uint64_t size,
                           const std::string& name) {
  std::atomic<std::uint64_t> copied{0};
  Result<> result;
  const auto copy = [&] {
    result = copyBytes(source, target, size, name, copied);
    if (!result) copied = kFailed;
    copied.notify_one();
  };
  std::jthread copier;
  try {
    if (size > kChunk) copier = std::jthread(copy);
  } catch (const std::system_error&) {
    // No thread available: copy first, then hash.
  }
  if (!copier.joinable()) copy();
  Sha256 hash;
  Result<> hashed;
  for (std::uint64_t done = 0; done < size && hashed;) {
    copied.wait(done);
    const auto there = copied.load();
    if (there == kFailed) break;
    hashed = hashCopy(hash, target, done, there, name);
    done = there;
  }
  if (copier.joinable()) copier.join();
  FB_CHECK(std::move(result));
  FB_CHECK(std::move(hashed));
  return hash.finish();
}

/// Whether the file has the seals now. The kernel returns EBUSY while anything holds one of the file's pages,
/// and it holds some itself for a moment, for instance to move them; it waits 150 ms, which is too short on a
/// busy machine.
bool addSeals(const sys::UniqueFd& fd, int seals) {
  constexpr int kTries = 8;
  for (int tries = 1;; ++tries) {
    if (::fcntl(fd.get(), F_ADD_SEALS, seals) == 0) return true;
    if (errno != EBUSY || tries >= kTries) return false;
  }
}

/// Makes the copy immutable. Returns the descriptor to use from now on.
Result<sys::UniqueFd> seal(sys::UniqueFd fd, SealMethod method, const std::string& name) {
  if (method == SealMethod::tmpfile) {
    // Only through a descriptor without write access can the file be executed and never written. The file has
    // no name, and O_EXCL keeps it from getting one.
    sys::UniqueFd reader(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
    if (!reader) return failErrno(Stage::admission, "reopen the copy of " + name);
    // The umask affected the mode that open() set.
    if (::fchmod(fd.get(), kMode) != 0) return failErrno(Stage::admission, "chmod the copy of " + name);
    // A fallback with uid 0 owns the file: it could change the mode back and write once nobody executes it
    // (CVE-2019-5736). Through a read-only mount nobody can. A process that may not mount cannot run as
    // another user either. On many nodes /run is mounted with noexec; our own mount of it is not.
    const auto tree =
        sys::copyMount(Stage::admission, fd, {.readOnly = true, .exec = true}, "the copy of " + name);
    if (!tree) return reader;
    sys::UniqueFd fixed(
        ::open(("/proc/self/fd/" + std::to_string(tree->get())).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fixed) return failErrno(Stage::admission, "reopen the copy of " + name);
    return fixed;
  }
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (::fchmod(fd.get(), kMode) != 0) return failErrno(Stage::admission, "chmod the copy of " + name);
  // F_SEAL_EXEC also fixes the mode, if the kernel has it.
  if (!addSeals(fd, kSeals | F_SEAL_EXEC) && (errno != EINVAL || !addSeals(fd, kSeals))) {
    return failErrno(Stage::admission, "seal the copy of " + name);
  }
  return fd;
}

}  // namespace

std::string_view toString(SealMethod method) {
  constexpr std::array<std::string_view, 3> kNames{"memfd_exec", "memfd", "tmpfile"};
  return kNames.at(static_cast<std::size_t>(method));
}

Result<SealedCopy> SealedCopy::make(const sys::UniqueFd& source, std::uint64_t size, const std::string& name,
                                    const SealOptions& options) {
  SealedCopy copy;
  copy.method_ = options.first;
  FB_TRY(auto fd, openCopy(name, options, copy.method_));
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    return failErrno(Stage::admission, "make room for the copy of " + name);
  }
  FB_CHECK(copy.map(fd, size, name));
  FB_TRY(copy.digest_, copyAndHash(source, fd, size, name));
  // A writable mapping of the descriptor would count as a writer, and a file with a writer cannot be
  // executed.
  if (copy.method_ == SealMethod::tmpfile) copy.unmap();
  FB_TRY(copy.fd_, seal(std::move(fd), copy.method_, name));
  if (copy.method_ == SealMethod::tmpfile) FB_CHECK(copy.map(copy.fd_, size, name));
  return copy;
}

SealedCopy::SealedCopy(SealedCopy&& other) noexcept
    : fd_(std::move(other.fd_)),
      method_(other.method_),
      digest_(other.digest_),
      bytes_(std::exchange(other.bytes_, {})) {}

Result<> SealedCopy::map(const sys::UniqueFd& fd, std::uint64_t size, const std::string& name) {
  unmap();
  if (size == 0) return {};
  // Private: a shared mapping, even read-only, prevents sealing on kernels before 6.7.
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (mapped == MAP_FAILED) return failErrno(Stage::admission, "map the copy of " + name);
  bytes_ = {static_cast<const std::byte*>(mapped), size};
  return {};
}

void SealedCopy::unmap() {
  if (bytes_.empty()) return;
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());  // NOLINT: munmap takes no const
  bytes_ = {};
}

SealedCopy::~SealedCopy() {
  unmap();
}

}  // namespace fallbackd::cache
