// SPDX-License-Identifier: Apache-2.0
// One configuration file as written: every value has its type, but workloads are not yet compared with each
// other.
#pragma once

#include "config/model.hpp"
#include "config/reader.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

struct RawWorkload {
  Workload workload;
  Position position;       // of the whole entry
  Position matchPosition;  // of its match
  bool named = false;      // has a usable name, so it can be compared by it
  bool matchable = false;  // has a usable match, so it can be compared by it
};

/// Fills the sections of `config` that the file has, and appends its workloads. `dropIn`: only workloads are
/// allowed. A file that is not YAML adds one problem and nothing else. Accepts any bytes.
void readDocument(const std::string& file, std::string_view text, bool dropIn, Config& config,
                  std::vector<RawWorkload>& workloads, Problems& problems);

/// Reads workloads[i] of a file. `config`: the main file's sections, which give defaults and say what is
/// allowed.
RawWorkload readWorkload(const Place& place, const Config& config);

/// `triggers` and the timeouts, at the top level and in each workload.
void readDetection(const MapReader& map, DetectionSettings& out);

}  // namespace fallbackd::config
