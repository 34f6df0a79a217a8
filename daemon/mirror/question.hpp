// SPDX-License-Identifier: Apache-2.0
// What a request of the distribution protocol asks for. Pure.
#pragma once

#include "domain/image_reference.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::mirror {

struct Asked {
  enum class Kind : std::uint8_t { base, manifest, blob };
  Kind kind = Kind::base;
  std::optional<ImageReference> image;  // of a manifest; of a blob: its repository, with the blob's digest
};

/// `path` begins with /v2/. If the query has no ns=, as with clients other than containerd, the path names
/// the registry: /v2/HOST/PATH/manifests/TAG. Empty for everything that the read-only protocol does not have.
std::optional<Asked> askedBy(std::string_view path, const std::map<std::string, std::string>& query);

/// Bytes `first` to `last`, both included.
struct ByteRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

/// The one range of a Range header; empty `range` with `satisfiable`: the whole content, as for a header that
/// has several ranges or a different unit.
struct RangeAsked {
  std::optional<ByteRange> range;
  bool satisfiable = true;
};
RangeAsked rangeAsked(std::string_view header, std::int64_t size);

}  // namespace fallbackd::mirror
