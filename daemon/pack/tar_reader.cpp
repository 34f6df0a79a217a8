// SPDX-License-Identifier: Apache-2.0
#include "pack/tar_reader.hpp"

#include "base/paths.hpp"
#include "base/strings.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <memory>
#include <unistd.h>
#include <utility>
#include <vector>

namespace fallbackd::pack {

namespace {

constexpr std::size_t kChunk = 256U << 10U;

struct ArchiveDeleter {
  void operator()(archive* one) const { archive_read_free(one); }
};

tl::unexpected<Error> refuse(Reason reason, const std::string& what, const std::string& why) {
  return fail(Stage::cli, reason, what + ": " + why);
}

std::string reasonOf(archive* from) {
  const char* text = archive_error_string(from);
  return text == nullptr ? "damaged" : text;
}

/// The path without a leading "./"; empty for the root itself, which can only be a folder.
Result<std::string> checkPath(const char* given, const std::string& what) {
  std::string_view path = given == nullptr ? "" : given;
  while (path.starts_with("./")) path.remove_prefix(2);
  while (path.ends_with('/') && path.size() > 1) path.remove_suffix(1);
  if (given != nullptr && *given != '\0' && (path.empty() || path == ".")) return std::string();
  if (path.empty() || !isCleanPath("/" + std::string(path)))
    return refuse(Reason::unsafe_path, what, quoted(path) + " leads out of the archive");
  return std::string(path);
}

Result<> checkPlain(archive_entry* entry, const std::string& path, const std::string& what) {
  if (path.empty()) return refuse(Reason::unsafe_path, what, "an entry without a name is not a folder");
  if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr ||
      archive_entry_symlink(entry) != nullptr) {
    return refuse(Reason::unsafe_file_type, what,
                  quoted(path) + " is a link or a special file; a pack contains plain files only");
  }
  if (archive_entry_size_is_set(entry) == 0 || archive_entry_size(entry) < 0 ||
      archive_entry_sparse_count(entry) != 0) {
    return refuse(Reason::invalid, what, quoted(path) + " is a sparse file, or has no size");
  }
  return {};
}

}  // namespace

Result<> TarFile::writeTo(const sys::DirFd& dir, const std::string& name,
                          const sys::CopyProgress& copied) const {
  const sys::UniqueFd target(
      ::openat(dir.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!target) return failErrno(Stage::cli, "create " + name);
  std::vector<char> buffer(kChunk);
  std::uint64_t done = 0;
  for (;;) {
    const auto got = archive_read_data(from_, buffer.data(), buffer.size());
    if (got < 0) return refuse(Reason::invalid, what_, quoted(path_) + ": " + reasonOf(from_));
    if (got == 0) break;
    const auto bytes = static_cast<std::size_t>(got);
    done += bytes;
    if (done > size_) break;
    FB_CHECK(sys::writeAll(Stage::cli, target, {buffer.data(), bytes}, name));
    if (copied) copied(bytes);
  }
  if (done != size_)
    return refuse(Reason::invalid, what_, quoted(path_) + " does not have the size in its header");
  return {};
}

Result<> visitTar(const sys::UniqueFd& file, const std::string& what, const TarVisit& visit,
                  TarLimits& limits) {
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return failErrno(Stage::cli, "rewind " + what);
  const std::unique_ptr<archive, ArchiveDeleter> reader(archive_read_new());
  if (reader == nullptr) return refuse(Reason::system, what, "out of memory");
  // Nothing else: every further format is one more parser of untrusted bytes.
  archive_read_support_format_tar(reader.get());
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_zstd(reader.get());
  if (archive_read_open_fd(reader.get(), file.get(), kChunk) != ARCHIVE_OK) {
    return refuse(Reason::invalid, what, "not a tar file: " + reasonOf(reader.get()));
  }
  std::size_t entries = 0;
  std::uint64_t announced = 0;
  std::uint64_t used = 0;
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(reader.get(), &entry);
    if (result == ARCHIVE_EOF) break;
    // Warnings, too: a malformed archive can be read in two ways.
    if (result != ARCHIVE_OK) return refuse(Reason::invalid, what, reasonOf(reader.get()));
    if (++entries > limits.entries) {
      return refuse(Reason::too_large, what, "more than " + std::to_string(limits.entries) + " entries");
    }
    FB_TRY(const auto path, checkPath(archive_entry_pathname(entry), what));
    const bool folder = archive_entry_filetype(entry) == AE_IFDIR;
    if (!folder) FB_CHECK(checkPlain(entry, path, what));
    const auto size = folder ? 0 : static_cast<std::uint64_t>(archive_entry_size(entry));
    announced += std::min(size, limits.allBytes + 1);
    const auto unpacked =
        static_cast<std::uint64_t>(std::max<la_int64_t>(0, archive_filter_bytes(reader.get(), 0)));
    used = std::max(announced, unpacked);
    if (size > limits.fileBytes || used > limits.allBytes) {
      return refuse(Reason::too_large, what, quoted(path) + " is too large, or the files together are");
    }
    if (folder) continue;
    FB_TRY(const bool proceed, visit(TarFile(reader.get(), path, size, what)));
    if (!proceed) break;
  }
  limits.entries -= entries;
  limits.allBytes -= used;
  if (entries == 0) return refuse(Reason::invalid, what, "not a tar file, or an empty one");
  return {};
}

}  // namespace fallbackd::pack
