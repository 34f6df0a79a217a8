// What containerd's store keeps of a container for CRI: the record that the CRI plugin attaches when it makes
// the container, so it is there at /containers/create already, before CRI itself tells anything.
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"

#include <string_view>

namespace fallbackd::cri {

/// The extension's name in Container.extensions.
inline constexpr std::string_view kContainerRecord = "io.cri-containerd.container.metadata";

/// Fills sandboxId, name, attempt, image, imageId, labels and annotations from the record's JSON (the same
/// from containerd 1.6 to 2.1). Stage containerd, reason protocol for anything else.
Result<> applyContainerRecord(std::string_view text, Container& container);

}  // namespace fallbackd::cri
