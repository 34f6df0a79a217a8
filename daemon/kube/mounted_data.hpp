// SPDX-License-Identifier: Apache-2.0
// Where the volumes of a container show the data of ConfigMaps and Secrets.
#pragma once

#include "kube/pod_spec.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::kube {

const PodVolume* volumeNamed(const Pod& pod, std::string_view name);

/// The file in the container that holds the key; empty if no mounted volume shows it.
std::optional<std::string> mountedFile(const Pod& pod, const Container& container, const KeyRef& ref);

/// The name of a volume of the pod that shows the object, mounted by the container or not; empty: none.
std::string volumeShowing(const Pod& pod, KeyRef::Kind kind, std::string_view name);

}  // namespace fallbackd::kube
