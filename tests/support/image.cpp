// SPDX-License-Identifier: Apache-2.0
#include "image.hpp"

#include "base/strings.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"

#include <array>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <set>

#include <boost/json.hpp>
#include <openssl/evp.h>

namespace fallbackd::e2e {

namespace {

namespace json = boost::json;

constexpr std::size_t kBlock = 512;  // of a tar file
constexpr std::size_t kMaxFile = 256 << 20;
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";

/// A tar file in memory: POSIX ustar, everything owned by root, times 0, so that it is reproducible.
class Tar {
 public:
  void addFolder(const std::string& path) { addHeader(path + "/", 0, '5'); }
  void addFile(const std::string& path, const std::string& content) {
    addHeader(path, content.size(), '0');
    bytes_ += content;
    bytes_.append((kBlock - content.size() % kBlock) % kBlock, '\0');
  }
  [[nodiscard]] std::string finish() const { return bytes_ + std::string(2 * kBlock, '\0'); }

 private:
  void addHeader(const std::string& path, std::size_t size, char type) {
    std::array<char, kBlock + 1> header{};
    const auto put = [&header](std::size_t at, const std::string& text) {
      std::memcpy(&header[at], text.data(), text.size());
    };
    const auto octal = [](std::size_t number, int digits) {
      std::array<char, 24> text{};
      std::snprintf(text.data(), text.size(), "%0*zo", digits, number);
      return std::string(text.data());
    };
    put(0, path.substr(0, 99));
    put(100, octal(0755, 7));   // mode
    put(108, octal(0, 7));      // uid
    put(116, octal(0, 7));      // gid
    put(124, octal(size, 11));  // size
    put(136, octal(0, 11));     // time
    put(148, "        ");       // the checksum is computed with spaces in its place
    header[156] = type;
    put(257, std::string("ustar\0"
                         "00",
                         8));
    std::size_t sum = 0;
    for (const char byte : header) sum += static_cast<unsigned char>(byte);
    put(148, octal(sum, 6) + std::string("\0 ", 2));
    bytes_.append(header.data(), kBlock);
  }

  std::string bytes_;
};

std::string sha256(const std::string& bytes) {
  std::array<std::byte, 32> digest{};
  ::EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr,
               ::EVP_sha256(), nullptr);
  return toHex(digest);
}

json::object descriptor(const std::string& mediaType, const std::string& bytes) {
  return {{"mediaType", mediaType}, {"digest", "sha256:" + sha256(bytes)}, {"size", bytes.size()}};
}

json::array texts(const std::vector<std::string>& values) {
  json::array out;
  for (const auto& value : values) out.emplace_back(value);
  return out;
}

Result<std::string> makeLayer(const Image& image) {
  Tar layer;
  std::set<std::string> folders;
  for (const auto& [inside, source] : image.files) {
    for (std::size_t at = inside.find('/'); at != std::string::npos; at = inside.find('/', at + 1)) {
      if (folders.insert(inside.substr(0, at)).second) layer.addFolder(inside.substr(0, at));
    }
    FB_TRY(const auto content, sys::readFile(Stage::cli, source, kMaxFile));
    layer.addFile(inside, content);
  }
  return layer.finish();
}

}  // namespace

Result<ImageBlobs> makeBlobs(const Image& image) {
  ImageBlobs blobs;
  FB_TRY(blobs.layer, makeLayer(image));
#if defined(__aarch64__)
  const char* const architecture = "arm64";
#else
  const char* const architecture = "amd64";
#endif
  blobs.layerDigest = sha256(blobs.layer);
  json::object config{{"Entrypoint", texts(image.entrypoint)}, {"Env", texts(image.env)}};
  if (!image.cmd.empty()) config["Cmd"] = texts(image.cmd);
  if (!image.user.empty()) config["User"] = image.user;
  if (!image.workingDir.empty()) config["WorkingDir"] = image.workingDir;
  blobs.config = json::serialize(json::object{
      {"architecture", architecture},
      {"os", "linux"},
      {"config", std::move(config)},
      {"rootfs", {{"type", "layers"}, {"diff_ids", json::array{"sha256:" + blobs.layerDigest}}}}});
  blobs.configDigest = sha256(blobs.config);
  blobs.manifest = json::serialize(json::object{
      {"schemaVersion", 2},
      {"mediaType", kManifestType},
      {"config", descriptor("application/vnd.oci.image.config.v1+json", blobs.config)},
      {"layers", json::array{descriptor("application/vnd.oci.image.layer.v1.tar", blobs.layer)}}});
  blobs.manifestDigest = sha256(blobs.manifest);
  auto own = descriptor(kManifestType, blobs.manifest);
  own["platform"] = {{"os", "linux"}, {"architecture", architecture}};
  auto other = descriptor(kManifestType, "nowhere");
  other["platform"] = {{"os", "linux"}, {"architecture", "s390x"}};
  blobs.index = json::serialize(json::object{{"schemaVersion", 2},
                                             {"mediaType", "application/vnd.oci.image.index.v1+json"},
                                             {"manifests", json::array{std::move(own), std::move(other)}}});
  blobs.indexDigest = sha256(blobs.index);
  return blobs;
}

Result<> writeOciArchive(const Image& image, const std::filesystem::path& archive) {
  FB_TRY(const auto blobs, makeBlobs(image));
  json::object entry = descriptor(kManifestType, blobs.manifest);
  entry["annotations"] = {{"io.containerd.image.name", image.reference},
                          {"org.opencontainers.image.ref.name", image.reference}};
  const std::string index =
      json::serialize(json::object{{"schemaVersion", 2}, {"manifests", json::array{entry}}});

  Tar tar;
  tar.addFile("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  tar.addFolder("blobs");
  tar.addFolder("blobs/sha256");
  tar.addFile("blobs/sha256/" + blobs.layerDigest, blobs.layer);
  tar.addFile("blobs/sha256/" + blobs.configDigest, blobs.config);
  tar.addFile("blobs/sha256/" + blobs.manifestDigest, blobs.manifest);
  tar.addFile("index.json", index);
  const sys::UniqueFd fd(::open(archive.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return failErrno(Stage::cli, "create " + archive.string());
  return sys::writeAll(Stage::cli, fd, tar.finish(), archive.string());
}

Image pauseImage() {
  return {.reference = kSandboxImage,
          .files = {{"pause", testProgram("pause")}},
          .entrypoint = {"/pause"},
          .env = {}};
}

}  // namespace fallbackd::e2e
