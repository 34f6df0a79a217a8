// SPDX-License-Identifier: Apache-2.0
#include "config/drill.hpp"

#include "temp_folder.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

using namespace std::chrono_literals;
using test::TempFolder;

Wall::time_point at(std::chrono::seconds later) {
  return *parseRfc3339("2027-01-31T08:30:00Z") + later;
}

Drill rehearsal(const std::string& reason = "") {
  return {"checkout", "shop", "checkout-drill", at(0s), at(600s), reason};
}

TEST(Drill, WhatIsWrittenIsReadUntilItIsRemoved) {
  const TempFolder folder;
  const auto state = folder.path() + "/new";
  EXPECT_FALSE(readDrill(folder.path()).value()) << "no file exists";
  const auto drill = rehearsal("it's \"quarterly\": #1 {x}");
  ASSERT_TRUE(writeDrill(state, drill));
  EXPECT_EQ(readDrill(state).value(), drill);
  ASSERT_TRUE(writeDrill(state, std::nullopt));
  EXPECT_FALSE(readDrill(state).value());
  EXPECT_TRUE(writeDrill(state, std::nullopt)) << "nothing to remove";
}

TEST(Drill, EndsByItselfAndIsNeverLongerThanAnHour) {
  const auto drill = rehearsal();
  EXPECT_TRUE(drill.holdsAt(at(0s)));
  EXPECT_TRUE(drill.holdsAt(at(599s)));
  EXPECT_FALSE(drill.holdsAt(at(600s)));
  EXPECT_FALSE(drill.holdsAt(at(600s - kMaxDrill - 1s))) << "setting back the clock must not prolong it";
}

TEST(Drill, AFileWithOtherContentIsNotADrill) {
  const TempFolder folder;
  const std::string head = "apiVersion: fallbackd.io/v1\n";
  const std::string times = "since: 2027-01-31T08:30:00Z\nuntil: 2027-01-31T08:40:00Z\n";
  const std::string all = head + "workload: checkout\nnamespace: shop\npod: checkout-drill\n" + times;
  folder.write(std::string(kDrillFile), all);
  ASSERT_TRUE(readDrill(folder.path()));
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"", "is empty"},
           {"apiVersion: v9\n" + all.substr(head.size()), "1:13"},
           {all + "everything: true\n", "everything"},
           {head + "workload: checkout\nnamespace: shop\n" + times, "pod"},
           {head + "workload: checkout\nnamespace: SHOP\npod: a\n" + times, "SHOP"},
           {head + "workload: checkout\nnamespace: shop\npod: a\nsince: 2027-01-31\nuntil: soon\n", "soon"},
           {all + "reason: " + std::string(500, 'x') + "\n", "400 bytes"}}) {
    folder.write(std::string(kDrillFile), text);
    const auto drill = readDrill(folder.path());
    ASSERT_FALSE(drill) << text;
    EXPECT_EQ(drill.error().reason, Reason::invalid);
    EXPECT_NE(drill.error().message().find(words), std::string::npos) << drill.error().message();
  }
}

TEST(Drill, IsACopyOfItsWorkloadForOnePodAlone) {
  auto config = std::make_shared<Config>();
  Workload workload;
  workload.name = "checkout";
  workload.match = {"shop", {{"app", "checkout"}}, "main"};
  workload.image = "r.x/checkout:1";
  workload.binary = {"checkout", "1.8.3"};
  workload.startAfter = {"migrate"};
  config->workloads = {workload};
  const auto drilled = withDrill(config, rehearsal());
  ASSERT_TRUE(drilled);
  ASSERT_EQ((*drilled)->workloads.size(), 2U);
  const auto& drill = (*drilled)->workloads[1];
  EXPECT_TRUE(isDrill(drill));
  EXPECT_EQ(drill.match.namespaceName, "shop");
  EXPECT_EQ(drill.match.labels,
            (std::map<std::string, std::string>{{"fallbackd.io/drill", "checkout-drill"}}));
  EXPECT_EQ(drill.match.container, "main");
  EXPECT_EQ(drill.image, "fallbackd-drill.invalid/checkout:1");
  EXPECT_EQ(drill.imageFrom, Provenance::pod_specification)
      << "any container that kubelet creates is the real one";
  EXPECT_EQ(drill.binary, workload.binary);
  EXPECT_TRUE(drill.startAfter.empty()) << "its pod has no init containers";
  EXPECT_FALSE(isDrill((*drilled)->workloads[0]));
  EXPECT_EQ(config->workloads.size(), 1U);

  auto other = rehearsal();
  other.workload = "cart";
  const auto unknown = withDrill(config, other);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().reason, Reason::not_found);
}

}  // namespace
}  // namespace fallbackd::config
