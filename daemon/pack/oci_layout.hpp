// SPDX-License-Identifier: Apache-2.0
// An OCI image layout (folder with oci-layout, index.json, blobs/): the layers of the image for this node.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>
#include <vector>

namespace fallbackd::pack {

/// Opens a blob after checking its size and sha256 against its descriptor.
struct Layer {
  std::string digest;  // hex
  sys::UniqueFd blob;
};

/// The layers, lowest first, of the image with this tag (org.opencontainers.image.ref.name), or, without a
/// tag, of the single one for linux and the node's architecture. Also accepts Docker's media types. `what`
/// names the layout in messages. Stage cli, reasons invalid, too_large, digest_mismatch, not_found,
/// arch_mismatch.
Result<std::vector<Layer>> openLayers(const sys::DirFd& layout, const std::string& what,
                                      const std::string& tag = {});

}  // namespace fallbackd::pack
