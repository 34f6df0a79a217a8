// SPDX-License-Identifier: Apache-2.0
// The marks of a stand-in: a container that fallbackd makes so that kubelet sees a running pod.
#pragma once

namespace fallbackd {

/// Label of the container. Its value is the id of the recovery that it belongs to.
inline constexpr const char* kStandInLabel = "fallbackd.io/stand-in";
/// Annotation of the container: the runDir of the fallbackd that made it.
inline constexpr const char* kStandInOwner = "fallbackd.io/run-dir";
/// Label of the image.
inline constexpr const char* kStandInImageLabel = "fallbackd.io/stand-in-image";
/// The only program in it.
inline constexpr const char* kStandInProgram = "/fallbackd-stand-in";

}  // namespace fallbackd
