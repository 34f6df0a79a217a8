// SPDX-License-Identifier: Apache-2.0
#include "app/coverage_view.hpp"

#include "base/strings.hpp"
#include "coverage/report.hpp"
#include "watcher/match.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::app {

namespace {

coverage::Binary binaryOf(const recovery::BinaryState& state) {
  return {state.serves, state.inGrace, state.refused, state.image, state.namespaces};
}

coverage::Node nodeOf(const Snapshot& snapshot) {
  coverage::Node node;
  node.config = snapshot.config;
  node.unlisted = coverage::Node::Unlisted::not_checked;
  node.pause = snapshot.pause;
  if (snapshot.binaries) {
    for (const auto& one : *snapshot.binaries) node.binaries[one.ref] = binaryOf(one);
  }
  return node;
}

coverage::PodCoverage coverageOf(const coverage::Node& node, const watcher::PodSummary& pod,
                                 const Snapshot& snapshot) {
  const auto& uid = pod.sandbox.podUid;
  const auto* const spec = specOf(snapshot, uid);
  const auto& space = pod.sandbox.podNamespace;
  // The sandbox has the annotations from when it was made, and those count. Where no annotations count, the
  // current ones show what their author wants.
  const bool count = watcher::annotationsCount(*node.config, space);
  const auto choices = count || spec == nullptr ? pod.choices : watcher::readChoices(spec->annotations);
  std::vector<std::string> names;
  for (const auto& one : pod.containers) names.push_back(one.name);
  const auto facts = snapshot.facts.find(uid);
  return coverage::judge(node, {pod.sandbox, choices, spec, std::move(names),
                                facts == snapshot.facts.end() ? kube::Facts() : facts->second});
}

}  // namespace

std::vector<coverage::PodCoverage> coverageOf(const Snapshot& snapshot) {
  const auto node = nodeOf(snapshot);
  std::vector<coverage::PodCoverage> all;
  for (const auto& pod : snapshot.pods) all.push_back(coverageOf(node, pod, snapshot));
  std::sort(all.begin(), all.end(), [](const auto& left, const auto& right) {
    return std::tie(left.podNamespace, left.pod) < std::tie(right.podNamespace, right.pod);
  });
  return all;
}

std::string coverageJson(const Snapshot& snapshot) {
  auto report = coverage::reportOf(coverageOf(snapshot));
  report["node"] = snapshot.nodeName;
  return asUtf8(boost::json::serialize(report));
}

const coverage::Counts& CoverageCounts::of(const Snapshot& snapshot) {
  if (config_ != snapshot.config || snapshot.takenAt - judged_ > kMaxAge) {
    counts_ = coverage::count(coverageOf(snapshot));
    config_ = snapshot.config;
    judged_ = snapshot.takenAt;
  }
  return counts_;
}

std::map<std::string, std::size_t> byVerdict(const coverage::Counts& counts) {
  std::map<std::string, std::size_t> all;
  for (std::size_t i = 0; i < counts.size(); ++i)
    all[std::string(toString(static_cast<coverage::Verdict>(i)))] = counts.at(i);
  return all;
}

}  // namespace fallbackd::app
