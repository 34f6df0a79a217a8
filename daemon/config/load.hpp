// SPDX-License-Identifier: Apache-2.0
// Reading the configuration: YAML -> raw -> validated. Blocks; owns nothing.
#pragma once

#include "config/model.hpp"

#include <optional>
#include <string>
#include <vector>

namespace fallbackd::config {

/// One thing that is wrong, and where. Lines and columns count from 1; 0 where none can be given.
struct Diagnostic {
  std::string file;
  int line = 0;
  int column = 0;
  std::string message;     // what is wrong
  std::string suggestion;  // the way out; may be empty

  /// "FILE:LINE:COLUMN: message (suggestion)"
  [[nodiscard]] std::string toString() const;
};

struct Loaded {
  ConfigPtr config;                     // null where there are diagnostics
  std::vector<Diagnostic> diagnostics;  // all of them, in the order of files and lines
  std::vector<std::string> files;       // what was read, the main file first
};

/// Where drop-ins are when nothing is said: the folder "conf.d" beside the main file.
std::string defaultDropInDir(const std::string& mainFile);

/// Reads the main file and every *.yaml / *.yml of the drop-in folder, by name. Drop-ins may only add
/// workloads. A missing drop-in folder is fine, a missing main file is not.
Loaded load(const std::string& mainFile, const std::optional<std::string>& dropInDir = std::nullopt);

}  // namespace fallbackd::config
