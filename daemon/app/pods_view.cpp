// SPDX-License-Identifier: Apache-2.0
#include "app/pods_view.hpp"

#include <utility>

#include <boost/json.hpp>

namespace fallbackd::app {

namespace {

namespace json = boost::json;

std::string inSeconds(Wall::time_point when) {
  auto text = rfc3339(when);
  // 2026-01-31T23:59:59.123456789Z: nobody needs the fraction.
  const auto point = text.find('.');
  return point == std::string::npos ? text : text.substr(0, point) + "Z";
}

/// Shows the last success only while the source fails: a status differs when something happened, not at each
/// request.
json::object sourceJson(const kube::SourceState& state) {
  json::object object{
      {"name", toString(state.kind)}, {"state", toString(state.health)}, {"since", inSeconds(state.since)}};
  if (state.health == kube::Health::failing && state.lastSuccess) {
    object["lastSuccess"] = inSeconds(*state.lastSuccess);
  }
  if (!state.error.empty()) object["error"] = state.error;
  return object;
}

json::object eventsJson(const kube::EventState& state) {
  json::object object{
      {"state", toString(state.health)}, {"since", inSeconds(state.since)}, {"waiting", state.waiting}};
  if (!state.error.empty()) object["error"] = state.error;
  if (!state.forbiddenIn.empty()) {
    json::array names;
    for (const auto& name : state.forbiddenIn) names.emplace_back(name);
    object["forbiddenIn"] = std::move(names);
  }
  for (std::size_t i = 0; i < kube::kEventResults; ++i) {
    if (state.results.at(i) > 0) object[toString(static_cast<kube::EventResult>(i))] = state.results.at(i);
  }
  return object;
}

}  // namespace

PodsView viewOf(const kube::Pods& pods, const std::optional<kube::SourceState>& namespaces,
                const std::optional<kube::EventState>& events) {
  return {pods.sources(), pods.size(), pods.leftOut(), pods.rememberedSince(), namespaces, events};
}

json::object podsJson(const PodsView& view) {
  json::array sources;
  for (const auto& state : view.sources) sources.push_back(sourceJson(state));
  json::object object{{"sources", std::move(sources)}, {"pods", view.pods}, {"leftOut", view.leftOut}};
  if (view.remembered) object["rememberedSince"] = inSeconds(*view.remembered);
  if (view.namespaces) object["namespaces"] = sourceJson(*view.namespaces);
  if (view.events) object["events"] = eventsJson(*view.events);
  return object;
}

telemetry::PodSourceUsage usageOf(const PodsView& view) {
  telemetry::PodSourceUsage usage;
  usage.pods = view.pods;
  auto all = view.sources;
  if (view.namespaces) all.push_back(*view.namespaces);
  for (const auto& state : all) {
    auto& source = usage.sources[std::string(toString(state.kind))];
    source.up = state.health == kube::Health::up;
    source.lastSuccess = state.lastSuccess;
    for (std::size_t i = 0; i < kube::kOutcomes; ++i) {
      source.requests[std::string(toString(static_cast<kube::Outcome>(i)))] = state.requests.at(i);
    }
  }
  return usage;
}

telemetry::EventUsage usageOf(const kube::EventState& state) {
  telemetry::EventUsage usage;
  usage.up = state.health == kube::Health::up;
  for (std::size_t i = 0; i < kube::kEventResults; ++i) {
    usage.results[std::string(toString(static_cast<kube::EventResult>(i)))] = state.results.at(i);
  }
  return usage;
}

}  // namespace fallbackd::app
