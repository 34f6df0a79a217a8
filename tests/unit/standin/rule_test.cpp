// SPDX-License-Identifier: Apache-2.0
// Which fallbacks get a stand-in.
#include "standin/rule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

using Kind = Ruling::Kind;
using config::Settle;
using testing::HasSubstr;
using Rollout = RolloutFacts::State;

struct Rule : testing::Test {
  Rule() {
    workload.match.container = "app";
    kube::Container app;
    app.name = "app";
    pod.containers = {app};
    pod.ownerKind = "ReplicaSet";
  }
  Ruling ruling(Settle settle = Settle::automatic) const { return rule(settle, workload, &pod, rollout); }

  config::Workload workload;
  kube::Pod pod;
  std::optional<RolloutFacts> rollout = RolloutFacts{Rollout::complete, false, "the revision was rolled out"};
};

TEST_F(Rule, APodOfACompleteRolloutIsSettled) {
  EXPECT_EQ(ruling().kind, Kind::settle);
  rollout->otherRevisionReady = true;
  EXPECT_EQ(ruling().kind, Kind::settle) << "the pod has an older revision";
}

TEST_F(Rule, APodOfARolloutIsHeldWhileAnotherRevisionMayServe) {
  rollout = RolloutFacts{Rollout::in_progress, true, "the Deployment is being rolled out"};
  EXPECT_EQ(ruling().kind, Kind::hold);
  EXPECT_THAT(ruling().why, HasSubstr("the Deployment is being rolled out"));
  rollout->otherRevisionReady.reset();
  EXPECT_EQ(ruling().kind, Kind::hold) << "it is unknown whether another revision serves";
  rollout->otherRevisionReady = false;
  EXPECT_EQ(ruling().kind, Kind::settle) << "no working pod could be replaced";
}

TEST_F(Rule, WhatIsNotKnownIsRefused) {
  rollout.reset();
  EXPECT_EQ(ruling().kind, Kind::refuse);
  EXPECT_TRUE(ruling().notKnown);
  rollout = RolloutFacts{Rollout::unknown, {}, "rollouts of a Rollout are not known"};
  EXPECT_EQ(ruling().kind, Kind::refuse);
  EXPECT_TRUE(ruling().notKnown);
  EXPECT_EQ(rule(Settle::automatic, workload, nullptr, rollout).kind, Kind::refuse);
}

TEST_F(Rule, PodsThatEndAreRefused) {
  for (const char* policy : {"Never", "OnFailure"}) {
    pod.restartPolicy = policy;
    EXPECT_EQ(ruling().kind, Kind::refuse) << policy;
    EXPECT_FALSE(ruling().notKnown);
  }
  pod.restartPolicy = "Always";
  EXPECT_EQ(ruling().kind, Kind::settle);
  pod.ownerKind = "Job";
  EXPECT_EQ(ruling().kind, Kind::refuse);
  pod.ownerKind = "ReplicaSet";
  workload.restart.policy = config::RestartPolicy::on_failure;
  EXPECT_EQ(ruling().kind, Kind::refuse);
}

TEST_F(Rule, AnInitContainerIsNeverSettled) {
  workload.match.container = "migrate";
  EXPECT_EQ(ruling().kind, Kind::refuse);
  EXPECT_EQ(ruling(Settle::always).kind, Kind::refuse);
}

TEST_F(Rule, ProbesThatExecuteAProgramAreRefused) {
  kube::Probe probe;
  probe.handler = kube::ExecCommand{{"/bin/true"}};
  auto& container = pod.containers[0];
  for (auto* const kind : {&container.readinessProbe, &container.livenessProbe, &container.startupProbe}) {
    *kind = probe;
    EXPECT_EQ(ruling().kind, Kind::refuse);
    kind->reset();
  }
  container.readinessProbe = kube::Probe{kube::TcpSocket{std::uint16_t{8080}, ""}};
  container.lifecycle = {"preStop"};
  EXPECT_EQ(ruling().kind, Kind::settle) << "a failing hook costs only an event";
}

TEST_F(Rule, ProbesThatExecuteWhatTheStandInHasAreNot) {
  workload.standIn.path = "/app/server";
  auto& container = pod.containers[0];
  container.readinessProbe = kube::Probe{kube::ExecCommand{{"/app/server", "--health-check"}}};
  EXPECT_EQ(ruling().kind, Kind::settle);
  container.livenessProbe = kube::Probe{kube::ExecCommand{{"/bin/sh", "-c", "/app/server --health-check"}}};
  EXPECT_EQ(ruling().kind, Kind::refuse);
  EXPECT_THAT(ruling().why, HasSubstr("/app/server")) << "the program that the stand-in has";
  container.livenessProbe = kube::Probe{kube::ExecCommand{}};
  EXPECT_EQ(ruling().kind, Kind::refuse) << "an empty command";
}

TEST_F(Rule, AnImageThatOnlyKubeletCanPullIsRefused) {
  pod.imagePullSecrets = 1;
  EXPECT_EQ(ruling().kind, Kind::refuse);
  EXPECT_THAT(ruling().why, HasSubstr("password"));
  workload.dockerConfig = "/etc/fallbackd/registry.json";
  EXPECT_EQ(ruling().kind, Kind::settle);
}

TEST_F(Rule, TheOperatorDecides) {
  rollout.reset();
  pod.restartPolicy = "Never";
  EXPECT_EQ(ruling(Settle::always).kind, Kind::settle);
  EXPECT_EQ(rule(Settle::always, workload, nullptr, std::nullopt).kind, Kind::settle);
  rollout = RolloutFacts{Rollout::complete, false, ""};
  pod.restartPolicy = "Always";
  EXPECT_EQ(ruling(Settle::never).kind, Kind::refuse);
}

}  // namespace
}  // namespace fallbackd::standin
