// SPDX-License-Identifier: Apache-2.0
// kubelet's file as cloud providers write it, and every mistake that it can contain.
#include "config/provider_file.hpp"

#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

using namespace std::chrono_literals;

const std::string kApi = "apiVersion: kubelet.config.k8s.io/v1\n";
const std::string kTop = kApi + "kind: CredentialProviderConfig\nproviders:\n";
// Lines 4 to 7; additions are on line 8, in column 3.
const std::string kProvider = kTop +
                              "- name: p\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
                              "  matchImages: [\"*.r.x\"]\n  defaultCacheDuration: 12h\n";

std::vector<std::string> problemsIn(const std::string& text) {
  Problems problems;
  readProviderFile("f", text, problems);
  std::vector<std::string> lines;
  for (const auto& one : problems.take()) lines.push_back(one.toString());
  return lines;
}

std::vector<CredentialProvider> readGood(const std::string& text) {
  Problems problems;
  auto providers = readProviderFile("f", text, problems);
  const auto list = problems.take();
  EXPECT_TRUE(list.empty()) << list.front().toString();
  return providers;
}

TEST(ProviderFile, AsOnAnAmazonNode) {
  // JSON is also YAML.
  const auto providers = readGood(R"({
    "apiVersion": "kubelet.config.k8s.io/v1",
    "kind": "CredentialProviderConfig",
    "providers": [
      {
        "name": "ecr-credential-provider",
        "matchImages": ["*.dkr.ecr.*.amazonaws.com", "public.ecr.aws"],
        "defaultCacheDuration": "12h0m0s",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "env": [{"name": "AWS_PROFILE", "value": ""}, {"name": "AWS_REGION", "value": "eu-west-1"}]
      }
    ]
  })");
  ASSERT_EQ(providers.size(), 1U);
  const auto& one = providers[0];
  EXPECT_EQ(one.name, "ecr-credential-provider");
  ASSERT_EQ(one.matchImages.size(), 2U);
  EXPECT_EQ(one.matchImages[0].text(), "*.dkr.ecr.*.amazonaws.com");
  EXPECT_EQ(one.defaultCacheDuration, 12h);
  EXPECT_EQ(one.env, (std::vector<std::string>{"AWS_PROFILE=", "AWS_REGION=eu-west-1"}));
  EXPECT_FALSE(one.needsToken);
}

TEST(ProviderFile, SeveralProvidersKeepTheirOrderAndArguments) {
  const auto providers = readGood(kProvider + "  args: [get-credentials, --config=/etc/azure.json]\n" +
                                  "- name: q\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
                                  "  matchImages: [q.x:5000/team]\n  defaultCacheDuration: 0s\n");
  ASSERT_EQ(providers.size(), 2U);
  EXPECT_EQ(providers[0].args, (std::vector<std::string>{"get-credentials", "--config=/etc/azure.json"}));
  EXPECT_EQ(providers[1].name, "q");
  EXPECT_EQ(providers[1].defaultCacheDuration, 0ns);
}

TEST(ProviderFile, ServiceAccountTokensAreDetected) {
  const auto providers = readGood(kProvider +
                                  "  tokenAttributes:\n    serviceAccountTokenAudience: a\n"
                                  "    requireServiceAccount: true\n    cacheType: Token\n");
  ASSERT_EQ(providers.size(), 1U);
  EXPECT_TRUE(providers[0].needsToken);
}

TEST(ProviderFile, EveryMistakeHasItsPositionAndAdvice) {
  struct Wrong {
    std::string text;
    std::string at;
    std::string words;
  };
  const std::string rest = "  matchImages: [r.x]\n  defaultCacheDuration: 1h\n";
  const std::string api = "  apiVersion: credentialprovider.kubelet.k8s.io/v1\n";
  const std::vector<Wrong> all{
      {"", "1:1", "is empty"},
      {"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: CredentialProviderConfig\nproviders: []\n", "1:13",
       "(write kubelet.config.k8s.io/v1)"},
      {kApi + "kind: KubeletConfiguration\nproviders: []\n", "2:7", "(write CredentialProviderConfig)"},
      {kApi + "kind: CredentialProviderConfig\n", "1:1", "providers"},
      {kTop + "- name: p\n  apiVersion: credentialprovider.kubelet.k8s.io/v1alpha1\n" + rest, "5:15",
       "(write credentialprovider.kubelet.k8s.io/v1)"},
      {kTop + "- name: ../p\n" + api + rest, "4:9", "not the name of a program"},
      {kTop + "- name: ..\n" + api + rest, "4:9", "not the name of a program"},
      {kTop + "- name: p\n" + api + "  matchImages: []\n  defaultCacheDuration: 1h\n", "6:16", "is empty"},
      {kTop + "- name: p\n" + api + "  matchImages: [\"r x\"]\n  defaultCacheDuration: 1h\n", "6:17",
       "not a pattern for images"},
      {kTop + "- name: p\n" + api + "  matchImages: [r.x]\n", "4:3", "defaultCacheDuration"},
      {kTop + "- name: p\n" + api + "  matchImages: [r.x]\n  defaultCacheDuration: -1h\n", "7:25",
       "is not a duration"},
      {kProvider + "  env: [{name: A=B, value: c}]\n", "8:16", "not the name of an environment variable"},
      {kProvider + "  argz: []\n", "8:3", "did you mean"},
      {kProvider + kProvider.substr(kTop.size()), "8:3", "named twice"},
  };
  for (const auto& one : all) {
    const auto lines = problemsIn(one.text);
    ASSERT_EQ(lines.size(), 1U) << one.text << testing::PrintToString(lines);
    EXPECT_TRUE(lines[0].starts_with("f:" + one.at + ": ")) << lines[0];
    EXPECT_NE(lines[0].find(one.words), std::string::npos) << lines[0];
  }
}

}  // namespace
}  // namespace fallbackd::config
