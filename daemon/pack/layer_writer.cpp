// SPDX-License-Identifier: Apache-2.0
#include "pack/layer_writer.hpp"

#include "base/strings.hpp"
#include "cache/crypto.hpp"
#include "sys/file.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace fallbackd::pack {

namespace {

constexpr std::size_t kWriteChunk = 256U << 10U;

struct WriterDeleter {
  void operator()(archive* one) const { archive_write_free(one); }
};
using Writer = std::unique_ptr<archive, WriterDeleter>;

struct EntryDeleter {
  void operator()(archive_entry* one) const { archive_entry_free(one); }
};
using Entry = std::unique_ptr<archive_entry, EntryDeleter>;

tl::unexpected<Error> failWrite(archive* writer) {
  const char* text = archive_error_string(writer);
  return fail(Stage::cli, Reason::system, "write a layer: " + std::string(text == nullptr ? "failed" : text));
}

/// libarchive calls it with the next bytes; it returns how many were taken, or -1.
template <class Sink>
la_ssize_t pass(archive* writer, void* sink, const void* bytes, std::size_t size) {
  const std::string_view view(static_cast<const char*>(bytes), size);
  if (static_cast<Sink*>(sink)->take(view)) return static_cast<la_ssize_t>(size);
  archive_set_error(writer, EIO, "the target takes no more");
  return -1;
}

/// Where the compressed bytes go.
struct BlobSink {
  const sys::UniqueFd& target;
  cache::Sha256 hash = {};
  std::uint64_t size = 0;

  bool take(std::string_view bytes) {
    hash.update(std::as_bytes(std::span(bytes)));
    size += bytes.size();
    return sys::writeAll(Stage::cli, target, bytes, "a layer").has_value();
  }
};

/// Where the tar file goes: to be compressed.
struct TarSink {
  archive* gzip;
  cache::Sha256 hash = {};

  bool take(std::string_view bytes) {
    hash.update(std::as_bytes(std::span(bytes)));
    return archive_write_data(gzip, bytes.data(), bytes.size()) == static_cast<la_ssize_t>(bytes.size());
  }
};

/// A stream of bytes, compressed.
Result<Writer> openGzip(BlobSink& sink) {
  Writer writer(archive_write_new());
  const Entry entry(archive_entry_new());
  if (writer == nullptr || entry == nullptr) return fail(Stage::cli, Reason::system, "out of memory");
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  const bool opened =
      archive_write_add_filter_gzip(writer.get()) == ARCHIVE_OK &&
      archive_write_set_filter_option(writer.get(), "gzip", "timestamp", nullptr) == ARCHIVE_OK &&
      archive_write_set_format_raw(writer.get()) == ARCHIVE_OK &&
      archive_write_set_bytes_in_last_block(writer.get(), 1) == ARCHIVE_OK &&  // no padding behind the end
      archive_write_open(writer.get(), &sink, nullptr, pass<BlobSink>, nullptr) == ARCHIVE_OK &&
      archive_write_header(writer.get(), entry.get()) == ARCHIVE_OK;
  if (!opened) return failWrite(writer.get());
  return writer;
}

Result<Writer> openTar(TarSink& sink) {
  Writer writer(archive_write_new());
  if (writer == nullptr) return fail(Stage::cli, Reason::system, "out of memory");
  const bool opened = archive_write_set_format_gnutar(writer.get()) == ARCHIVE_OK &&
                      archive_write_open(writer.get(), &sink, nullptr, pass<TarSink>, nullptr) == ARCHIVE_OK;
  if (!opened) return failWrite(writer.get());
  return writer;
}

Result<> writeHeader(archive* tar, const std::string& path, unsigned type, mode_t mode, std::int64_t size,
                     std::time_t time) {
  const Entry entry(archive_entry_new());
  if (entry == nullptr) return fail(Stage::cli, Reason::system, "out of memory");
  archive_entry_set_pathname(entry.get(), path.c_str());
  archive_entry_set_filetype(entry.get(), type);
  archive_entry_set_perm(entry.get(), mode);
  archive_entry_set_uid(entry.get(), 0);
  archive_entry_set_gid(entry.get(), 0);
  archive_entry_set_size(entry.get(), size);
  archive_entry_set_mtime(entry.get(), time, 0);
  if (archive_write_header(tar, entry.get()) != ARCHIVE_OK) return failWrite(tar);
  return {};
}

Result<> writeFile(archive* tar, const LayerFile& file, std::time_t time) {
  const sys::UniqueFd source(::open(file.source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!source) return failErrno(Stage::cli, "open " + file.source);
  struct stat info {};
  if (::fstat(source.get(), &info) != 0) return failErrno(Stage::cli, "stat " + file.source);
  if (!S_ISREG(info.st_mode)) {
    return fail(Stage::cli, Reason::unsafe_file_type, file.source + " is not a regular file");
  }
  FB_CHECK(writeHeader(tar, file.path, AE_IFREG, file.mode, info.st_size, time));
  std::vector<char> buffer(kWriteChunk);
  std::int64_t done = 0;
  for (;;) {
    const ssize_t got = ::read(source.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failErrno(Stage::cli, "read " + file.source);
    if (got == 0) break;
    done += got;
    if (done > info.st_size) break;
    if (archive_write_data(tar, buffer.data(), static_cast<std::size_t>(got)) != got) return failWrite(tar);
  }
  if (done != info.st_size)
    return fail(Stage::cli, Reason::invalid, file.source + " changed while it was read");
  return {};
}

/// The folders of the path that are not in the archive yet.
Result<> writeFolders(archive* tar, const std::string& path, std::set<std::string>& written,
                      std::time_t time) {
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const auto folder = path.substr(0, slash + 1);
    if (written.insert(folder).second) FB_CHECK(writeHeader(tar, folder, AE_IFDIR, 0755, 0, time));
  }
  return {};
}

}  // namespace

Result<WrittenLayer> writeLayer(const sys::UniqueFd& target, const std::vector<LayerFile>& files,
                                std::time_t time) {
  BlobSink blob{target};
  FB_TRY(const auto gzip, openGzip(blob));
  TarSink tarSink{gzip.get()};
  FB_TRY(const auto tar, openTar(tarSink));
  std::set<std::string> folders;
  for (const auto& file : files) {
    FB_CHECK(writeFolders(tar.get(), file.path, folders, time));
    FB_CHECK(writeFile(tar.get(), file, time));
  }
  if (archive_write_close(tar.get()) != ARCHIVE_OK) return failWrite(tar.get());
  if (archive_write_close(gzip.get()) != ARCHIVE_OK) return failWrite(gzip.get());
  return WrittenLayer{toHex(blob.hash.finish()), toHex(tarSink.hash.finish()), blob.size};
}

}  // namespace fallbackd::pack
