// SPDX-License-Identifier: Apache-2.0
// Annotations of hostile and of honest pods.
#include "watcher/match.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kBinaryKey(kBinaryAnnotation);
const std::string kImageKey(kImageAnnotation);

TEST(PodChoices, AreReadInTheOrderOfTheirContainers) {
  const auto read = readChoices({{kBinaryKey + "web", "web@2.0.0"},
                                 {kImageKey + "web", "r.x/web:2"},
                                 {kBinaryKey + "app", "app@1.0.0"},
                                 {"other.io/binary.x", "anything"}});
  ASSERT_EQ(read.choices.size(), 2U);
  EXPECT_EQ(read.choices[0].container, "app");
  EXPECT_EQ(read.choices[0].image, "");
  EXPECT_EQ(read.choices[1].binary.toString(), "web@2.0.0");
  EXPECT_EQ(read.choices[1].image, "r.x/web:2");
  EXPECT_EQ(read.refused + read.cutOff, 0U);
}

TEST(PodChoices, AMalformedChoiceIsRefusedAsAWhole) {
  const std::vector<std::pair<cri::Labels, std::string>> refused{
      {{{kBinaryKey + "web", "web"}}, "names no version"},
      {{{kBinaryKey + "web", ""}}, "names no version"},
      {{{kBinaryKey + "Web!", "web@1"}}, "not a name that Kubernetes accepts"},
      {{{kBinaryKey, "web@1"}}, "not a name that Kubernetes accepts"},
      {{{kBinaryKey + "web", "web@1"}, {kImageKey + "web", "r.x/a:1: connect: connection refused"}},
       "its tag"},
      {{{kBinaryKey + "web", "web@1"}, {kImageKey + "web", "r.x/dial tcp: lookup x: no such host"}},
       "the repository"},
      {{{kBinaryKey + "web", "web@1"}, {kImageKey + "web", ""}}, "it is empty"},
      {{{kBinaryKey + "web", "web@1"}, {kImageKey + "web", "R.X/A"}}, "must be lower case"},
      {{{kBinaryKey + "web", std::string(100'000, 'a')}}, "100000 bytes are more than 1024"},
      {{{kBinaryKey + "web", "web@1"}, {kImageKey + "web", std::string(100'000, 'a')}}, "100000 bytes"},
      {{{kImageKey + "web", "r.x/a:1"}}, "there is no \"fallbackd.io/binary.web\" beside it"},
  };
  for (const auto& [annotations, words] : refused) {
    const auto read = readChoices(annotations);
    EXPECT_TRUE(read.choices.empty()) << words;
    EXPECT_EQ(read.refused, 1U) << words;
    ASSERT_EQ(read.refusals.size(), 1U) << words;
    EXPECT_THAT(read.refusals[0], HasSubstr("annotation \"fallbackd.io/"));
    EXPECT_THAT(read.refusals[0], HasSubstr(words));
    EXPECT_LT(read.refusals[0].size(), 700U);
  }
}

TEST(PodChoices, AreBoundedAndCounted) {
  cri::Labels annotations;
  for (int i = 0; i < 1500; ++i) {
    annotations[kBinaryKey + "c" + std::to_string(i)] = "web@1";
    annotations[kBinaryKey + "bad" + std::to_string(i)] = "web";
  }
  const auto read = readChoices(annotations);
  EXPECT_EQ(read.choices.size(), 64U);
  EXPECT_EQ(read.cutOff, 1500U - 64U);
  EXPECT_EQ(read.refused, 1500U);
  EXPECT_EQ(read.refusals.size(), 3U);
}

struct CoveringTest : testing::Test {
  CoveringTest() {
    config->podAnnotations.namespaces = {"shop"};
    config::Workload workload;
    workload.name = "checkout";
    workload.match = {"shop", {}, "main"};
    workload.image = "r.x/checkout:1";
    workload.binary = {"checkout", "1"};
    workload.dockerConfig = "/its/own";
    config->workloads.push_back(workload);
    sandbox.podNamespace = "shop";
    sandbox.podName = "web-0";
  }
  Covering cover(const cri::Labels& annotations, const std::set<std::string>& made = {}) {
    return workloadsFor(config, sandbox, readChoices(annotations), made, nullptr);
  }
  std::shared_ptr<config::Config> config = std::make_shared<config::Config>();
  cri::Sandbox sandbox;
};

TEST_F(CoveringTest, AnImageOfThePodsOwnChoiceTakesNoCredentialsAlong) {
  const auto covering = cover({{kBinaryKey + "main", "evil@1"}, {kImageKey + "main", "r.x/secret:1"}});
  ASSERT_EQ(covering.workloads.size(), 1U);
  EXPECT_EQ(covering.workloads[0]->imageFrom, Provenance::annotation);
  EXPECT_EQ(covering.workloads[0]->dockerConfig, "");
}

TEST_F(CoveringTest, TheWorkloadsOwnImageStaysTheConfigurations) {
  for (const auto& image : {"r.x/checkout:1", ""}) {
    cri::Labels annotations{{kBinaryKey + "main", "checkout@2"}};
    if (*image != 0) annotations[kImageKey + "main"] = image;
    const auto covering = cover(annotations);
    ASSERT_EQ(covering.workloads.size(), 1U);
    EXPECT_EQ(covering.workloads[0]->binary.version, "2");
    EXPECT_EQ(covering.workloads[0]->imageFrom, Provenance::configuration);
    EXPECT_EQ(covering.workloads[0]->dockerConfig, "/its/own");
  }
}

TEST_F(CoveringTest, ABinaryThatIsListedByNameIsForItsNamespacesAlone) {
  config->podAnnotations = {{"shop", "cart"}, {{"checkout", {"cart", "bank"}}}};
  const auto refused = cover({{kBinaryKey + "main", "checkout@2"}});
  EXPECT_EQ(refused.refused, 1U);
  EXPECT_EQ(refused.workloads.at(0)->binary.version, "1") << "the configuration's own workload stays";
  ASSERT_EQ(refused.troubles.size(), 1U);
  EXPECT_NE(refused.troubles[0].find("may not be chosen in namespace shop"), std::string::npos);
  EXPECT_EQ(cover({{kBinaryKey + "other", "web@2"}, {kImageKey + "other", "r.x/web:2"}}).refused, 0U);
  sandbox.podNamespace = "bank";
  EXPECT_EQ(cover({{kBinaryKey + "other", "checkout@2"}, {kImageKey + "other", "r.x/a:2"}}).refused, 0U);
  EXPECT_EQ(cover({{kBinaryKey + "other", "web@2"}, {kImageKey + "other", "r.x/a:2"}}).refused, 1U);
  sandbox.podNamespace = "elsewhere";
  EXPECT_TRUE(cover({{kBinaryKey + "other", "checkout@2"}}).troubles.empty()) << "annotations do not count";
}

TEST_F(CoveringTest, SixteenContainersMayWaitAndTheRestIsReported) {
  cri::Labels annotations;
  for (int i = 0; i < 600; ++i) {
    const auto name = "c" + std::to_string(1000 + i);
    annotations[kBinaryKey + name] = "web@1";
    annotations[kImageKey + name] = "r.x/" + name;
  }
  auto covering = cover(annotations);
  EXPECT_EQ(covering.workloads.size(), 1U + kMaxChosenContainers);
  EXPECT_EQ(covering.cutOff, 600U - kMaxChosenContainers);
  EXPECT_THAT(
      covering.troubles,
      ElementsAre("pod shop/web-0: 584 annotations are not followed: they may name 16 containers that "
                  "were not made yet"));
  std::set<std::string> made;
  for (int i = 0; i < 10; ++i) made.insert("c" + std::to_string(1000 + i));
  covering = cover(annotations, made);
  EXPECT_EQ(covering.workloads.size(), 1U + 10U + kMaxChosenContainers);
}

TEST_F(CoveringTest, EachTroubleNamesThePodAndFewAreReported) {
  cri::Labels annotations;
  for (int i = 0; i < 20; ++i) annotations[kBinaryKey + "c" + std::to_string(100 + i)] = "web@1";
  const auto covering = cover(annotations);
  EXPECT_EQ(covering.refused, 20U);
  ASSERT_EQ(covering.troubles.size(), 7U);
  EXPECT_THAT(covering.troubles.front(),
              HasSubstr("pod shop/web-0: annotation \"fallbackd.io/binary.c100\": no "
                        "workload of this binary covers the container"));
  EXPECT_EQ(covering.troubles.back(), "pod shop/web-0: 14 more annotations are refused");
}

TEST_F(CoveringTest, InOtherNamespacesAnnotationsAreIgnored) {
  sandbox.podNamespace = "elsewhere";
  const auto covering = cover({{kBinaryKey + "main", "evil"}});
  EXPECT_TRUE(covering.workloads.empty());
  EXPECT_TRUE(covering.troubles.empty());
}

}  // namespace
}  // namespace fallbackd::watcher
