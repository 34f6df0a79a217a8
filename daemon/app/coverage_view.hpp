// SPDX-License-Identifier: Apache-2.0
// Whether the containers of this node would be rescued, as of a snapshot.
#pragma once

#include "app/snapshot.hpp"
#include "coverage/judge.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::app {

/// Each pod with a sandbox on this node, in the order of namespace and name.
std::vector<coverage::PodCoverage> coverageOf(const Snapshot& snapshot);
/// The same as JSON: coverage::reportOf().
std::string coverageJson(const Snapshot& snapshot);

/// Numbers of containers by verdict, for frequent requests: judged again if they are some seconds old or the
/// configuration has changed. One thread.
class CoverageCounts {
 public:
  const coverage::Counts& of(const Snapshot& snapshot);

 private:
  static constexpr std::chrono::seconds kMaxAge{5};
  config::ConfigPtr config_;
  Stamp judged_{};
  coverage::Counts counts_{};
};

/// With all verdicts, for the metric.
std::map<std::string, std::size_t> byVerdict(const coverage::Counts& counts);

}  // namespace fallbackd::app
