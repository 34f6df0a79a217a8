// SPDX-License-Identifier: Apache-2.0
// A pack as an image that installs itself: besides the binaries it contains an installer, so that it runs as
// an init container with nothing else. For fallbackctl; blocks.
#pragma once

#include "base/error.hpp"
#include "cache/install.hpp"
#include "pack/image_writer.hpp"

#include <ctime>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::pack {

/// The label that says what a pack contains: for people and dashboards. Nodes believe only the attestations.
constexpr const char* kPackLabel = "io.fallbackd.pack";

struct PackImage {
  std::string installer;                      // a path on this machine: becomes /fallbackctl
  std::string folder;                         // installed binaries and their attestations: become /pack
  std::vector<cache::PackItem> items;         // what they are
  std::map<std::string, std::string> labels;  // additional ones
  std::time_t created = 0;
  ImageKind kind = ImageKind::image;  // an artifact has no installer in it
  sys::CopyProgress copied = {};
};

/// Writes it as writeImage() does; the same content and time give the same image. Errors of writeImage(), and
/// those of attestations that cannot be read.
Result<> writePackImage(const std::string& layout, const std::string& tag, const PackImage& content);

}  // namespace fallbackd::pack
