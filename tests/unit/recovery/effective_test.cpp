// SPDX-License-Identifier: Apache-2.0
// What a launch takes from the pod's specification, and what prevents a launch.
#include "recovery/effective.hpp"

#include "fake_pod_specs.hpp"

#include <map>
#include <memory>
#include <string>

#include <gmock/gmock.h>

namespace fallbackd::recovery {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct EffectiveTest : testing::Test {
  EffectiveTest() {
    workload.name = "checkout";
    workload.match = {"shop", {}, "main"};
    workload.binary = {"checkout", "1.8.3"};
    workload.inheritance.on = true;
  }
  Result<Effective> outcome() {
    return effectiveWorkload(std::make_shared<const config::Workload>(workload), known ? &spec : nullptr,
                             config, {facts, &sandbox, image});
  }
  kube::Container& main() { return spec.containers[0]; }
  void needsSecret() {
    kube::EnvVar variable;
    variable.name = "PASSWORD";
    variable.valueFrom = kube::KeyRef{kube::KeyRef::Kind::secret, "db", "password", false};
    main().env.push_back(variable);
  }

  config::Workload workload;
  config::Config config;
  kube::Pod spec = test::podOf("r.x/shop/checkout:1.8.3");
  bool known = true;
  kube::Facts facts;
  cri::SandboxStatus sandbox;
  std::optional<ImageConfig> image = ImageConfig{"1000:1000", {{"LANG", "C"}}, {"/app"}, {"serve"}, "/srv"};
};

TEST_F(EffectiveTest, AWorkloadThatInheritsNothingStaysAsItIs) {
  workload.inheritance.on = false;
  known = false;
  const auto selected = std::make_shared<const config::Workload>(workload);
  const auto effective = effectiveWorkload(selected, nullptr, config, {});
  ASSERT_TRUE(effective);
  EXPECT_EQ(effective->workload, selected);
}

TEST_F(EffectiveTest, TheProcessIsThatOfThePodAndItsImage) {
  main().args = {"serve", "--ip=$(IP)"};
  main().securityContext.runAsGroup = 1000;
  kube::EnvVar ip;
  ip.name = "IP";
  ip.valueFrom = kube::FieldRef{"status.podIP"};
  main().env.push_back(ip);
  sandbox.ips = {"10.0.0.7"};
  const auto effective = outcome();
  ASSERT_TRUE(effective) << effective.error().message();
  const auto& made = *effective->workload;
  EXPECT_THAT(made.args, ElementsAre("serve", "--ip=10.0.0.7"));
  EXPECT_EQ(made.env.at("LANG"), "C");
  EXPECT_EQ(made.workingDir, "/srv");
  EXPECT_EQ(made.user.uid, 1000U);
  EXPECT_EQ(made.image, "r.x/shop/checkout:1.8.3");
  EXPECT_THAT(effective->differs, IsEmpty());
}

TEST_F(EffectiveTest, DifferencesFromThePodAreReported) {
  main().lifecycle = {"preStop"};
  const auto effective = outcome();
  ASSERT_TRUE(effective);
  EXPECT_THAT(effective->differs, Contains(HasSubstr("spec.containers[0].lifecycle.preStop: ")));
}

TEST_F(EffectiveTest, NothingStartsWithoutTheSpecification) {
  known = false;
  EXPECT_EQ(outcome().error().reason, Reason::not_found);
}

TEST_F(EffectiveTest, NothingStartsForAnotherVersion) {
  main().image = "r.x/shop/checkout:1.9.0";
  const auto refused = outcome();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().stage, Stage::config);
  EXPECT_EQ(refused.error().reason, Reason::version_mismatch);
  EXPECT_THAT(refused.error().context, HasSubstr("no binary for checkout 1.9.0"));
}

TEST_F(EffectiveTest, NothingStartsWithoutAValueThatOnlyTheClusterKnows) {
  needsSecret();
  const auto refused = outcome();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::not_permitted);
  EXPECT_THAT(refused.error().context, HasSubstr("spec.containers[0].env[0]"));
  workload.inheritance.missingEnv = config::MissingEnv::start;
  const auto started = outcome();
  ASSERT_TRUE(started);
  EXPECT_FALSE(started->workload->env.contains("PASSWORD"));
}

TEST_F(EffectiveTest, ASecretThatMayBeReadGivesTheValue) {
  needsSecret();
  facts.secrets["db"] = std::map<std::string, std::string>{{"password", "s3cret"}};
  const auto effective = outcome();
  ASSERT_TRUE(effective) << effective.error().message();
  EXPECT_EQ(effective->workload->env.at("PASSWORD"), "s3cret");
}

TEST_F(EffectiveTest, TheConfigurationOutranksThePod) {
  needsSecret();
  workload.env = {{"PASSWORD", "from the node"}};
  workload.given = {"env"};
  const auto effective = outcome();
  ASSERT_TRUE(effective) << effective.error().message();
  EXPECT_EQ(effective->workload->env.at("PASSWORD"), "from the node");
}

TEST_F(EffectiveTest, AnUnsupportedFieldPreventsTheStart) {
  main().securityContext.privileged = true;
  workload.inheritance.missingEnv = config::MissingEnv::start;
  EXPECT_EQ(outcome().error().reason, Reason::not_permitted);
}

TEST_F(EffectiveTest, ManyReasonsAreCounted) {
  for (int i = 0; i < 7; ++i) needsSecret();
  EXPECT_THAT(outcome().error().context, HasSubstr("and 3 more"));
}

}  // namespace
}  // namespace fallbackd::recovery
