// SPDX-License-Identifier: Apache-2.0
// An image reference by the rules of containerd (those of the distribution project): PullImage refuses what
// is refused here, and what is accepted has the name under which containerd stores it.
//
//   [HOST[:PORT]/]PATH[:TAG][@DIGEST]
//
// The first part of a name is its host if it contains a dot, a colon or an upper-case letter, or is
// localhost; any other name belongs to Docker Hub.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

namespace fallbackd {

class ImageReference {
 public:
  /// Accepts any bytes. The error (stage config, reason invalid) says what is wrong and, in parentheses, what
  /// to write instead.
  static Result<ImageReference> parse(std::string_view text);

  /// The registry, with its port: "docker.io", "r.example.com:5000", "[::1]:5000".
  [[nodiscard]] const std::string& host() const { return host_; }
  /// The host without port and brackets, as containerd labels stored content: "::1".
  [[nodiscard]] std::string hostName() const;
  /// The path on that host: "library/nginx".
  [[nodiscard]] const std::string& path() const { return path_; }
  /// "docker.io/library/nginx"
  [[nodiscard]] std::string repository() const { return host_ + "/" + path_; }
  /// As written; "latest" if there is neither a tag nor a digest.
  [[nodiscard]] const std::string& tag() const { return tag_; }
  /// "sha256:..."; empty if there is none.
  [[nodiscard]] const std::string& digest() const { return digest_; }

  /// The name under which containerd stores the image. For NAME:TAG@DIGEST this is NAME@DIGEST.
  [[nodiscard]] std::string toString() const;

  /// Whether the repository is `prefix` or lies below it: "shop" contains "shop/checkout", not "shopping".
  [[nodiscard]] bool isBelow(std::string_view prefix) const;

  /// The same image for containerd: NAME:TAG@DIGEST is NAME@DIGEST, and docker.io/library/NAME is NAME.
  friend bool operator==(const ImageReference& left, const ImageReference& right) {
    return left.host_ == right.host_ && left.path_ == right.path_ && left.digest_ == right.digest_ &&
           (!left.digest_.empty() || left.tag_ == right.tag_);
  }

 private:
  ImageReference() = default;

  std::string host_;
  std::string path_;
  std::string tag_;
  std::string digest_;
};

/// Whether two texts name the same image; false if one of them is not a reference.
bool sameImage(std::string_view left, std::string_view right);

/// A registry as it appears in a reference. "index.docker.io" gives "docker.io". Errors as from parse().
Result<std::string> parseRegistryHost(std::string_view text);

/// Whether a registry can have a repository with this path: "shop/checkout".
bool isRepositoryPath(std::string_view text);

}  // namespace fallbackd
