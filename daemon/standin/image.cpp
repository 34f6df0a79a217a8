// SPDX-License-Identifier: Apache-2.0
#include "standin/image.hpp"

#include "base/strings.hpp"
#include "domain/stand_in.hpp"
#include "standin/program/protocol.hpp"

#include <array>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string_view>
#include <utility>

#include <boost/json.hpp>
#include <openssl/evp.h>

namespace fallbackd::standin {

namespace {

namespace json = boost::json;

static_assert(std::string_view(kStandInProgram).substr(1) == kProgramName);

constexpr std::size_t kTarBlock = 512;
constexpr const char* kLayerType = "application/vnd.oci.image.layer.v1.tar";
constexpr const char* kConfigType = "application/vnd.oci.image.config.v1+json";
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
// What containerd's garbage collection follows.
constexpr const char* kReference = "containerd.io/gc.ref.content.";
constexpr std::size_t kHashedAtOnce = 1U << 20;
constexpr std::size_t kTagDigits = 12;

std::string digestOfText(std::string_view bytes) {
  std::array<std::byte, 32> digest{};
  unsigned size = 0;
  ::EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &size,
               ::EVP_sha256(), nullptr);
  return "sha256:" + toHex(digest);
}

cri::Blob blobOf(const char* type, std::string bytes) {
  auto digest = digestOfText(bytes);
  return {type, std::move(digest), std::move(bytes)};
}

json::object descriptorOf(const cri::Blob& blob) {
  return {{"mediaType", blob.mediaType}, {"digest", blob.digest}, {"size", blob.size()}};
}

enum class Entry : char { file = '0', folder = '5' };

/// For an executable file or a folder that belongs to root, in ustar form, without a time.
std::string headerOf(std::string_view name, Entry kind, std::uint64_t content) {
  std::string header(kTarBlock, '\0');
  const auto put = [&](std::size_t at, std::string_view text) { header.replace(at, text.size(), text); };
  const auto octal = [&](std::size_t at, int digits, std::uint64_t value) {
    char text[24];
    const int size =
        std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(value));
    put(at, {text, static_cast<std::size_t>(size)});
  };
  put(0, name);
  octal(100, 7, 0755);
  octal(108, 7, 0);  // uid
  octal(116, 7, 0);  // gid
  octal(124, 11, content);
  octal(136, 11, 0);  // modified
  put(148, "        ");
  header[156] = static_cast<char>(kind);
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  std::size_t sum = 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  octal(148, 6, sum);
  header[154] = '\0';
  return header;
}

/// What follows a file's content: the rest of its block, and the end of the archive.
std::string endAfter(std::uint64_t content) {
  const auto rest = (kTarBlock - content % kTarBlock) % kTarBlock;
  return std::string(static_cast<std::size_t>(rest) + 2 * kTarBlock, '\0');
}

std::string tarOf(std::string_view name, std::string_view content) {
  return headerOf(name, Entry::file, content.size()).append(content).append(endAfter(content.size()));
}

}  // namespace

std::string imageNameOf(const BinaryRef& binary, const std::optional<Executable>& executable) {
  std::string tag = binary.version;
  for (char& one : tag) {
    if (one == '+') one = '_';  // build metadata, which a tag cannot have
  }
  if (executable) {
    const auto differs = digestOfText(executable->path + '\n' + executable->digest);
    tag += ".exec-" + differs.substr(differs.find(':') + 1, kTagDigits);
  }
  return "fallbackd.io/" + binary.name + ":" + tag;
}

cri::Blob layerOf(const Executable& executable) {
  cri::Blob layer{kLayerType, {}, {}};
  const std::string_view path = std::string_view(executable.path).substr(1);
  for (auto slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    layer.bytes += headerOf(path.substr(0, slash + 1), Entry::folder, 0);
  }
  layer.bytes += headerOf(path, Entry::file, executable.size);
  layer.file = cri::BlobFile{executable.file, executable.size, endAfter(executable.size)};
  return layer;
}

Result<std::string> digestOf(const cri::Blob& blob) {
  const std::unique_ptr<::EVP_MD_CTX, decltype(&::EVP_MD_CTX_free)> context(::EVP_MD_CTX_new(),
                                                                            &::EVP_MD_CTX_free);
  ::EVP_DigestInit_ex(context.get(), ::EVP_sha256(), nullptr);
  for (std::uint64_t offset = 0; offset < blob.size();) {
    FB_TRY(const auto piece, cri::pieceOf(blob, offset, kHashedAtOnce));
    ::EVP_DigestUpdate(context.get(), piece.data(), piece.size());
    offset += piece.size();
  }
  std::array<std::byte, 32> digest{};
  unsigned size = 0;
  ::EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.data()), &size);
  return "sha256:" + toHex(digest);
}

std::string_view architecture() {
#if defined(__aarch64__)
  return "arm64";
#else
  return "amd64";
#endif
}

std::vector<cri::Blob> imageOf(const std::string& name, std::string_view program,
                               std::string_view architecture, std::optional<cri::Blob> executable) {
  std::vector<cri::Blob> parts;
  parts.push_back(blobOf(kLayerType, tarOf(kProgramName, program)));
  if (executable) parts.push_back(std::move(*executable));
  json::array digests;
  json::array layers;
  cri::Labels references;
  for (const auto& layer : parts) {
    references[std::string(kReference) + "l." + std::to_string(layers.size())] = layer.digest;
    digests.emplace_back(layer.digest);
    layers.emplace_back(descriptorOf(layer));
  }
  json::object process;
  process["Entrypoint"] = json::array{std::string("/") + kProgramName};
  process["Labels"] = json::object{{kStandInImageLabel, name}};
  json::object root;
  root["type"] = "layers";
  root["diff_ids"] = std::move(digests);
  json::object description{{"architecture", architecture}, {"os", "linux"}};
  description["config"] = std::move(process);
  description["rootfs"] = std::move(root);
  auto config = blobOf(kConfigType, json::serialize(description));
  json::object list{{"schemaVersion", 2}, {"mediaType", kManifestType}};
  list["config"] = descriptorOf(config);
  list["layers"] = std::move(layers);
  auto manifest = blobOf(kManifestType, json::serialize(list));
  references[std::string(kReference) + "config"] = config.digest;
  manifest.labels = std::move(references);
  parts.push_back(std::move(config));
  parts.push_back(std::move(manifest));
  return parts;
}

}  // namespace fallbackd::standin
