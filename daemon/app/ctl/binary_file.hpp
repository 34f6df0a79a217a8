// SPDX-License-Identifier: Apache-2.0
// A binary that is not in the cache: a file, and the attestations that are given for it.
#pragma once

#include "cache/install.hpp"

#include <string>
#include <vector>

namespace fallbackd::ctl {

/// Name and version come from the first attestation; admission decides whether to believe it. Stage cli or
/// admission.
Result<cache::PackItem> binaryFile(const std::string& file, const std::vector<std::string>& attestations);

}  // namespace fallbackd::ctl
