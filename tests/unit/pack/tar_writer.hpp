// SPDX-License-Identifier: Apache-2.0
// Tar files for tests, including files that no tar program would write.
#pragma once

#include "base/strings.hpp"
#include "cache/crypto.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::test {

enum class Compression { none, gzip, zstd };

class TarWriter {
 public:
  explicit TarWriter(const std::string& path, Compression compression = Compression::none)
      : writer_(archive_write_new()) {
    if (compression == Compression::gzip) archive_write_add_filter_gzip(writer_);
    if (compression == Compression::zstd) archive_write_add_filter_zstd(writer_);
    archive_write_set_format_pax_restricted(writer_);
    EXPECT_EQ(archive_write_open_filename(writer_, path.c_str()), ARCHIVE_OK);
  }
  ~TarWriter() { archive_write_free(writer_); }
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  TarWriter& file(const std::string& path, const std::string& bytes) {
    write(path, AE_IFREG, bytes);
    return *this;
  }
  /// Adds a file of `size` bytes that consists of one hole.
  TarWriter& sparse(const std::string& path, la_int64_t size) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, path.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0755);
    archive_entry_set_size(entry, size);
    archive_entry_sparse_add_entry(entry, size, 0);
    EXPECT_EQ(archive_write_header(writer_, entry), ARCHIVE_OK) << path;
    archive_entry_free(entry);
    return *this;
  }
  TarWriter& folder(const std::string& path, const std::string& attribute = "") {
    attribute_ = attribute;
    write(path, AE_IFDIR, "");
    attribute_.clear();
    return *this;
  }
  TarWriter& special(const std::string& path, unsigned type) {
    write(path, type, "");
    return *this;
  }
  TarWriter& link(const std::string& path, const std::string& to, bool hard) {
    write(path, hard ? AE_IFREG : AE_IFLNK, "", to, hard);
    return *this;
  }

 private:
  void write(const std::string& path, unsigned type, const std::string& bytes, const std::string& to = "",
             bool hard = false) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, path.c_str());
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, 0755);
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    if (!to.empty() && hard) archive_entry_set_hardlink(entry, to.c_str());
    if (!to.empty() && !hard) archive_entry_set_symlink(entry, to.c_str());
    if (!attribute_.empty())
      archive_entry_xattr_add_entry(entry, "user.x", attribute_.data(), attribute_.size());
    EXPECT_EQ(archive_write_header(writer_, entry), ARCHIVE_OK) << path;
    if (!bytes.empty()) {
      EXPECT_EQ(archive_write_data(writer_, bytes.data(), bytes.size()),
                static_cast<la_ssize_t>(bytes.size()));
    }
    archive_entry_free(entry);
  }
  archive* writer_;
  std::string attribute_;  // of the current entry
};

}  // namespace fallbackd::test
