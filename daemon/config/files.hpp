// SPDX-License-Identifier: Apache-2.0
// The configuration's files on disk.
#pragma once

#include "config/problems.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

/// Whether a file of the drop-in folder is read: *.yaml and *.yml that are not hidden.
bool isDropInName(std::string_view name);

/// The drop-ins of a folder, sorted by name, with their paths. A missing folder has none; it is reported only
/// if it `mustExist`.
std::vector<std::string> listDropIns(const std::string& folder, bool mustExist, Problems& problems);

/// A text that changes when the files do: their paths, sizes, times and inodes, with symlinks followed.
std::string metadataOf(const std::string& mainFile, const std::string& dropInDir);

/// The text of a regular file of at most 1 MiB; reports anything else. Never blocks on a FIFO or a device.
std::optional<std::string> readText(const std::string& file, Problems& problems);

}  // namespace fallbackd::config
