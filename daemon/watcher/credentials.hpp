// SPDX-License-Identifier: Apache-2.0
// Registry credentials from a dockerconfigjson file (the content of a pull secret), as kubelet reads them.
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"
#include "domain/image_reference.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::watcher {

/// The entry of `auths` that fits the reference best (see ImagePattern); nothing if none fits or it is empty.
/// A password that a helper program of Docker would have to give (credsStore, credHelpers) is an error.
/// `file` names the text in errors; a secret never gets into one. Stage detection, reason invalid.
Result<std::optional<cri::Credentials>> parseCredentials(std::string_view text,
                                                         const ImageReference& reference,
                                                         const std::string& file);

/// Reads the file each time, so that a rotated secret takes effect at once.
Result<std::optional<cri::Credentials>> readCredentials(const std::string& file,
                                                        const ImageReference& reference);

}  // namespace fallbackd::watcher
