// SPDX-License-Identifier: Apache-2.0
// One configuration file as it was written: every value has its type, but workloads were not yet compared.
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
  bool named = false;      // has a usable name: may be compared by it
  bool matchable = false;  // has a usable match: may be compared by it
};

/// Fills the sections of `config` that the file has, and appends its workloads. `dropIn`: only workloads.
/// A file that is no YAML at all adds one problem and nothing else. Any bytes may be given.
void readDocument(const std::string& file, std::string_view text, bool dropIn, Config& config,
                  std::vector<RawWorkload>& workloads, Problems& problems);

/// workloads[i] of a file. `config`: the main file's sections, which give defaults and say what is allowed.
RawWorkload readWorkload(const Place& place, const Config& config);

/// `triggers` and the time-outs, which stand at the top and in each workload.
void readDetection(const MapReader& map, DetectionSettings& out);

}  // namespace fallbackd::config
