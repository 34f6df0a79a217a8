// SPDX-License-Identifier: Apache-2.0
// What a stand-in's container looks like to kubelet.
#include "standin/order.hpp"

#include "domain/stand_in.hpp"

#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

Request requestOf() {
  Request request;
  request.recoveryId = "0123456789ab";
  request.sandbox.sandbox = {"s1", "web-0", "shop", "uid-1", 0, true, {}, {}};
  request.container = "app";
  request.image = "127.0.0.1:5999/shop/checkout:1.8.3";
  request.binary = {"checkout", "1.8.3"};
  request.restarts = 2;
  request.logPath = "app-fallback/2.log";
  request.grace = std::chrono::seconds(45);
  return request;
}

cri::Container containerOf(const std::string& name, cri::Container::State state,
                           const std::string& restarts = "") {
  cri::Container one{"c-" + name, "s1", name, 0, state};
  if (!restarts.empty()) one.annotations["io.kubernetes.container.restartCount"] = restarts;
  return one;
}

TEST(StandInOrder, BearsKubeletsMarks) {
  const auto order = orderOf(requestOf(), "/run/fallbackd", {});
  EXPECT_EQ(order.name, "app");
  EXPECT_EQ(order.image, "fallbackd.io/checkout:1.8.3");
  EXPECT_EQ(order.logPath, "app-fallback/2.log");
  EXPECT_EQ(order.labels.at("io.kubernetes.container.name"), "app");
  EXPECT_EQ(order.labels.at("io.kubernetes.pod.name"), "web-0");
  EXPECT_EQ(order.labels.at("io.kubernetes.pod.namespace"), "shop");
  EXPECT_EQ(order.labels.at("io.kubernetes.pod.uid"), "uid-1");
  EXPECT_EQ(order.annotations.at("io.kubernetes.container.hash"), "774ada0b");
  EXPECT_EQ(order.annotations.at("io.kubernetes.container.restartCount"), "2");
  EXPECT_EQ(order.annotations.at("io.kubernetes.container.terminationMessagePath"), "/dev/termination-log");
  EXPECT_EQ(order.annotations.at("io.kubernetes.container.terminationMessagePolicy"), "File");
  EXPECT_EQ(order.annotations.at("io.kubernetes.pod.terminationGracePeriod"), "45");
  EXPECT_EQ(order.labels.at(kStandInLabel), "0123456789ab");
  EXPECT_EQ(order.annotations.at(kStandInOwner), "/run/fallbackd");
  EXPECT_NE(order.user, 0U);
}

TEST(StandInOrder, ItsAttemptIsNoneThatKubeletReaches) {
  // With an attempt number of kubelet's, the real container could not be created: its name would be taken.
  EXPECT_EQ(orderOf(requestOf(), "/run/fallbackd", {}).attempt, kFirstAttempt + 2);
}

TEST(StandInOrder, ContinuesKubeletsCountOfRestarts) {
  std::vector<cri::Container> others{containerOf("app", cri::Container::State::exited, "3"),
                                     containerOf("other", cri::Container::State::exited, "9"),
                                     containerOf("app", cri::Container::State::exited, "x")};
  others.push_back(containerOf("app", cri::Container::State::exited, "40"));
  others.back().labels[kStandInLabel] = "earlier";
  const auto order = orderOf(requestOf(), "/run/fallbackd", others);
  EXPECT_EQ(order.annotations.at("io.kubernetes.container.restartCount"), "6")
      << "4 starts by kubelet, 2 by us";
}

TEST(StandInOrder, WaitsForInitContainersAndSidecars) {
  using State = cri::Container::State;
  auto request = requestOf();
  EXPECT_EQ(missingBefore(request, {}), "");
  request.initContainers = {"migrate"};
  request.sidecars = {"proxy"};
  EXPECT_EQ(missingBefore(request, {}), "init container migrate has not ended");
  EXPECT_EQ(missingBefore(request, {containerOf("migrate", State::running)}),
            "init container migrate has not ended");
  EXPECT_EQ(missingBefore(request, {containerOf("migrate", State::exited)}), "sidecar proxy does not run");
  EXPECT_EQ(
      missingBefore(request, {containerOf("migrate", State::exited), containerOf("proxy", State::running)}),
      "");
  // The sidecar's latest attempt runs.
  EXPECT_EQ(
      missingBefore(request, {containerOf("migrate", State::exited), containerOf("migrate", State::running),
                              containerOf("proxy", State::running)}),
      "init container migrate has not ended");
}

}  // namespace
}  // namespace fallbackd::standin
