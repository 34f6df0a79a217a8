// SPDX-License-Identifier: Apache-2.0
// A kubeconfig file, as kubectl reads it: the current context's cluster and user. What would run programs or
// weaken TLS is refused.
#pragma once

#include "kube/access.hpp"

#include <string>

namespace fallbackd::kube {

/// `file` is where the text is from: relative paths in it count from that file's folder. Stage kube, reason
/// invalid with what is wrong and what to do.
Result<Access> parseKubeconfig(const std::string& text, const std::string& file);

/// Reads and parses the file. Blocks.
Result<Access> readKubeconfig(const std::string& file);

}  // namespace fallbackd::kube
