// SPDX-License-Identifier: Apache-2.0
// Writes an image of one layer into an OCI image layout, as `skopeo copy oci:LAYOUT:TAG` reads it. The same
// content gives the same digests. For fallbackctl; blocks.
#pragma once

#include "base/error.hpp"
#include "pack/layer_writer.hpp"
#include "sys/copy_progress.hpp"

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::pack {

enum class ImageKind : std::uint8_t {
  image,    // what a runtime runs or mounts
  artifact  // an OCI artifact of our type, for registries and `oras pull`: a layer, no configuration
};

/// The type of such an artifact.
inline constexpr std::string_view kArtifactType = "application/vnd.fallbackd.pack.v1";

struct NewImage {
  ImageKind kind = ImageKind::image;
  std::string architecture;
  std::string createdBy;  // for the history
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::map<std::string, std::string> labels;  // annotations of the manifest, too
  std::vector<LayerFile> files;
  std::time_t created = 0;  // also the time of all files
  sys::CopyProgress copied = {};
};

/// Adds the image to the layout at this absolute path, which is created if it is missing. An image with the
/// same tag is replaced, and its blobs are removed unless another image of the layout has them too. Waits
/// until no other writer of ours uses the layout. Stage cli, reasons invalid (not a layout of version 1),
/// system.
Result<> writeImage(const std::string& layout, const std::string& tag, const NewImage& image);

}  // namespace fallbackd::pack
