// SPDX-License-Identifier: Apache-2.0
// Finds what a reload cannot apply: a security setting that is read and silently not used would seem to be in
// effect.
#pragma once

#include "config/model.hpp"

#include <string>
#include <vector>

namespace fallbackd::app {

/// The sections and keys whose values differ from those of the daemon's start and take effect at the next
/// one. docs/configuration.md lists them.
std::vector<std::string> changesForNextStart(const config::Config& atStart, const config::Config& read);

}  // namespace fallbackd::app
