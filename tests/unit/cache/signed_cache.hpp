// SPDX-License-Identifier: Apache-2.0
// A cache with its own key, and functions that spoil it.
#pragma once

#include "base/strings.hpp"
#include "cache/admission.hpp"
#include "cache/attestation.hpp"
#include "cache/elf.hpp"
#include "temp_folder.hpp"

#include <cstring>
#include <elf.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::test {

inline std::string readBytes(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

inline void writeBytes(const std::string& path, const std::string& bytes, mode_t mode = 0755) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  ::chmod(path.c_str(), mode);
}

inline std::string program(const std::string& name) {
  return readBytes(std::string(PROGRAMS) + "/" + name);
}

/// The program with writable code segments, which today's linkers do not create.
inline std::string withWritableCode(std::string bytes) {
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const auto at = header.e_phoff + i * sizeof segment;
    std::memcpy(&segment, bytes.data() + at, sizeof segment);
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0) segment.p_flags |= PF_W;
    std::memcpy(bytes.data() + at, &segment, sizeof segment);
  }
  return bytes;
}

/// The program with its second loaded segment placed over the first.
inline std::string withOverlap(std::string bytes) {
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  std::optional<Elf64_Addr> first;
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const auto at = header.e_phoff + i * sizeof segment;
    std::memcpy(&segment, bytes.data() + at, sizeof segment);
    if (segment.p_type != PT_LOAD) continue;
    segment.p_vaddr = first.value_or(segment.p_vaddr);
    first = segment.p_vaddr;
    std::memcpy(bytes.data() + at, &segment, sizeof segment);
  }
  return bytes;
}

/// The program with each of its headers changed.
inline std::string withSegments(std::string bytes, const std::function<void(Elf64_Phdr&)>& change) {
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const auto at = header.e_phoff + i * sizeof segment;
    std::memcpy(&segment, bytes.data() + at, sizeof segment);
    change(segment);
    std::memcpy(bytes.data() + at, &segment, sizeof segment);
  }
  return bytes;
}

/// The program as if Go's linker had written this module version into its data, over the existing bytes.
inline std::string withGoBuild(std::string bytes, const std::string& version) {
  const std::string sentinel(16, '0');
  const std::string module = sentinel + "path\tshop\nmod\tshop\t" + version + "\th1:x\n" + sentinel;
  std::string info = "\xff Go buildinf:";
  info.append({8, 2}).append(16, '\0');
  info.append({8}).append("go1.19.8").append({static_cast<char>(module.size())}).append(module);
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, bytes.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) != 0)
      bytes.replace(segment.p_offset, info.size(), info);
  }
  return bytes;
}

struct SignedCache {
  SignedCache() {
    for (const auto* name : {"cache", "keys", "state"}) std::filesystem::create_directory(path(name));
    addKey("one", key);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder.path() + "/" + name; }
  [[nodiscard]] std::string file(const std::string& name) const { return path("cache/" + name); }

  void addKey(const std::string& name, const cache::PrivateKey& from, const std::string& limits = "") const {
    writeBytes(path("keys/" + name + ".pub"), limits + *from.publicPem(), 0644);
  }
  static cache::Statement statementFor(const BinaryRef& which, const std::string& bytes) {
    cache::Statement statement;
    statement.ref = which;
    statement.digest = toHex(cache::Sha256::of(bytes));
    statement.os = "linux";
    statement.arch = cache::nodeArchitecture();
    statement.expires = Clock::system().wall() + std::chrono::hours(24);
    return statement;
  }
  /// A valid binary and its attestation.
  void put(const BinaryRef& which, const std::string& bytes) const {
    put(which, bytes, statementFor(which, bytes), key);
  }
  void put(const BinaryRef& which, const std::string& bytes, const cache::Statement& statement,
           const cache::PrivateKey& signer) const {
    writeBytes(file(which.fileName()), bytes);
    writeBytes(file(which.attestationName()), *cache::signStatement(statement, signer), 0644);
  }
  [[nodiscard]] config::CacheSettings settings() const {
    config::CacheSettings settings;
    settings.path = path("cache");
    settings.keys = path("keys");
    settings.state = path("state");
    return settings;
  }

  ~SignedCache() {
    if (!mounted.empty()) ::umount2(mounted.c_str(), MNT_DETACH);
  }
  SignedCache(const SignedCache&) = delete;
  SignedCache& operator=(const SignedCache&) = delete;

  TempFolder folder;
  std::string mounted;  // the path where an attack mounted something
  cache::PrivateKey key = std::move(*cache::PrivateKey::generate(cache::KeyType::p256));
  BinaryRef ref{"checkout", "1.8.3"};
};

}  // namespace fallbackd::test
