// SPDX-License-Identifier: Apache-2.0
// Coverage of a node, computed from its snapshot.
#include "app/coverage_view.hpp"

#include "app/status.hpp"
#include "snapshots.hpp"

#include <memory>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::app {
namespace {

using coverage::Verdict;

Snapshot withPods() {
  auto snapshot = quietNode();
  snapshot.pods.push_back({sandboxOf("web-1"), {{"checkout", {}}}});
  snapshot.pods.push_back({sandboxOf("web-0"), {{"other", {}}}});
  return snapshot;
}

TEST(CoverageView, PodsWithoutSpecificationsInTheOrderOfTheirNames) {
  const auto all = coverageOf(withPods());
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].pod, "web-0");
  EXPECT_FALSE(all[0].specified);
  ASSERT_EQ(all[0].containers.size(), 2U);
  EXPECT_EQ(all[0].containers[0].container, "checkout");
  EXPECT_EQ(all[0].containers[0].verdict, Verdict::rescued);
  EXPECT_EQ(all[0].containers[1].container, "other");
  EXPECT_EQ(all[0].containers[1].verdict, Verdict::not_covered);
  ASSERT_EQ(all[1].containers.size(), 1U);
}

TEST(CoverageView, ABinaryIsAsTheCacheHasIt) {
  auto snapshot = withPods();
  snapshot.binaries->front().serves = false;
  snapshot.binaries->front().refused = Error{Stage::admission, Reason::revoked, 0, "revoked"};
  EXPECT_EQ(coverageOf(snapshot)[0].containers[0].verdict, Verdict::not_admitted);
  snapshot.binaries.reset();
  EXPECT_EQ(coverageOf(snapshot)[0].containers[0].verdict, Verdict::not_known)
      << "the cache has not been read";
}

TEST(CoverageView, ABinaryThatAPodChoosesIsAsTheCacheHasIt) {
  auto snapshot = withPods();
  for (auto& pod : snapshot.pods)
    pod.choices = watcher::readChoices(
        {{"fallbackd.io/binary.other", "other@2"}, {"fallbackd.io/image.other", "r.example.com/other:2"}});
  EXPECT_EQ(coverageOf(snapshot)[0].containers[1].verdict, Verdict::not_allowed);
  auto config = std::make_shared<config::Config>(*snapshot.config);
  config->podAnnotations.namespaces = {"shop"};
  snapshot.config = config;
  EXPECT_EQ(coverageOf(snapshot)[0].containers[1].verdict, Verdict::not_known);
  recovery::BinaryState state;
  state.ref = {"other", "2"};
  state.serves = true;
  snapshot.binaries->push_back(state);
  EXPECT_EQ(coverageOf(snapshot)[0].containers[1].verdict, Verdict::rescued);
  snapshot.binaries->back().namespaces = {{"payments"}};
  EXPECT_EQ(coverageOf(snapshot)[0].containers[1].verdict, Verdict::not_allowed);
}

TEST(CoverageView, CountsAreKeptForSomeSeconds) {
  CoverageCounts counts;
  auto snapshot = withPods();
  EXPECT_EQ(byVerdict(counts.of(snapshot)).at("rescued"), 2U);
  EXPECT_EQ(byVerdict(counts.of(snapshot)).at("paused"), 0U) << "every verdict has its series";
  snapshot.pods.pop_back();
  EXPECT_EQ(byVerdict(counts.of(snapshot)).at("rescued"), 2U);
  snapshot.takenAt += std::chrono::seconds(6);
  EXPECT_EQ(byVerdict(counts.of(snapshot)).at("rescued"), 1U);
  snapshot.pods.pop_back();
  snapshot.config = std::make_shared<config::Config>(*snapshot.config);
  EXPECT_EQ(byVerdict(counts.of(snapshot)).at("rescued"), 0U) << "a different configuration";
}

TEST(CoverageView, TheStatusHasThem) {
  const auto snapshot = withPods();
  CoverageCounts counts;
  const auto root = boost::json::parse(statusJson(snapshot, counts.of(snapshot)));
  EXPECT_EQ(root.at("coverage").at("containers").at("rescued").to_number<int>(), 2);
  EXPECT_EQ(boost::json::parse(coverageJson(snapshot)).at("node").as_string(), "node-7");
}

/// One pod's author must not make the report of the node unreadable.
TEST(CoverageView, IsJsonForEveryAnnotation) {
  auto snapshot = withPods();
  auto config = std::make_shared<config::Config>(*snapshot.config);
  config->podAnnotations.namespaces = {"shop"};
  snapshot.config = config;
  std::string strange = "a";
  for (int i = 0; i < 100; ++i) strange += "\u00e9";  // the length limit cuts one of them
  snapshot.pods[1].choices = watcher::readChoices({{"fallbackd.io/binary.other", strange}});
  const auto root = boost::json::parse(coverageJson(snapshot));
  EXPECT_EQ(root.at("pods").at(0).at("containers").at(1).at("verdict").as_string(), "annotation_ignored");
}

}  // namespace
}  // namespace fallbackd::app
