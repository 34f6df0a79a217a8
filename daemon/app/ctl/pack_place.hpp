// SPDX-License-Identifier: Apache-2.0
// Where a pack is, as a person writes it. What is on this machine is never looked for in a registry, and an
// image is looked for only in the registry that it names.
#pragma once

#include "base/error.hpp"

#include <string>

namespace fallbackd::ctl {

struct PackPlace {
  enum class Kind : std::uint8_t {
    local,     // a folder, a layer, an OCI layout or an archive of one: `path`, and `tag` if there is one
    elsewhere  // for skopeo
  };
  Kind kind = Kind::local;
  std::string path;
  std::string tag;
  std::string image;  // as skopeo names it: oci:LAYOUT:TAG, docker://registry.example.com/pack:1
};

/// PATH, PATH:TAG, oci:PATH[:TAG], oci-archive:PATH[:TAG], REGISTRY/IMAGE, or another of skopeo's transports.
/// Stage cli; reason not_found for a path that is not there, usage for what could be a path or an image
/// without a registry.
Result<PackPlace> packPlace(const std::string& text);

}  // namespace fallbackd::ctl
