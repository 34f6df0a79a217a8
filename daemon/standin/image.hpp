// SPDX-License-Identifier: Apache-2.0
// The image of a stand-in: a layer with its program, on request one with the fallback's binary, and a
// configuration that differs by name, so that containerd never takes two of them, or a foreign one, for one
// image under several names.
#pragma once

#include "cri/blob.hpp"
#include "domain/binary_ref.hpp"
#include "sys/fd.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::standin {

/// The admitted copy of the binary, and where commands of probes and hooks expect it: an absolute path of at
/// most 99 bytes.
struct Executable {
  std::string path;
  std::string digest;  // hex sha256
  std::uint64_t size = 0;
  std::shared_ptr<const sys::UniqueFd> file;  // sealed
};

/// "fallbackd.io/checkout:1.8.3": what kubectl shows as the container's image. With an executable its tag
/// ends in ".exec-" and some digits that differ by path and content.
std::string imageNameOf(const BinaryRef& binary, const std::optional<Executable>& executable = {});

/// With the executable as the only file. Without a digest: see digestOf().
cri::Blob layerOf(const Executable& executable);
/// Reads the whole file: blocks. Stage containerd.
Result<std::string> digestOf(const cri::Blob& blob);

/// Layers, configuration and manifest, in the order in which they are stored. `architecture` as Go names it.
std::vector<cri::Blob> imageOf(const std::string& name, std::string_view program,
                               std::string_view architecture, std::optional<cri::Blob> executable = {});

/// The node's architecture, which is also the program's.
std::string_view architecture();

}  // namespace fallbackd::standin
