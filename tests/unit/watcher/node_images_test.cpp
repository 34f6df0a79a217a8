// SPDX-License-Identifier: Apache-2.0
// Pods with images that containerd can get from the node although their registry is down.
#include "watcher_fixture.hpp"

#include <set>

namespace fallbackd::watcher {
namespace {

class FakeNodeImages final : public NodeImages {
 public:
  cri::Awaitable<bool> offers(ImageReference image) override { co_return offered.contains(image.toString()); }
  [[nodiscard]] bool servedSince(const std::string& name, Stamp) const override {
    return served.contains(name);
  }
  std::set<std::string> offered;
  std::set<std::string> served;
};

config::ConfigPtr alwaysPulled() {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->workloads[0].detection.pullPolicy = config::PullPolicy::always;
  return config;
}

struct NodeImagesTest : WatcherTest {
  NodeImagesTest() : WatcherTest(alwaysPulled()) {
    watcher.useNodeImages(node);
    runtime.addSandbox("s1", "shop", "checkout");
  }
  [[nodiscard]] Waiting::State state() const {
    const auto all = watcher.waitingContainers();
    return all.empty() ? Waiting::State::asking : all[0].state;
  }
  FakeNodeImages node;
};

TEST_F(NodeImagesTest, APodWhoseImageComesFromTheNodeGetsNoFallback) {
  node.offered = node.served = {"r.x/checkout:1"};
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return state() == Waiting::State::image_present; }));
  settle();
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(NodeImagesTest, WhatTheNodeAnsweredSaysNothingAboutTheRegistry) {
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  const auto openCircuits = [&] {
    const auto all = watcher.registries();
    return !all.empty() && all[0].state != Circuits::State::closed;
  };
  ASSERT_TRUE(openCircuits());
  const auto before = seen.detections.size();
  node.offered = node.served = {"r.x/checkout:1"};
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ASSERT_TRUE(runUntil(loop, [&] { return state() == Waiting::State::image_present; }));
  settle();
  EXPECT_TRUE(openCircuits());
  EXPECT_LE(seen.detections.size(), before + 1) << "at most one that was under way";
}

TEST_F(NodeImagesTest, ThoughTheRegistryIsKnownToFailThePullIsTried) {
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  node.offered = {"r.x/checkout:1"};
  const int before = runtime.pulls["r.x/checkout:1"];
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.pulls["r.x/checkout:1"] >= before + 2; }));
}

TEST_F(NodeImagesTest, AContainerdThatDoesNotAskTheMirrorLeavesThePodToItsFallback) {
  node.offered = {"r.x/checkout:1"};
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_EQ(seen.detections[0].cause, Cause::unreachable);
}

}  // namespace
}  // namespace fallbackd::watcher
