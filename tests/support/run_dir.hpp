// SPDX-License-Identifier: Apache-2.0
// The folder of a run, and the location of the built programs.
#pragma once

#include <filesystem>
#include <string>

namespace fallbackd::e2e {

/// The run's own folder, removed with everything below it when the run ends. Its path is short, so that
/// sockets below it fit in sun_path. Only inside runIsolated().
const std::filesystem::path& runDir();

/// A new folder in it: NAME, or NAME-2, NAME-3 ... if NAME exists.
std::filesystem::path makeRunDir(const std::string& name);

/// A log file in the run's folder. The e2e main shows the end of each log when a test fails.
std::filesystem::path logFile(const std::string& name);
std::filesystem::path logsDir();

/// A binary of the build (fallbackd, fallbackctl): FALLBACKD_BIN_DIR, or the build's bin folder.
std::filesystem::path binary(const std::string& name);

/// A test program (pause, shop-httpd-1.8.3): FALLBACKD_PROGRAMS_DIR, or the build's programs folder.
std::filesystem::path testProgram(const std::string& name);

/// The first match in a colon-separated list of folders; `name` itself if there is none.
std::string findProgram(const std::string& name, const std::string& path);

/// Set once by runIsolated().
void setRunDir(std::filesystem::path path);

}  // namespace fallbackd::e2e
