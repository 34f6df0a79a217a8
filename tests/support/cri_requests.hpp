// SPDX-License-Identifier: Apache-2.0
// The CRI messages for a pod, filled in as kubelet does.
#pragma once

#include "cri_stubs.hpp"
#include "kubelet/kubelet.hpp"

namespace fallbackd::e2e {

runtime::v1::PodSandboxConfig sandboxConfig(const Pod& pod);

/// `imageId` is from ImageStatus; kubelet refers to present images by their id.
runtime::v1::ContainerConfig containerConfig(const Pod& pod, const ContainerSpec& spec,
                                             const std::string& imageId);

void fillResources(const ContainerSpec& spec, runtime::v1::LinuxContainerResources& resources);

}  // namespace fallbackd::e2e
