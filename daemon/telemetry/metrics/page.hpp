// SPDX-License-Identifier: Apache-2.0
// The metrics as documentation: deploy/METRICS.md.
#pragma once

#include <string>
#include <vector>

namespace fallbackd::telemetry {

struct MetricDescription {
  struct Label {
    std::string name;
    std::string values;
  };
  std::string name;
  std::string type;
  std::string help;
  std::vector<Label> labels;
};

/// deploy/METRICS.md
std::string metricsPage(const std::vector<MetricDescription>& metrics);

}  // namespace fallbackd::telemetry
