// SPDX-License-Identifier: Apache-2.0
// The hash by which kubelet recognises a container as made from its pod's specification.
#pragma once

#include <string>
#include <string_view>

namespace fallbackd::standin {

/// As kubelet computes it from 1.31 on: FNV-1a, 32 bit, in hexadecimal. `image` is the specification's own
/// text. Up to 1.30 the hash covers the whole container, and kubelet does not recognise this one.
std::string kubeletsHash(std::string_view container, std::string_view image);

}  // namespace fallbackd::standin
