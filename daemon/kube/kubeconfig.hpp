// SPDX-License-Identifier: Apache-2.0
// A kubeconfig file, as kubectl reads it: the current context's cluster and user. Entries that would run
// programs or weaken TLS are refused.
#pragma once

#include "kube/access.hpp"

#include <string>

namespace fallbackd::kube {

/// `file` is where the text is from: paths in it are relative to that file's folder. Stage kube, reason
/// invalid, with what is wrong and what to do.
Result<Access> parseKubeconfig(const std::string& text, const std::string& file);

/// Reads and parses the file. Blocks.
Result<Access> readKubeconfig(const std::string& file);

/// How to reach the API server: by that file, or by the service account of this pod if there is none. Blocks.
Result<Access> apiServerAccess(const std::string& kubeconfig);

}  // namespace fallbackd::kube
