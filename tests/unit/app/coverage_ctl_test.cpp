// SPDX-License-Identifier: Apache-2.0
// fallbackctl coverage in a pipeline: it reads manifests and needs neither a cluster nor a daemon.
#include "shell.hpp"
#include "temp_folder.hpp"

#include <filesystem>
#include <fstream>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using test::Output;
using test::shell;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kConfig =
    "apiVersion: fallbackd.io/v1\n"
    "kubernetes: {sources: [apiserver]}\n"
    "podAnnotations: {namespaces: [shop]}\n"
    "workloads:\n"
    "- {match: {namespace: shop, labels: {app: checkout}, container: checkout}, binary: checkout@1.8.3}\n";

/// Three documents, as rendered from a chart without a namespace.
constexpr const char* kManifests =
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: checkout}\n"
    "spec: {template: {metadata: {labels: {app: checkout}}, spec: {containers: [{name: checkout, image: "
    "'r.example.com/checkout:1.8.3', command: [/app]}]}}}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: checkout}\nspec: {ports: [{port: 80}]}\n"
    "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: report}\n"
    "spec: {jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: report, image: "
    "'r.example.com/report:2'}]}}}}}\n";

struct CoverageCtlTest : testing::Test {
  CoverageCtlTest() {
    write("fallbackd.yaml", kConfig);
    write("chart.yaml", kManifests);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder.path() + "/" + name; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }
  [[nodiscard]] Output coverage(const std::string& words, const std::string& before = "") const {
    return shell(before + " " FALLBACKCTL " coverage --config " + path("fallbackd.yaml") + " " + words +
                 " 2>&1");
  }
  test::TempFolder folder;
};

TEST_F(CoverageCtlTest, ReadsAChartFromStandardInput) {
  const auto output = coverage("--from - --namespace shop --binaries checkout@1.8.3 < " + path("chart.yaml"));
  EXPECT_EQ(output.code, 1);
  EXPECT_THAT(output.text, AllOf(HasSubstr("shop/checkout (Deployment checkout)"), HasSubstr("limited"),
                                 HasSubstr("shop/report (CronJob report)"), HasSubstr("not_covered"),
                                 HasSubstr(": 1 problem\n"), Not(HasSubstr("no namespace"))));
  const auto accepted = coverage(
      "--from - --namespace shop --binaries checkout@1.8.3 --accept not_covered < " + path("chart.yaml"));
  EXPECT_EQ(accepted.code, 0) << accepted.text;
}

TEST_F(CoverageCtlTest, ReportsTheNamespaceThatItAssumes) {
  const auto output = coverage("--binaries checkout@1.8.3 --from " + path("chart.yaml"));
  EXPECT_THAT(output.text, HasSubstr("2 objects name no namespace and are judged as in namespace default"));
  EXPECT_THAT(output.text, HasSubstr("namespace is default, not shop"));
}

TEST_F(CoverageCtlTest, JsonWithProblemsAloneAndDetails) {
  const auto output =
      coverage("--problems -o json --namespace shop --binaries checkout@1.8.3 --from " + path("chart.yaml"));
  const auto root = boost::json::parse(output.text);
  ASSERT_EQ(root.at("pods").as_array().size(), 1U);
  EXPECT_EQ(root.at("pods").at(0).at("owner").as_string(), "CronJob report");
  EXPECT_EQ(root.at("problems").to_number<int>(), 1);
  const auto details =
      coverage("--details --namespace shop --binaries checkout@1.8.3 --from " + path("chart.yaml"));
  EXPECT_THAT(details.text,
              AllOf(HasSubstr("\n  spec.containers[0]."), HasSubstr("\n  next: add a workload")));
}

TEST_F(CoverageCtlTest, ABinaryThatIsMissing) {
  const auto output = coverage("--namespace shop --binaries checkout@1.8.4 --from " + path("chart.yaml"));
  EXPECT_THAT(output.text, HasSubstr("checkout@1.8.3 is not in the cache"));
}

TEST_F(CoverageCtlTest, TheClusterIsWhatKubectlFinds) {
  std::filesystem::create_directory(path("bin"));
  write("bin/kubectl", "#!/bin/sh\necho \"$@\" > " + path("asked") + "\ncat " + path("chart.yaml") + "\n");
  std::filesystem::permissions(path("bin/kubectl"), std::filesystem::perms::owner_all);
  const auto output =
      coverage("--cluster --namespace shop --binaries checkout@1.8.3", "PATH=" + path("bin") + ":$PATH");
  EXPECT_EQ(output.code, 1) << output.text;
  EXPECT_THAT(output.text, HasSubstr("shop/checkout (Deployment checkout)"));
  std::ifstream in(path("asked"));
  std::string asked;
  std::getline(in, asked);
  EXPECT_EQ(asked, "get deployments,statefulsets,daemonsets,jobs,cronjobs --output=json --namespace=shop");
  const auto without = coverage("--cluster", "PATH=" + path("nothing"));
  EXPECT_EQ(without.code, 2);
  EXPECT_THAT(without.text, HasSubstr("kubectl is not installed here"));
}

TEST_F(CoverageCtlTest, UnusableInputExitsWithTwo) {
  write("wrong.yaml", "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: 5}]}\n");
  const auto output = coverage("--from " + path("wrong.yaml"));
  EXPECT_EQ(output.code, 2);
  EXPECT_THAT(output.text, AllOf(HasSubstr("wrong.yaml:1:1: Pod \"a\""), HasSubstr("image is a number")));
  write("service.yaml", "kind: Service\nmetadata: {name: a}\n");
  EXPECT_EQ(coverage("--from " + path("service.yaml")).code, 2);
  EXPECT_EQ(coverage("--from " + path("missing.yaml")).code, 2);
  EXPECT_EQ(coverage("--cluster --from " + path("chart.yaml")).code, 2);
  EXPECT_EQ(coverage("--socket " + path("no.sock")).code, 2);
}

}  // namespace
}  // namespace fallbackd
