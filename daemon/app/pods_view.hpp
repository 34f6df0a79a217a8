// SPDX-License-Identifier: Apache-2.0
// What the daemon knows of its pods, for the status and the metrics.
#pragma once

#include "base/clock.hpp"
#include "kube/pods.hpp"
#include "telemetry/metrics.hpp"

#include <cstdint>
#include <optional>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::app {

struct PodsView {
  std::vector<kube::SourceState> sources;  // empty: none is configured
  std::size_t pods = 0;
  std::uint64_t leftOut = 0;
  std::optional<Wall::time_point> remembered;  // when what is known was saved, if no source has answered yet
};

PodsView viewOf(const kube::Pods& pods);

/// {"sources": [{"name", "state", "since", "lastSuccess"?, "error"?}], "pods", "leftOut", "rememberedSince"?}
boost::json::object podsJson(const PodsView& view);

telemetry::PodSourceUsage usageOf(const PodsView& view);

}  // namespace fallbackd::app
