// SPDX-License-Identifier: Apache-2.0
// The record that the CRI plugin attaches to a container in containerd's store when it creates it. It exists
// as early as /containers/create, before CRI itself knows the container.
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

/// The process in the JSON of ContainerStatus(verbose).info["info"]; 0 if there is none.
pid_t containerPidOf(std::string_view text);

}  // namespace fallbackd::cri
