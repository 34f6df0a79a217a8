// SPDX-License-Identifier: Apache-2.0
#include "standin/image.hpp"

#include "base/strings.hpp"
#include "domain/stand_in.hpp"
#include "standin/program/protocol.hpp"

#include <array>
#include <cstddef>
#include <cstdio>
#include <span>

#include <boost/json.hpp>
#include <openssl/evp.h>

namespace fallbackd::standin {

namespace {

namespace json = boost::json;

constexpr std::size_t kTarBlock = 512;
constexpr const char* kLayerType = "application/vnd.oci.image.layer.v1.tar";
constexpr const char* kConfigType = "application/vnd.oci.image.config.v1+json";
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
// What containerd's garbage collection follows.
constexpr const char* kReference = "containerd.io/gc.ref.content.";

std::string digestOf(std::string_view bytes) {
  std::array<std::byte, 32> digest{};
  unsigned size = 0;
  ::EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &size,
               ::EVP_sha256(), nullptr);
  return "sha256:" + toHex(digest);
}

cri::Blob blobOf(const char* type, std::string bytes) {
  auto digest = digestOf(bytes);
  return {type, std::move(digest), std::move(bytes)};
}

json::object descriptorOf(const cri::Blob& blob) {
  return {{"mediaType", blob.mediaType}, {"digest", blob.digest}, {"size", blob.bytes.size()}};
}

/// One executable file of root's, in ustar form, without a time.
std::string tarOf(std::string_view name, std::string_view content) {
  std::string header(kTarBlock, '\0');
  const auto put = [&](std::size_t at, std::string_view text) { header.replace(at, text.size(), text); };
  const auto octal = [&](std::size_t at, int digits, std::size_t value) {
    char text[16];
    const int size = std::snprintf(text, sizeof text, "%0*zo", digits, value);
    put(at, {text, static_cast<std::size_t>(size)});
  };
  put(0, name);
  octal(100, 7, 0755);
  octal(108, 7, 0);  // uid
  octal(116, 7, 0);  // gid
  octal(124, 11, content.size());
  octal(136, 11, 0);  // modified
  put(148, "        ");
  put(156, "0");
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  std::size_t sum = 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  octal(148, 6, sum);
  header[154] = '\0';
  std::string tar = header;
  tar.append(content);
  tar.append((kTarBlock - content.size() % kTarBlock) % kTarBlock, '\0');
  tar.append(2 * kTarBlock, '\0');  // its end
  return tar;
}

}  // namespace

std::string imageNameOf(const BinaryRef& binary) {
  std::string tag = binary.version;
  for (char& one : tag) {
    if (one == '+') one = '_';  // build metadata, which a tag cannot have
  }
  return "fallbackd.io/" + binary.name + ":" + tag;
}

std::string_view architecture() {
#if defined(__aarch64__)
  return "arm64";
#else
  return "amd64";
#endif
}

std::vector<cri::Blob> imageOf(const std::string& name, std::string_view program,
                               std::string_view architecture) {
  auto layer = blobOf(kLayerType, tarOf(kProgramName, program));
  json::object process;
  process["Entrypoint"] = json::array{std::string("/") + kProgramName};
  process["Labels"] = json::object{{kStandInImageLabel, name}};
  json::object root;
  root["type"] = "layers";
  root["diff_ids"] = json::array{layer.digest};
  json::object description{{"architecture", architecture}, {"os", "linux"}};
  description["config"] = std::move(process);
  description["rootfs"] = std::move(root);
  auto config = blobOf(kConfigType, json::serialize(description));
  json::object list{{"schemaVersion", 2}, {"mediaType", kManifestType}};
  list["config"] = descriptorOf(config);
  list["layers"] = json::array{descriptorOf(layer)};
  auto manifest = blobOf(kManifestType, json::serialize(list));
  manifest.labels = {{std::string(kReference) + "config", config.digest},
                     {std::string(kReference) + "l.0", layer.digest}};
  return {std::move(layer), std::move(config), std::move(manifest)};
}

}  // namespace fallbackd::standin
