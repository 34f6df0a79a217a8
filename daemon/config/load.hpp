// SPDX-License-Identifier: Apache-2.0
// Loads the configuration: YAML -> raw -> validated. Blocks.
#pragma once

#include "config/model.hpp"

#include <optional>
#include <string>
#include <vector>

namespace fallbackd::config {

/// One problem and its position. Lines and columns count from 1; 0 if unknown.
struct Diagnostic {
  std::string file;
  int line = 0;
  int column = 0;
  std::string message;     // what is wrong
  std::string suggestion;  // how to fix it; may be empty

  /// "FILE:LINE:COLUMN: message (suggestion)"
  [[nodiscard]] std::string toString() const;
};

struct Loaded {
  ConfigPtr config;                     // null if there are diagnostics
  std::vector<Diagnostic> diagnostics;  // all of them, in the order of files and lines
  std::vector<std::string> files;       // the files that were read, the main file first
  std::string metadata;                 // of the files, from before they were read: see metadataOf()
};

/// The default drop-in folder: "conf.d" beside the main file.
std::string defaultDropInDir(const std::string& mainFile);

/// Reads the main file and every *.yaml / *.yml of the drop-in folder, sorted by name. Drop-ins may only add
/// workloads. The drop-in folder may be missing, the main file may not. `listen` replaces the default of
/// telemetry.listen, so that a file without it works where probes come from outside; `sources`, separated by
/// commas, apply to a file that names none. They do not make workloads inherit.
Loaded load(const std::string& mainFile, const std::optional<std::string>& dropInDir = std::nullopt,
            const std::optional<std::string>& listen = std::nullopt,
            const std::optional<std::string>& sources = std::nullopt);

}  // namespace fallbackd::config
