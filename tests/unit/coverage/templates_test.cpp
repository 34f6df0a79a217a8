// SPDX-License-Identifier: Apache-2.0
#include "coverage/templates.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::coverage {
namespace {

using testing::HasSubstr;

struct Made {
  Templates templates;
  std::string problems;
};
Made make(std::string_view text) {
  std::vector<Manifest> all;
  config::Problems problems;
  readManifests("in.yaml", text, all, problems);
  Made out;
  out.templates = templatesOf(all, "default", problems);
  for (const auto& one : problems.take()) out.problems += one.toString() + "\n";
  return out;
}
std::string object(const std::string& kind, const std::string& spec) {
  return "kind: " + kind + "\nmetadata: {name: web, namespace: shop}\nspec: " + spec + "\n";
}
constexpr const char* kTemplate =
    "template: {metadata: {labels: {app: web, tier: a}}, spec: {containers: [{name: c, "
    "image: 'r.example.com/a:1'}]}}";

TEST(PodTemplates, OfEachKind) {
  for (const std::string kind :
       {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "Rollout"}) {
    const auto made = make(object(kind, "{" + std::string(kTemplate) + "}"));
    ASSERT_EQ(made.templates.all.size(), 1U) << kind << made.problems;
    const auto& one = made.templates.all.front();
    EXPECT_EQ(one.owner(), kind + " web");
    EXPECT_EQ(one.pod.namespaceName, "shop");
    EXPECT_EQ(one.pod.containers.at(0).name, "c");
    EXPECT_EQ(one.ofJob, kind == "Job");
    EXPECT_EQ(one.pod.labels.contains("batch.kubernetes.io/job-name"), one.ofJob);
    EXPECT_EQ(one.matchLabels, (std::map<std::string, std::string>{{"app", "web"}, {"tier", "a"}}));
  }
  const auto cron = make(object("CronJob", "{jobTemplate: {spec: {" + std::string(kTemplate) + "}}}"));
  ASSERT_EQ(cron.templates.all.size(), 1U) << cron.problems;
  EXPECT_TRUE(cron.templates.all[0].ofJob);
  EXPECT_EQ(cron.templates.all[0].pod.ownerKind, "Job");
}

TEST(PodTemplates, WithoutANamespaceTheCallersCounts) {
  const auto made =
      make("kind: Pod\nmetadata: {generateName: web-}\nspec: {containers: [{name: c, image: a}]}\n");
  ASSERT_EQ(made.templates.all.size(), 1U) << made.problems;
  EXPECT_EQ(made.templates.all[0].namespaceName, "");
  EXPECT_EQ(made.templates.all[0].pod.namespaceName, "default");
  EXPECT_EQ(made.templates.all[0].name, "web");
}

TEST(PodTemplates, LabelsOfOneRevisionAreNotThoseOfTheObject) {
  const auto made =
      make(object("ReplicaSet", "{selector: {matchLabels: {app: web, pod-template-hash: 7d4f}}, " +
                                    std::string(kTemplate) + "}"));
  ASSERT_EQ(made.templates.all.size(), 1U);
  EXPECT_EQ(made.templates.all[0].matchLabels, (std::map<std::string, std::string>{{"app", "web"}}));
}

TEST(PodTemplates, WhatAnotherObjectOwnsIsNotReadTwice) {
  const auto made = make(object("Deployment", "{" + std::string(kTemplate) + "}") +
                         "---\nkind: ReplicaSet\nmetadata: {name: web-1, namespace: shop, ownerReferences: "
                         "[{kind: Deployment, name: web, controller: true}]}\nspec: {" +
                         kTemplate + "}\n---\nkind: Service\nmetadata: {name: s}\nspec: {}\n");
  EXPECT_EQ(made.templates.all.size(), 1U) << made.problems;
  EXPECT_EQ(made.templates.owned, 1U);
  EXPECT_EQ(made.templates.others, (std::vector<std::string>{"Service"}));
}

TEST(PodTemplates, TheClaimsOfAStatefulSetAreVolumes) {
  const auto made = make(object(
      "StatefulSet", "{volumeClaimTemplates: [{metadata: {name: data}}], " + std::string(kTemplate) + "}"));
  ASSERT_EQ(made.templates.all.size(), 1U) << made.problems;
  const auto& volumes = made.templates.all[0].pod.volumes;
  ASSERT_EQ(volumes.size(), 1U);
  EXPECT_EQ(volumes[0].name, "data");
  EXPECT_EQ(volumes[0].claimName, "data-web-0");
}

TEST(PodTemplates, WhatKubernetesWouldRefuseIsAProblem) {
  EXPECT_THAT(make(object("Pod", "{containers: [{name: c, image: a, env: [{name: A, value: 5}]}]}")).problems,
              HasSubstr("env[0].value is a number, not a text"));
  EXPECT_THAT(make("hello: world\n").problems, HasSubstr("is not a Kubernetes object"));
}

}  // namespace
}  // namespace fallbackd::coverage
