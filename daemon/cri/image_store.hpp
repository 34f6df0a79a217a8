// SPDX-License-Identifier: Apache-2.0
// Images as containerd stores them: names, content, unpacked layers. Read-only. Any thread; a call completes
// on its caller's executor. Every call is limited in time and can be cancelled.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::cri {

/// What a name of the image store stands for.
struct StoredImage {
  std::string mediaType;
  std::string digest;  // "sha256:..."
  std::int64_t size = 0;
  std::optional<Wall::time_point> updatedAt;  // at the latest pull, too
};

/// An entry of the content store.
struct StoredContent {
  std::int64_t size = 0;
  std::map<std::string, std::string> labels;
};

class ImageStore {
 public:
  template <class T>
  using Answer = boost::asio::awaitable<Result<T>>;

  virtual ~ImageStore() = default;

  /// `name` as containerd has it: ImageReference::toString(). Reason not_found.
  virtual Answer<StoredImage> image(std::string name) = 0;
  /// What the names of a repository ("r.example.com/shop/cart") stand for, by tag and by digest.
  virtual Answer<std::vector<StoredImage>> ofRepository(std::string repository) = 0;
  /// Reason not_found.
  virtual Answer<StoredContent> content(std::string digest) = 0;
  /// `size` bytes from `offset` on; fewer only at the content's end. Reason not_found.
  virtual Answer<std::string> read(std::string digest, std::int64_t offset, std::int64_t size) = 0;
  virtual Answer<bool> snapshotExists(std::string snapshotter, std::string key) = 0;
};

}  // namespace fallbackd::cri
