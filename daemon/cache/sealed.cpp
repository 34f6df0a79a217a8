#include "cache/sealed.hpp"

#include <array>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

// Since Linux 6.3 and 5.12; the headers of Debian 12 may be older than the kernel.
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

namespace fallbackd::cache {

namespace {

// Executable for the unprivileged users that fallbacks run as; the copy belongs to root.
constexpr mode_t kMode = 0555;

tl::unexpected<Error> changedMeanwhile(const std::string& name) {
  return fail(Stage::admission, Reason::digest_mismatch, name + " changed while it was read");
}

/// A writable, still unsealed place for the copy; goes down the list of methods from `method`.
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

Result<> copyBytes(const sys::UniqueFd& source, const sys::UniqueFd& target, std::uint64_t size,
                   const std::string& name) {
  off_t offset = 0;
  while (static_cast<std::uint64_t>(offset) < size) {
    const ssize_t sent =
        ::sendfile(target.get(), source.get(), &offset, size - static_cast<std::uint64_t>(offset));
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return failErrno(Stage::admission, "copy " + name);
    if (sent == 0) return changedMeanwhile(name);
  }
  std::array<char, 1> more{};
  if (::pread(source.get(), more.data(), more.size(), offset) != 0) return changedMeanwhile(name);
  return {};
}

/// Makes the copy unchangeable. Returns the descriptor to use from now on.
Result<sys::UniqueFd> seal(sys::UniqueFd fd, SealMethod method, const std::string& name) {
  if (method == SealMethod::tmpfile) {
    // Only a descriptor without write access can be executed and never be written through; the file has no
    // name, and O_EXCL keeps it from getting one.
    sys::UniqueFd reader(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
    if (!reader) return failErrno(Stage::admission, "reopen the copy of " + name);
    // The umask took part in the mode that open() gave.
    if (::fchmod(fd.get(), kMode) != 0) return failErrno(Stage::admission, "chmod the copy of " + name);
    return reader;
  }
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (::fchmod(fd.get(), kMode) != 0) return failErrno(Stage::admission, "chmod the copy of " + name);
  // F_SEAL_EXEC fixes the mode too, where the kernel has it.
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals | F_SEAL_EXEC) != 0 &&
      (errno != EINVAL || ::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0)) {
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
  FB_CHECK(copyBytes(source, fd, size, name));
  FB_TRY(copy.fd_, seal(std::move(fd), copy.method_, name));
  if (size > 0) {
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_POPULATE, copy.fd_.get(), 0);
    if (mapped == MAP_FAILED) return failErrno(Stage::admission, "map the copy of " + name);
    copy.bytes_ = {static_cast<const std::byte*>(mapped), size};
  }
  Sha256 hash;
  hash.update(copy.bytes_);
  copy.digest_ = hash.finish();
  return copy;
}

SealedCopy::SealedCopy(SealedCopy&& other) noexcept
    : fd_(std::move(other.fd_)),
      method_(other.method_),
      digest_(other.digest_),
      bytes_(std::exchange(other.bytes_, {})) {}

SealedCopy::~SealedCopy() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());  // NOLINT: munmap takes no const
  }
}

}  // namespace fallbackd::cache
