// SPDX-License-Identifier: Apache-2.0
// What an annotated pod gets from the configuration's workloads for other pods.
#include "watcher/match.hpp"

#include "config/drill.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

/// A workload for every namespace, with permissions that no other binary may get.
config::Workload privileged() {
  config::Workload workload;
  workload.name = "checkout";
  workload.match = {{}, {{"app", "checkout"}}, "main"};
  workload.image = "registry.example.com/shop/checkout:1.8.3";
  workload.binary = {"checkout", "1.8.3"};
  workload.args = {"--secret-port=1"};
  workload.env = {{"TOKEN", "x"}};
  workload.envFiles = {{"PASSWORD", "/secret/password"}};
  workload.serviceVariables = true;
  workload.user = {0, 0, {4}, true};
  workload.security.capabilities = 1;
  workload.security.seccomp.type = config::SecurityProfile::Type::unconfined;
  workload.volumes = {{config::Volume::Kind::secret, "password", "/secret", ""}};
  workload.dockerConfig = "/etc/fallbackd/registry/.dockerconfigjson";
  workload.resources.memoryBytes = 1 << 30;
  workload.definedAt = "fallbackd.yaml:12";
  return workload;
}

struct MatchTest : testing::Test {
  MatchTest() {
    config->podAnnotations.namespaces = {"shop"};
    config->workloads.push_back(privileged());
    sandbox.podNamespace = "shop";
    sandbox.podName = "web-0";
    sandbox.labels = {{"app", "checkout"}};
  }
  /// The one workload that covers the pod; null if none or several do.
  WorkloadPtr only() {
    covering = workloadsFor(config, sandbox, nullptr);
    return covering.workloads.size() == 1 ? covering.workloads.front() : nullptr;
  }
  std::shared_ptr<config::Config> config = std::make_shared<config::Config>();
  cri::Sandbox sandbox;
  Covering covering;
};

TEST_F(MatchTest, TheConfigurationsOwnIsTheConfigurations) {
  const auto workload = only();
  ASSERT_NE(workload, nullptr);
  EXPECT_EQ(workload->binaryFrom, Provenance::configuration);
}

TEST_F(MatchTest, AnotherVersionOfTheWorkloadsBinaryRunsAsTheWorkloadDoes) {
  sandbox.annotations = {{"fallbackd.io/binary.main", "checkout@1.8.4"},
                         {"fallbackd.io/image.main", "registry.example.com/shop/checkout:1.8.4"}};
  const auto workload = only();
  ASSERT_NE(workload, nullptr);
  EXPECT_EQ(workload->binaryFrom, Provenance::annotation);
  EXPECT_EQ(workload->binary.toString(), "checkout@1.8.4");
  EXPECT_EQ(workload->image, "registry.example.com/shop/checkout:1.8.4");
  EXPECT_EQ(workload->name, "checkout");
  EXPECT_EQ(workload->user.uid, 0U);
  EXPECT_EQ(workload->volumes.size(), 1U);
}

TEST_F(MatchTest, ThePodOfADrillIsCoveredByNothingElse) {
  config->workloads[0].match.labels.clear();  // matches each pod of the namespace
  const auto drilled = config::withDrill(config, {"checkout", "shop", "checkout-drill"});
  ASSERT_TRUE(drilled);
  sandbox.labels = {{"fallbackd.io/drill", "checkout-drill"}};
  sandbox.podName = "checkout-drill";
  covering = workloadsFor(*drilled, sandbox, nullptr);
  ASSERT_EQ(covering.workloads.size(), 1U);
  EXPECT_TRUE(config::isDrill(*covering.workloads[0]));
  sandbox.labels = {{"fallbackd.io/drill", "another"}};
  covering = workloadsFor(*drilled, sandbox, nullptr);
  ASSERT_EQ(covering.workloads.size(), 1U);
  EXPECT_EQ(covering.workloads[0]->name, "checkout");
}

TEST_F(MatchTest, APodThatHasOnlyTheLabelOfADrillIsNotItsPod) {
  const auto drilled = config::withDrill(config, {"checkout", "shop", "checkout-drill"});
  ASSERT_TRUE(drilled);
  sandbox.labels = {{"fallbackd.io/drill", "checkout-drill"}};
  sandbox.podName = "checkout-drill-2";
  EXPECT_TRUE(workloadsFor(*drilled, sandbox, nullptr).workloads.empty());
  sandbox.podName = "checkout-drill";
  EXPECT_EQ(workloadsFor(*drilled, sandbox, nullptr).workloads.size(), 1U);
}

TEST_F(MatchTest, APodOfAJobIsCoveredOnlyByAWorkloadThatSaysItsRestartPolicy) {
  for (const std::string label :
       {"batch.kubernetes.io/job-name", "job-name", "batch.kubernetes.io/controller-uid", "controller-uid"}) {
    sandbox.labels = {{"app", "checkout"}, {label, "x"}};
    config->workloads[0].restart.policy.reset();
    EXPECT_EQ(only(), nullptr) << label;
    ASSERT_EQ(covering.withoutPolicy.size(), 1U);
    EXPECT_EQ(covering.withoutPolicy[0]->name, "checkout");
    config->workloads[0].restart.policy = config::RestartPolicy::never;
    EXPECT_NE(only(), nullptr) << label;
    EXPECT_TRUE(covering.withoutPolicy.empty());
  }
}

TEST_F(MatchTest, AnAnnotationDoesNotMakeAJobRun) {
  sandbox.labels = {{"job-name", "x"}};
  sandbox.annotations = {{"fallbackd.io/binary.main", "shell@1.0.0"},
                         {"fallbackd.io/image.main", "registry.example.com/shop/shell:1"}};
  EXPECT_EQ(only(), nullptr);
  ASSERT_EQ(covering.troubles.size(), 1U);
  EXPECT_NE(covering.troubles[0].find("restart.policy"), std::string::npos);
}

TEST_F(MatchTest, AnotherBinaryTakesNothingOfTheWorkload) {
  sandbox.annotations = {{"fallbackd.io/binary.main", "shell@1.0.0"},
                         {"fallbackd.io/image.main", "registry.example.com/shop/shell:1"}};
  const auto workload = only();
  ASSERT_NE(workload, nullptr);
  const config::Workload nothing;
  EXPECT_EQ(workload->binary.toString(), "shell@1.0.0");
  EXPECT_EQ(workload->name, "annotated");
  EXPECT_EQ(workload->image, "registry.example.com/shop/shell:1");
  EXPECT_EQ(workload->user.uid, nothing.user.uid);
  EXPECT_EQ(workload->user.gid, nothing.user.gid);
  EXPECT_TRUE(workload->user.groups.empty());
  EXPECT_FALSE(workload->user.allowRoot);
  EXPECT_EQ(workload->security.capabilities, 0U);
  EXPECT_EQ(workload->security.seccomp.type, config::SecurityProfile::Type::runtime_default);
  EXPECT_TRUE(workload->volumes.empty());
  EXPECT_TRUE(workload->args.empty());
  EXPECT_TRUE(workload->env.empty());
  EXPECT_TRUE(workload->envFiles.empty());
  EXPECT_FALSE(workload->serviceVariables);
  EXPECT_TRUE(workload->dockerConfig.empty());
  EXPECT_FALSE(workload->resources.memoryBytes);
}

TEST_F(MatchTest, AnotherBinaryDoesNotTakeTheImageEither) {
  sandbox.annotations = {{"fallbackd.io/binary.main", "shell@1.0.0"}};
  const auto workload = only();
  ASSERT_NE(workload, nullptr);
  EXPECT_EQ(workload->binary.toString(), "checkout@1.8.3") << "the annotation cannot be followed";
  ASSERT_EQ(covering.troubles.size(), 1U);
  EXPECT_NE(covering.troubles[0].find("add fallbackd.io/image.main"), std::string::npos);
}

TEST_F(MatchTest, AnotherImageDoesNotGetTheWorkloadsPassword) {
  for (const auto* image : {"registry.example.com/shop/private:1", "evil.example.com/shop/checkout:1.8.3",
                            "registry.example.com/shop/checkout:1.8.4"}) {
    sandbox.annotations = {{"fallbackd.io/binary.main", "checkout@1.8.3"},
                           {"fallbackd.io/image.main", image}};
    const auto workload = only();
    ASSERT_NE(workload, nullptr);
    EXPECT_EQ(workload->image, image);
    EXPECT_EQ(workload->dockerConfig, "") << image;
  }
  sandbox.annotations["fallbackd.io/image.main"] = "registry.example.com/shop/checkout:1.8.3";
  EXPECT_NE(only()->dockerConfig, "") << "the workload's own image";
}

}  // namespace
}  // namespace fallbackd::watcher
