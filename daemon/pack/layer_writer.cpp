// SPDX-License-Identifier: Apache-2.0
#include "pack/layer_writer.hpp"

#include "base/strings.hpp"
#include "cache/crypto.hpp"
#include "sys/file.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::pack {

namespace {

constexpr std::size_t kWriteChunk = 256U << 10U;
constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMaxTarSize = 077'777'777'777;  // eleven octal digits

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

/// Where the compressed bytes go.
struct BlobSink {
  const sys::UniqueFd& target;
  cache::Sha256 hash = {};
  std::uint64_t size = 0;
};

/// libarchive calls it with the next bytes; it returns how many were taken, or -1.
la_ssize_t take(archive* writer, void* data, const void* bytes, std::size_t size) {
  auto& sink = *static_cast<BlobSink*>(data);
  const std::string_view view(static_cast<const char*>(bytes), size);
  sink.hash.update(std::as_bytes(std::span(view)));
  sink.size += size;
  if (sys::writeAll(Stage::cli, sink.target, view, "a layer")) return static_cast<la_ssize_t>(size);
  archive_set_error(writer, EIO, "the target takes no more");
  return -1;
}

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
      archive_write_set_bytes_in_last_block(writer.get(), 1) == ARCHIVE_OK &&  // no padding after the end
      archive_write_open(writer.get(), &sink, nullptr, take, nullptr) == ARCHIVE_OK &&
      archive_write_header(writer.get(), entry.get()) == ARCHIVE_OK;
  if (!opened) return failWrite(writer.get());
  return writer;
}

/// Writes ustar entries, with pax headers for longer names. Not with libarchive: writing one tar would link
/// all its formats, and the libraries that they need, into fallbackctl, which is one static file.
class Tar {
 public:
  Tar(archive* gzip, std::time_t time, const sys::CopyProgress& copied)
      : gzip_(gzip), time_(time), copied_(copied) {}

  Result<> folder(const std::string& path) { return header(path, '5', 0755, 0); }

  Result<> file(const LayerFile& file) {
    const sys::UniqueFd source(::open(file.source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!source) return failErrno(Stage::cli, "open " + file.source);
    struct stat info {};
    if (::fstat(source.get(), &info) != 0) return failErrno(Stage::cli, "stat " + file.source);
    if (!S_ISREG(info.st_mode)) {
      return fail(Stage::cli, Reason::unsafe_file_type, file.source + " is not a regular file");
    }
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size > kMaxTarSize) return fail(Stage::cli, Reason::too_large, file.source + " is too large");
    FB_CHECK(header(file.path, '0', file.mode, size));
    std::vector<char> buffer(kWriteChunk);
    std::uint64_t done = 0;
    for (;;) {
      const ssize_t got = ::read(source.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return failErrno(Stage::cli, "read " + file.source);
      if (got == 0) break;
      done += static_cast<std::uint64_t>(got);
      if (done > size) break;
      FB_CHECK(put({buffer.data(), static_cast<std::size_t>(got)}));
      if (copied_) copied_(static_cast<std::uint64_t>(got));
    }
    if (done != size) return fail(Stage::cli, Reason::invalid, file.source + " changed while it was read");
    return pad(size);
  }

  /// The hex digest of the whole.
  Result<std::string> finish() {
    FB_CHECK(put(std::string(2 * kBlock, '\0')));
    return toHex(hash_.finish());
  }

 private:
  Result<> put(std::string_view bytes) {
    hash_.update(std::as_bytes(std::span(bytes)));
    if (archive_write_data(gzip_, bytes.data(), bytes.size()) == static_cast<la_ssize_t>(bytes.size()))
      return {};
    return failWrite(gzip_);
  }

  Result<> pad(std::uint64_t size) { return put(std::string((kBlock - size % kBlock) % kBlock, '\0')); }

  Result<> header(const std::string& path, char type, mode_t mode, std::uint64_t size) {
    if (path.size() > kNameBytes) {
      // "LENGTH path=PATH\n", where the length counts its own digits.
      const std::string rest = " path=" + path + "\n";
      auto length = rest.size() + std::to_string(rest.size()).size();
      length = rest.size() + std::to_string(length).size();
      const auto record = std::to_string(length) + rest;
      FB_CHECK(block("pax", 'x', 0644, record.size()));
      FB_CHECK(put(record));
      FB_CHECK(pad(record.size()));
    }
    return block(path.substr(0, kNameBytes), type, mode, size);
  }

  /// The fields of POSIX's ustar header at their offsets.
  Result<> block(const std::string& name, char type, mode_t mode, std::uint64_t size) {
    std::string bytes(kBlock, '\0');
    const auto set = [&](std::size_t at, std::string_view text) { bytes.replace(at, text.size(), text); };
    const auto octal = [&](std::size_t at, std::uint64_t value, int digits) {
      std::array<char, 24> text{};
      std::snprintf(text.data(), text.size(), "%0*llo", digits, static_cast<unsigned long long>(value));
      set(at, text.data());
    };
    set(0, name);
    octal(100, mode, 7);
    octal(108, 0, 7);  // owner
    octal(116, 0, 7);  // group
    octal(124, size, 11);
    octal(136, static_cast<std::uint64_t>(time_), 11);
    set(148, "        ");  // the checksum counts as blanks
    set(156, {&type, 1});
    set(257, std::string_view("ustar\00000", 8));
    unsigned sum = 0;
    for (const char c : bytes) sum += static_cast<unsigned char>(c);
    octal(148, sum, 6);
    bytes[154] = '\0';
    return put(bytes);
  }

  static constexpr std::size_t kNameBytes = 100;
  archive* gzip_;
  std::time_t time_;
  const sys::CopyProgress& copied_;
  cache::Sha256 hash_;
};

/// The folders of the path that are not in the archive yet.
Result<> addFolders(Tar& tar, const std::string& path, std::set<std::string>& written) {
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const auto folder = path.substr(0, slash + 1);
    if (written.insert(folder).second) FB_CHECK(tar.folder(folder));
  }
  return {};
}

}  // namespace

Result<WrittenLayer> writeLayer(const sys::UniqueFd& target, const std::vector<LayerFile>& files,
                                std::time_t time, const sys::CopyProgress& copied) {
  BlobSink blob{target};
  FB_TRY(const auto gzip, openGzip(blob));
  Tar tar(gzip.get(), time, copied);
  std::set<std::string> folders;
  for (const auto& file : files) {
    FB_CHECK(addFolders(tar, file.path, folders));
    FB_CHECK(tar.file(file));
  }
  FB_TRY(auto diffId, tar.finish());
  if (archive_write_close(gzip.get()) != ARCHIVE_OK) return failWrite(gzip.get());
  return WrittenLayer{toHex(blob.hash.finish()), std::move(diffId), blob.size};
}

}  // namespace fallbackd::pack
