// SPDX-License-Identifier: Apache-2.0
// Writes an image of one layer into an OCI image layout, as `skopeo copy oci:LAYOUT:TAG` reads it. The same
// content gives the same digests. For fallbackctl; blocks.
#pragma once

#include "base/error.hpp"
#include "pack/layer_writer.hpp"

#include <ctime>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::pack {

struct NewImage {
  std::string architecture;
  std::string createdBy;  // for the history
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::map<std::string, std::string> labels;
  std::vector<LayerFile> files;
  std::time_t created = 0;  // also the time of all files
};

/// Adds the image to the layout at this absolute path, which is created if it is missing. An image with the
/// same tag is replaced, and its blobs are removed unless another image of the layout has them too. Stage
/// cli, reasons invalid (not a layout of version 1), system.
Result<> writeImage(const std::string& layout, const std::string& tag, const NewImage& image);

}  // namespace fallbackd::pack
