// SPDX-License-Identifier: Apache-2.0
// Workloads that take their image from the pod's specification.
#include "watcher/specified.hpp"

#include "fake_pod_specs.hpp"
#include "watcher_fixture.hpp"

#include <gmock/gmock.h>

namespace fallbackd::watcher {
namespace {

using test::podOf;
using test::specOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Match = config::VersionMatch;

constexpr const char* kImage = "r.x/shop/checkout:1.8.3";

config::Workload inheriting(const std::string& version) {
  config::Workload workload;
  workload.name = "checkout-" + version;
  workload.match = {"shop", {{"app", "checkout"}}, "main"};
  workload.binary = {"checkout", version};
  workload.inheritance.on = true;
  return workload;
}

struct Specified : testing::Test {
  Specified() {
    config->podAnnotations.namespaces = {"shop"};
    sandbox.podNamespace = "shop";
    sandbox.podName = "web-0";
    sandbox.labels = {{"app", "checkout"}};
  }
  void have(std::initializer_list<std::string> versions) {
    config->workloads.clear();
    for (const auto& version : versions) {
      auto workload = inheriting(version);
      workload.inheritance.version.match = rule;
      config->workloads.push_back(workload);
    }
  }
  /// The version of the workload that is chosen for a pod with this image, and whether the pod requests it.
  std::string chosen(const std::string& image) {
    const auto spec = podOf(image);
    covering = workloadsFor(config, sandbox, &spec);
    if (covering.workloads.size() != 1) return std::to_string(covering.workloads.size()) + " workloads";
    const auto& one = *covering.workloads[0];
    EXPECT_EQ(one.image, image);
    const auto verdict = versionVerdict(one, spec);
    return verdict.kind == kube::VersionVerdict::Kind::match ? one.binary.version : verdict.text;
  }

  std::shared_ptr<config::Config> config = std::make_shared<config::Config>();
  cri::Sandbox sandbox;
  Match rule = Match::exact;
  Covering covering;
};

TEST_F(Specified, WithoutASpecificationNothingIsKnownOfTheWorkloadsImage) {
  have({"1.8.3", "1.8.4"});
  const auto unknown = workloadsFor(config, sandbox, nullptr);
  EXPECT_THAT(unknown.workloads, IsEmpty());
  EXPECT_EQ(unknown.withoutSpec.size(), 2U);
  EXPECT_THAT(unknown.troubles, IsEmpty());
}

TEST_F(Specified, AWorkloadThatNamesItsImageNeedsNoSpecification) {
  have({"1.8.3"});
  config->workloads[0].inheritance.on = false;
  config->workloads[0].image = kImage;
  const auto known = workloadsFor(config, sandbox, nullptr);
  EXPECT_EQ(known.workloads.size(), 1U);
  EXPECT_THAT(known.withoutSpec, IsEmpty());
}

TEST_F(Specified, DetectionGetsWhatItNeedsAndTheRestStaysForTheLaunch) {
  have({"1.8.3"});
  auto spec = podOf(kImage);
  spec.containers[0].imagePullPolicy = "Never";
  spec.containers[0].args = {"--port=1"};
  spec.restartPolicy = "OnFailure";
  spec.initContainers.emplace_back().name = "migrate";
  const auto found = workloadsFor(config, sandbox, &spec).workloads.at(0);
  EXPECT_EQ(found->image, kImage);
  EXPECT_EQ(found->imageFrom, Provenance::pod_specification);
  EXPECT_EQ(found->detection.pullPolicy, config::PullPolicy::never);
  EXPECT_EQ(found->restart.policy, config::RestartPolicy::on_failure);
  EXPECT_THAT(found->startAfter, ElementsAre("migrate"));
  EXPECT_THAT(found->args, IsEmpty());
}

TEST_F(Specified, OfSeveralVersionsThePodGetsTheOneThatItAsksFor) {
  have({"1.8.3", "1.8.4", "1.9.0"});
  EXPECT_EQ(chosen("r.x/shop/checkout:1.8.4"), "1.8.4");
  EXPECT_EQ(chosen("r.x/shop/checkout:v1.9.0"), "1.9.0");
  EXPECT_EQ(chosen("r.x/shop/checkout:2.0.0"), "no binary for checkout 2.0.0; there is 1.8.3");
  EXPECT_THAT(chosen("r.x/shop/checkout:latest"), HasSubstr("cannot tell which version of checkout"));
  EXPECT_THAT(chosen("r.x/shop/checkout"), HasSubstr("cannot tell which version of checkout"));
  EXPECT_THAT(chosen("r.x/shop/checkout@sha256:" + std::string(64, 'a')), HasSubstr("by its digest alone"));
  EXPECT_EQ(chosen("r.x/shop/checkout:1.8.3@sha256:" + std::string(64, 'a')), "1.8.3");
}

TEST_F(Specified, OfPatchVersionsTheNearestLaterOneStandsIn) {
  rule = Match::semver_patch;
  have({"1.8.1", "1.8.5", "1.8.9"});
  EXPECT_EQ(chosen("r.x/shop/checkout:1.8.3"), "1.8.5");
  EXPECT_EQ(chosen("r.x/shop/checkout:1.8.9"), "1.8.9");
  EXPECT_EQ(chosen("r.x/shop/checkout:1.8.10"), "1.8.9");
  EXPECT_THAT(chosen("r.x/shop/checkout:1.7.3"), HasSubstr("no binary for checkout 1.7.3"));
}

TEST_F(Specified, AnAnnotationAloneTakesEverythingFromThePod) {
  config->inheritance.on = true;
  sandbox.annotations = {{"fallbackd.io/binary.main", "checkout@1.8.3"}};
  EXPECT_EQ(chosen(kImage), "1.8.3");
  EXPECT_EQ(covering.workloads.at(0)->binaryFrom, Provenance::annotation);
  EXPECT_EQ(workloadsFor(config, sandbox, nullptr).withoutSpec.size(), 1U);
}

TEST_F(Specified, AnAnnotationThatNamesTheImageTakesNothing) {
  config->inheritance.on = true;
  sandbox.annotations = {{"fallbackd.io/binary.main", "checkout@1.8.3"}, {"fallbackd.io/image.main", kImage}};
  const auto found = workloadsFor(config, sandbox, nullptr);
  ASSERT_EQ(found.workloads.size(), 1U);
  EXPECT_FALSE(found.workloads[0]->inheritance.on);
}

TEST_F(Specified, AContainerThatThePodDoesNotHaveIsTroubleOnlyIfThePodNamesIt) {
  have({"1.8.3"});
  auto spec = podOf(kImage);
  spec.containers[0].name = "other";
  const auto uncovered = workloadsFor(config, sandbox, &spec);
  EXPECT_THAT(uncovered.workloads, IsEmpty());
  EXPECT_THAT(uncovered.troubles, IsEmpty());
  config->inheritance.on = true;
  sandbox.annotations = {{"fallbackd.io/binary.main", "checkout@1.8.3"}};
  const auto named = workloadsFor(config, sandbox, &spec);
  EXPECT_THAT(named.workloads, IsEmpty());
  EXPECT_THAT(named.troubles, ElementsAre(HasSubstr("is not in its specification")));
}

TEST_F(Specified, AnImageThatIsNotAReferenceIsTrouble) {
  have({"1.8.3"});
  const auto spec = podOf("https://r.x/checkout");
  const auto found = workloadsFor(config, sandbox, &spec);
  EXPECT_THAT(found.workloads, IsEmpty());
  EXPECT_THAT(found.troubles, ElementsAre(HasSubstr("spec.containers[0].image")));
}

config::ConfigPtr configOfAnyVersion() {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->workloads = {inheriting("1.8.3")};
  config->workloads[0].inheritance.version.match = Match::none;
  return config;
}

/// A Watcher whose workload takes its image from pods.
struct SpecifiedWatcher : WatcherTest {
  SpecifiedWatcher() : WatcherTest(configOfAnyVersion()) { runtime.addSandbox("s1", "shop", "checkout"); }
  bool detects(const std::string& image) {
    return runUntil(
        loop, [&] { return !seen.detections.empty() && seen.detections.back().workload->image == image; });
  }
  void describe(const std::string& image) {
    specs.specs["uid-s1"] = specOf(image);
    watcher.specChanged("uid-s1");
  }
};

TEST_F(SpecifiedWatcher, APodIsLookedAtOnceItsSpecificationIsKnown) {
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !specs.asked.empty(); }));
  EXPECT_EQ(specs.asked[0], "uid-s1");
  EXPECT_EQ(seen.probes, 0);
  ASSERT_EQ(watcher.waitingContainers().size(), 1U);
  EXPECT_EQ(watcher.waitingContainers()[0].state, Waiting::State::not_specified);
  EXPECT_EQ(watcher.waiting(), 1U);
  describe(kImage);
  ASSERT_TRUE(detects(kImage));
  EXPECT_EQ(watcher.waitingContainers().size(), 1U);
}

TEST_F(SpecifiedWatcher, AnotherImageInTheSpecificationIsLookedAtInItsPlace) {
  specs.specs["uid-s1"] = specOf(kImage);
  start();
  ASSERT_TRUE(detects(kImage));
  describe("r.x/shop/checkout:1.8.4");
  EXPECT_TRUE(detects("r.x/shop/checkout:1.8.4"));
  EXPECT_EQ(watcher.waitingContainers().size(), 1U);
}

TEST_F(SpecifiedWatcher, TheSameSpecificationAgainDisturbsNothing) {
  specs.specs["uid-s1"] = specOf(kImage);
  start();
  ASSERT_TRUE(detects(kImage));
  const auto asked = specs.asked.size();
  const auto before = watcher.waitingContainers().at(0).state;
  watcher.specChanged("");
  EXPECT_EQ(watcher.waitingContainers().at(0).state, before);
  EXPECT_EQ(specs.asked.size(), asked) << "a specification that was just reported is not requested again";
}

TEST_F(SpecifiedWatcher, TheSpecificationOfAPodOfAnotherNameIsNotItsOwn) {
  auto other = podOf(kImage);
  other.namespaceName = "evil";
  specs.specs["uid-s1"] = std::make_shared<const kube::Pod>(other);
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !specs.asked.empty(); }));
  ASSERT_EQ(watcher.waitingContainers().size(), 1U);
  EXPECT_EQ(watcher.waitingContainers()[0].state, Waiting::State::not_specified);
}

TEST_F(SpecifiedWatcher, TheRealContainerEndsTheWaitForASpecification) {
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !specs.asked.empty(); }));
  runtime.addContainer("c1", "s1", "main");
  events.send(cri::Event::Kind::container_created, "c1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.created.empty(); }));
  EXPECT_EQ(watcher.waiting(), 0U);
  EXPECT_THAT(watcher.waitingContainers(), IsEmpty());
}

TEST(SpecifiedImage, SpeaksForItsOwnNamespace) {
  EXPECT_FALSE(speaksForTheNode(Provenance::pod_specification));
}

}  // namespace
}  // namespace fallbackd::watcher
