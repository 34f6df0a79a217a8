// SPDX-License-Identifier: Apache-2.0
// Every verdict and its condition.
#include "coverage/judge.hpp"

#include "coverage/report.hpp"

#include <memory>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::coverage {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kPod = R"({
  "metadata": {"name": "web-0", "namespace": "shop", "labels": {"app": "web"},
    "annotations": {"fallbackd.io/binary.web": "web@1.8.3"}},
  "spec": {"enableServiceLinks": false, "containers": [{"name": "web", "image": "r.example.com/web:1.8.3",
    "command": ["/web"], "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "readOnlyRootFilesystem": true}}]}})";

boost::json::object parsed() {
  return boost::json::parse(kPod).as_object();
}
kube::Pod podOf(const boost::json::object& object) {
  auto pod = kube::readPod(object);
  EXPECT_TRUE(pod.has_value());
  return *pod;
}
boost::json::object& firstContainer(boost::json::object& pod) {
  return pod.at("spec").at("containers").as_array().at(0).as_object();
}

/// A node on which pods in shop may choose web@1.8.3, with the image's configuration recorded.
struct CoverageTest : testing::Test {
  CoverageTest() {
    config.kubernetes.sources = {config::PodSource::apiserver};
    config.inheritance.on = true;
    config.podAnnotations.namespaces = {"shop"};
    node.binaries[{"web", "1.8.3"}] = Binary{true, false, {}, ImageConfig{}, {}};
  }
  PodCoverage judged() {
    node.config = std::make_shared<const config::Config>(config);
    return judge(node, podOf(pod));
  }
  ContainerCoverage only() {
    const auto all = judged();
    EXPECT_EQ(all.containers.size(), 1U);
    return all.containers.empty() ? ContainerCoverage{} : all.containers.front();
  }
  config::Workload& addWorkload(const std::string& version = "1.8.3") {
    auto& workload = config.workloads.emplace_back();
    workload.name = "shop-web";
    workload.match = {"shop", {{"app", "web"}}, "web"};
    workload.binary = {"web", version};
    workload.inheritance = config.inheritance;
    return workload;
  }
  void withoutAnnotations() { pod.at("metadata").as_object().erase("annotations"); }

  config::Config config;
  Node node;
  boost::json::object pod = parsed();
};

TEST_F(CoverageTest, Rescued) {
  const auto one = only();
  EXPECT_EQ(one.verdict, Verdict::rescued) << one.why << testing::PrintToString(one.differs);
  EXPECT_EQ(one.binary, "web@1.8.3");
  EXPECT_TRUE(one.byAnnotation);
  EXPECT_EQ(one.workload, "annotated");
  EXPECT_THAT(one.next, IsEmpty());
}

TEST_F(CoverageTest, RescuedByAWorkload) {
  withoutAnnotations();
  addWorkload();
  const auto one = only();
  EXPECT_EQ(one.verdict, Verdict::rescued) << one.why << testing::PrintToString(one.differs);
  EXPECT_EQ(one.workload, "shop-web");
  EXPECT_FALSE(one.byAnnotation);
}

TEST_F(CoverageTest, LimitedNamesEachDifference) {
  firstContainer(pod)["lifecycle"] = {{"preStop", {{"sleep", {{"seconds", 1}}}}}};
  const auto one = only();
  EXPECT_EQ(one.verdict, Verdict::limited);
  EXPECT_THAT(one.differs, ElementsAre("spec.containers[0].lifecycle.preStop: hooks are not run"));
  EXPECT_THAT(one.why, HasSubstr("in 1 point"));
}

TEST_F(CoverageTest, AnExpiredBinaryWithinItsGraceIsALimitation) {
  node.binaries.begin()->second.inGrace = true;
  EXPECT_EQ(only().verdict, Verdict::limited);
  EXPECT_THAT(only().differs, Contains(HasSubstr("within its grace period")));
}

TEST_F(CoverageTest, AWorkloadThatNamesAnotherImageIsALimitation) {
  withoutAnnotations();
  auto& workload = addWorkload();
  workload.inheritance.on = false;
  workload.image = "r.example.com/web:1.8.3";
  EXPECT_EQ(only().verdict, Verdict::rescued);
  firstContainer(pod)["image"] = "r.example.com/web:1.9.0";
  EXPECT_EQ(only().verdict, Verdict::limited);
  EXPECT_THAT(only().differs, Contains(HasSubstr("the pod \"r.example.com/web:1.9.0\"")));
}

TEST_F(CoverageTest, NotNeededWhereKubeletNeverPulls) {
  firstContainer(pod)["imagePullPolicy"] = "Never";
  EXPECT_EQ(only().verdict, Verdict::not_needed);
}

TEST_F(CoverageTest, InitContainersAndNativeSidecarsAreDistinguished) {
  pod.at("spec").as_object()["initContainers"] = boost::json::parse(R"([
    {"name": "migrate", "image": "r.example.com/migrate:1"},
    {"name": "mesh", "image": "m.example.com/mesh:1", "restartPolicy": "Always"}])");
  const auto all = judged();
  ASSERT_EQ(all.containers.size(), 3U);
  EXPECT_EQ(all.containers[0].kind, ContainerCoverage::Kind::init);
  EXPECT_EQ(all.containers[0].verdict, Verdict::init_container);
  EXPECT_EQ(all.containers[1].kind, ContainerCoverage::Kind::sidecar);
  EXPECT_EQ(all.containers[1].verdict, Verdict::not_covered);
  // Nothing can help the container while its init container cannot run.
  EXPECT_EQ(all.containers[2].verdict, Verdict::limited);
  EXPECT_THAT(
      all.containers[2].differs,
      ElementsAre("spec.initContainers[0]: the pod waits until \"migrate\" has ended; its image comes "
                  "from the same registry, r.example.com"));
}

TEST_F(CoverageTest, ASidecarCanBeRescued) {
  pod.at("metadata").at("annotations").as_object()["fallbackd.io/binary.mesh"] = "web@1.8.3";
  pod.at("spec").as_object()["initContainers"] =
      boost::json::parse(R"([{"name": "mesh", "image": "m.example.com/mesh:1.8.3", "restartPolicy": "Always",
      "command": ["/m"]}])");
  EXPECT_EQ(judged().containers[0].verdict, Verdict::limited);
}

TEST_F(CoverageTest, ObservedByNodeNamespaceOrWorkload) {
  config.mode = config::Mode::observe;
  EXPECT_EQ(only().verdict, Verdict::observed);
  config.namespaceModes = {{"shop", config::Mode::recover}};
  EXPECT_EQ(only().verdict, Verdict::rescued);
}

TEST_F(CoverageTest, PausedWithTheOperatorsReason) {
  node.pause.namespaces["other"] = {{}, "no"};
  EXPECT_EQ(only().verdict, Verdict::rescued);
  node.pause.namespaces["shop"] = {{}, "we migrate"};
  EXPECT_EQ(only().verdict, Verdict::paused);
  EXPECT_EQ(only().why, "new recoveries are paused: we migrate");
  EXPECT_THAT(only().next, HasSubstr("fallbackctl resume"));
}

TEST_F(CoverageTest, NotKnownUntilTheBinaryWasChecked) {
  node.binaries.clear();
  node.unlisted = Node::Unlisted::not_checked;
  EXPECT_EQ(only().verdict, Verdict::not_known);
}

TEST_F(CoverageTest, WithoutASpecificationTheConfigurationAloneCounts) {
  auto& short_ = addWorkload();
  auto& whole = addWorkload();
  whole.match.container = "side";
  whole.inheritance.on = false;
  whole.image = "r.example.com/side:1";
  static_cast<void>(short_);
  node.config = std::make_shared<const config::Config>(config);
  cri::Sandbox sandbox;
  sandbox.podName = "web-0";
  sandbox.podNamespace = "shop";
  sandbox.labels = {{"app", "web"}};
  const auto all = judge(node, {sandbox, {}, nullptr, {"third"}});
  EXPECT_FALSE(all.specified);
  ASSERT_EQ(all.containers.size(), 3U);
  EXPECT_EQ(all.containers[0].container, "side");
  EXPECT_EQ(all.containers[0].verdict, Verdict::rescued);
  EXPECT_EQ(all.containers[1].container, "third");
  EXPECT_EQ(all.containers[1].verdict, Verdict::not_covered);
  EXPECT_EQ(all.containers[2].container, "web");
  EXPECT_EQ(all.containers[2].verdict, Verdict::not_known);
  EXPECT_THAT(all.containers[2].why, HasSubstr("the pod's specification is not known"));
}

TEST_F(CoverageTest, NotCoveredSaysWhatTheNearestWorkloadMisses) {
  withoutAnnotations();
  EXPECT_EQ(only().verdict, Verdict::not_covered);
  EXPECT_EQ(only().why, "no workload is for this container");
  addWorkload().match.labels = {{"app", "api"}};
  EXPECT_THAT(only().why, HasSubstr("workload shop-web: label app is web, not api"));
}

TEST_F(CoverageTest, APodOfAJobNeedsItsRestartPolicy) {
  withoutAnnotations();
  pod.at("metadata").at("labels").as_object()["job-name"] = "web";
  auto& workload = addWorkload();
  EXPECT_EQ(only().verdict, Verdict::not_covered);
  EXPECT_THAT(only().why, HasSubstr("does not set restart.policy"));
  workload.restart.policy = config::RestartPolicy::never;
  EXPECT_EQ(only().verdict, Verdict::rescued) << only().why;
}

TEST_F(CoverageTest, AnAnnotationThatIsMalformedIsIgnored) {
  pod.at("metadata").at("annotations").as_object()["fallbackd.io/binary.web"] = "web";
  EXPECT_EQ(only().verdict, Verdict::annotation_ignored);
  EXPECT_THAT(only().why, HasSubstr("names no version"));
}

TEST_F(CoverageTest, ANamespaceMustBeAllowedToChoose) {
  config.podAnnotations.namespaces = {"other"};
  EXPECT_EQ(only().verdict, Verdict::not_allowed);
  EXPECT_THAT(only().next, HasSubstr("podAnnotations.namespaces"));
  config.podAnnotations.namespaces = {"shop"};
  node.binaries.begin()->second.namespaces = {{"other"}};
  EXPECT_EQ(only().verdict, Verdict::not_allowed);
  EXPECT_THAT(only().why, HasSubstr("its attestation lists the namespaces"));
  node.binaries.begin()->second.namespaces = {{"other", "shop"}};
  EXPECT_EQ(only().verdict, Verdict::rescued);
}

TEST_F(CoverageTest, NoBinaryOfTheVersionThatThePodAsksFor) {
  firstContainer(pod)["image"] = "r.example.com/web:1.9.0";
  EXPECT_EQ(only().verdict, Verdict::no_binary);
  EXPECT_EQ(only().why, "no binary for web 1.9.0; there is 1.8.3");
  firstContainer(pod)["image"] = "r.example.com/web:1.8.3";
  node.binaries.clear();
  EXPECT_EQ(only().verdict, Verdict::no_binary);
  EXPECT_EQ(only().why, "web@1.8.3 is not in the cache");
  EXPECT_THAT(only().next, HasSubstr("fallbackctl install"));
}

TEST_F(CoverageTest, OfTwoVersionsThePodsOwnCounts) {
  withoutAnnotations();
  addWorkload("1.8.3");
  addWorkload("1.9.0").name = "newer";
  node.binaries[{"web", "1.9.0"}] = Binary{true, false, {}, ImageConfig{}, {}};
  EXPECT_EQ(only().binary, "web@1.8.3");
  firstContainer(pod)["image"] = "r.example.com/web:1.9.0";
  EXPECT_EQ(only().binary, "web@1.9.0");
  EXPECT_EQ(only().verdict, Verdict::rescued);
}

TEST_F(CoverageTest, CannotTellWhichVersionLatestIs) {
  firstContainer(pod)["image"] = "r.example.com/web:latest";
  EXPECT_EQ(only().verdict, Verdict::cannot_tell);
  EXPECT_THAT(only().why, HasSubstr("cannot tell which version of web the pod wants"));
}

TEST_F(CoverageTest, NotAdmittedWithTheReason) {
  auto& binary = node.binaries.begin()->second;
  binary.serves = false;
  binary.refused = Error{Stage::admission, Reason::expired, 0, "expired on 2026-01-01"};
  EXPECT_EQ(only().verdict, Verdict::not_admitted);
  EXPECT_THAT(only().why, HasSubstr("expired on 2026-01-01"));
  EXPECT_THAT(only().next, HasSubstr("fallbackctl verify web@1.8.3"));
  binary.refused->reason = Reason::not_found;
  EXPECT_EQ(only().verdict, Verdict::no_binary);
}

TEST_F(CoverageTest, NotInheritedWhatAFallbackCannotHave) {
  firstContainer(pod)["securityContext"].as_object()["privileged"] = true;
  EXPECT_EQ(only().verdict, Verdict::not_inherited);
  EXPECT_THAT(only().why, HasSubstr("spec.containers[0].securityContext.privileged"));
}

TEST_F(CoverageTest, AVariableThatIsNotKnownDecidesByMissingEnv) {
  firstContainer(pod)["env"] = boost::json::parse(
      R"([{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "p"}}},
          {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}])");
  const auto refused = only();
  EXPECT_EQ(refused.verdict, Verdict::not_inherited);
  EXPECT_THAT(refused.why, HasSubstr("env[0]"));
  EXPECT_THAT(refused.why, Not(HasSubstr("env[1]")))
      << "the sandbox has its address by the time a fallback starts";
  config.inheritance.missingEnv = config::MissingEnv::start;
  EXPECT_EQ(only().verdict, Verdict::limited);
}

TEST_F(CoverageTest, TheReportCountsProblems) {
  withoutAnnotations();
  node.config = std::make_shared<const config::Config>(config);
  const auto report = reportOf({judge(node, podOf(pod)), judge(node, podOf(parsed()))});
  EXPECT_EQ(report.at("problems").to_number<int>(), 1);
  EXPECT_EQ(report.at("verdicts").at("rescued").to_number<int>(), 1);
  EXPECT_EQ(report.at("verdicts").at("not_covered").to_number<int>(), 1);
  const auto& first = report.at("pods").at(0).at("containers").at(0);
  EXPECT_TRUE(first.at("problem").as_bool());
  EXPECT_EQ(report.at("pods").at(1).at("containers").at(0).at("chosenBy").as_string(), "annotation");
}

TEST(CoverageVerdict, NamesGoBothWays) {
  for (std::size_t i = 0; i < kVerdicts; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    EXPECT_EQ(parseVerdict(toString(verdict)), verdict);
  }
  EXPECT_EQ(parseVerdict("fine"), std::nullopt);
}

}  // namespace
}  // namespace fallbackd::coverage
