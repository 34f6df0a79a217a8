// SPDX-License-Identifier: Apache-2.0
// Whether a pull could be completed from this node alone: the index, the manifest of this platform and the
// configuration are in containerd's content store, and so are the layers, unless they are unpacked. Then
// containerd asks for no layer. Only reads.
#pragma once

#include "base/error.hpp"
#include "cri/image_store.hpp"
#include "domain/image_reference.hpp"
#include "mirror/manifest.hpp"

#include <optional>
#include <string>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::mirror {

/// A manifest or index that can be served, and with it all that a pull asks for next.
struct Offer {
  std::string digest;
  std::string mediaType;
  std::string text;                           // the manifest itself
  std::optional<Wall::time_point> updatedAt;  // of the name in the image store; absent: asked by its digest
};

/// Reason not_found if the node cannot complete the pull; the context says what is missing. By a digest, it
/// does not matter under which name the image came.
boost::asio::awaitable<Result<Offer>> offerOf(cri::ImageStore& store, ImageReference reference,
                                              Platform platform);

}  // namespace fallbackd::mirror
