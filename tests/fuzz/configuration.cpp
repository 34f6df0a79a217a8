// SPDX-License-Identifier: Apache-2.0
// A configuration file, from its bytes to workloads or diagnostics.
#include "config/raw.hpp"
#include "config/validate.hpp"
#include "fuzz.hpp"

using namespace fallbackd;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const bool dropIn : {false, true}) {
    config::Problems problems;
    config::Config config;
    std::vector<config::RawWorkload> workloads;
    config::readDocument("it.yaml", fuzz::text(data, size), dropIn, config, workloads, problems);
    config::compareWorkloads(workloads, problems);
    const auto count = problems.count();
    const auto diagnostics = problems.take();
    fuzz::demand(diagnostics.empty() == (count == 0), "every problem is reported");
    for (const auto& one : diagnostics) fuzz::demand(!one.toString().empty(), "every problem has a text");
    if (count != 0) continue;
    for (const auto& raw : workloads) {
      const auto& workload = raw.workload;
      fuzz::demand(!workload.name.empty() && !workload.image.empty(), "a workload has a name and an image");
      fuzz::demand(workload.user.uid != 0 || workload.user.allowRoot, "root is requested twice");
      fuzz::demand(workload.workingDir.starts_with('/'), "paths are absolute");
    }
  }
  return 0;
}
