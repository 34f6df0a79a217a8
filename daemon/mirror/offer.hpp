// SPDX-License-Identifier: Apache-2.0
// Whether a pull could be completed from this node alone: the index, the manifest of this platform and the
// configuration are in containerd's content store, and so are the layers, unless they are unpacked. Then
// containerd requests no layer. Also whether the image belongs to the requested repository: anyone who may
// create pods can make up names, and must not get through them what came to the node under a different name.
// Only reads.
#pragma once

#include "base/error.hpp"
#include "cri/image_store.hpp"
#include "domain/image_reference.hpp"
#include "mirror/manifest.hpp"

#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::mirror {

/// A manifest or index that can be served, and with it everything that a pull requests next.
struct Offer {
  std::string digest;
  std::string mediaType;
  std::string text;                           // the manifest itself
  std::optional<Wall::time_point> updatedAt;  // of the name in the image store; absent: requested by digest
  std::vector<std::string> parts;             // digests that it names
};

/// Reason not_found if the node cannot complete the pull; the context says what is missing. A digest must
/// belong to an image that has a name of this repository, by a tag or a digest.
boost::asio::awaitable<Result<Offer>> offerOf(cri::ImageStore& store, ImageReference reference,
                                              Platform platform);

/// Whether `digest` is an image of this repository, or a part of one that a pull requests. Reason not_found.
boost::asio::awaitable<Result<>> checkRepository(cri::ImageStore& store, std::string repository,
                                                 std::string digest, Platform platform);

}  // namespace fallbackd::mirror
