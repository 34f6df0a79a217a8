// SPDX-License-Identifier: Apache-2.0
// What a killed daemon may leave behind, as counts that can be compared between two moments.
#pragma once

#include "daemon.hpp"

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::e2e {

/// Counts of what may leak: "daemon fds: socket" and so on.
using Traces = std::map<std::string, std::size_t>;
Traces tracesOf(const Daemon& daemon);

/// Empty if there is no such process.
std::string procFile(pid_t pid, const std::string& name);
/// The daemon's spawner; 0 if it has none at the moment.
pid_t spawnerOf(pid_t daemon);
/// 0 if the folder does not exist.
std::size_t entriesOf(const std::filesystem::path& folder);

}  // namespace fallbackd::e2e
