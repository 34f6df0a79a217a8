// SPDX-License-Identifier: Apache-2.0
// What the daemon knows and reports about its pods, for the status and the metrics.
#pragma once

#include "base/clock.hpp"
#include "kube/event_recorder.hpp"
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
  std::optional<Wall::time_point> remembered;   // when what is known was saved, if no source has answered yet
  std::optional<kube::SourceState> namespaces;  // absent: their annotations do not count
  std::optional<kube::EventState> events;       // absent: none are written
};

PodsView viewOf(const kube::Pods& pods, const std::optional<kube::SourceState>& namespaces,
                const std::optional<kube::EventState>& events);

/// {"sources": [{"name", "state", "since", "lastSuccess"?, "error"?}], "pods", "leftOut", "rememberedSince"?,
/// "namespaces"?: as one of "sources", "events"?: {"state", "since", "waiting", "error"?, "forbiddenIn"?:
/// [NAMESPACE], RESULT: COUNT}}
boost::json::object podsJson(const PodsView& view);

telemetry::PodSourceUsage usageOf(const PodsView& view);
telemetry::EventUsage usageOf(const kube::EventState& state);

}  // namespace fallbackd::app
