// SPDX-License-Identifier: Apache-2.0
// Which container of a pod is the one that kubelet waits for, and not one that a person, a debugger or
// another tool created beside it under the same name.
#pragma once

#include "cri/runtime.hpp"

#include <string>

namespace fallbackd::watcher {

/// A stand-in of this fallbackd or of any other one: it bears kubelet's marks and is not the real container.
/// Only clients of the runtime set labels of containers; a pod's author cannot.
bool isStandIn(const cri::Container& container);

/// Kubelet's own labels (container name, pod UID) and its annotation with the hash of the specification.
/// Kubelet looks after what bears them: a pod that has such a container no longer waits, unless it is a
/// stand-in.
bool bearsKubeletsMark(const cri::Container& container, const std::string& podUid);

/// Two references of one repository, whatever their tags and digests: a rollout may have a different tag from
/// a configuration that is not rolled out yet.
bool ofOneRepository(const std::string& reference, const std::string& other);

/// Whether the container runs an image of the repository that `image` names: by its own reference, otherwise
/// by what its image is known as on this node (containerd before 2 reports only the id). An error if the
/// runtime could not be asked: that says nothing about the container.
cri::Awaitable<Result<bool>> runsImageOf(cri::Runtime& runtime, cri::Container container, std::string image);

}  // namespace fallbackd::watcher
