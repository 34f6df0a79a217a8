// SPDX-License-Identifier: Apache-2.0
// The image of a stand-in: one layer with one program, and a configuration that differs by name, so that
// containerd never takes two of them, or somebody else's, for one image under several names. Pure.
#pragma once

#include "cri/control.hpp"
#include "domain/binary_ref.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::standin {

/// "fallbackd.io/checkout:1.8.3": what kubectl shows as the container's image.
std::string imageNameOf(const BinaryRef& binary);

/// Layer, configuration and manifest, in the order in which they are stored. `architecture` as Go names it.
std::vector<cri::Blob> imageOf(const std::string& name, std::string_view program,
                               std::string_view architecture);

/// Of the node, which is the program's.
std::string_view architecture();

}  // namespace fallbackd::standin
