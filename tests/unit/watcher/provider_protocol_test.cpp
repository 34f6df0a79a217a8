// SPDX-License-Identifier: Apache-2.0
#include "watcher/provider_protocol.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;

ImageReference image(const std::string& text) {
  return *ImageReference::parse(text);
}

std::string answerWith(const std::string& rest) {
  return R"({"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", )" +
         rest + "}";
}

TEST(ProviderProtocol, TheRequestNamesTheRepositoryAsKubeletDoes) {
  EXPECT_EQ(providerRequest(image("r.x:5000/shop/checkout:1.8.3")),
            R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"r.x:5000/shop/checkout"})");
  EXPECT_NE(providerRequest(image("nginx")).find(R"("docker.io/library/nginx")"), std::string::npos);
}

TEST(ProviderProtocol, CredentialsAreThoseOfThePatternThatFitsBest) {
  const auto answer = parseProviderAnswer(answerWith(R"("cacheKeyType": "Registry", "cacheDuration": "6h0m0s",
    "auth": {"*.r.x": {"username": "AWS", "password": "all"},
             "a.r.x/shop": {"username": "AWS", "password": "shop"}})"));
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->keyType, CacheKeyType::registry);
  EXPECT_EQ(answer->cacheDuration, 6h);
  EXPECT_EQ(answer->credentialsFor(image("a.r.x/shop/checkout:1"))->password, "shop");
  EXPECT_EQ(answer->credentialsFor(image("a.r.x/other:1"))->password, "all");
  EXPECT_EQ(answer->credentialsFor(image("b.r.x/other:1"))->username, "AWS");
  EXPECT_FALSE(answer->credentialsFor(image("r.x/other:1")));
}

TEST(ProviderProtocol, WithoutAuthItIsAGoodAnswerWithoutCredentials) {
  for (const auto* rest : {R"("cacheKeyType": "Image")", R"("cacheKeyType": "Image", "auth": null)",
                           R"("cacheKeyType": "Image", "auth": {})",
                           R"("cacheKeyType": "Image", "auth": {"r.x": {"username": "", "password": ""}})",
                           R"("cacheKeyType": "Image", "auth": {"no pattern": {"username": "a"}})"}) {
    const auto answer = parseProviderAnswer(answerWith(rest));
    ASSERT_TRUE(answer) << rest;
    EXPECT_FALSE(answer->credentialsFor(image("r.x/a:1"))) << rest;
    EXPECT_FALSE(answer->cacheDuration);
  }
}

TEST(ProviderProtocol, TheKeysAreImageRegistryAndEverything) {
  const auto one = image("r.x:5000/shop/checkout:1.8.3");
  EXPECT_EQ(cacheKeyOf(CacheKeyType::image, one), "r.x:5000/shop/checkout");
  EXPECT_EQ(cacheKeyOf(CacheKeyType::registry, one), "r.x:5000");
  EXPECT_EQ(cacheKeyOf(CacheKeyType::global, one), "");
}

TEST(ProviderProtocol, MalformedAnswersAreRefusedWithoutAQuotation) {
  const std::string secret = "hunter2";
  for (const auto& text :
       {std::string(), secret, "[\"" + secret + "\"]", answerWith("\"auth\": \"" + secret + "\""),
        answerWith(R"("cacheKeyType": "hunter2")"),
        answerWith(R"("cacheKeyType": "Image", "auth": "hunter2")"),
        answerWith(R"("cacheKeyType": "Image", "auth": {"r.x": "hunter2"})"),
        answerWith(R"("cacheKeyType": "Image", "cacheDuration": "hunter2")"),
        answerWith(R"("cacheKeyType": "Image", "cacheDuration": 3600)"),
        answerWith(R"("cacheKeyType": "Image", "cacheDuration": "-1h")"),
        answerWith(R"("cacheKeyType": "Image")") + "}",
        std::string(R"({"kind": "hunter2", "apiVersion": "credentialprovider.kubelet.k8s.io/v1"})"),
        std::string(R"({"kind": "CredentialProviderResponse", "apiVersion": "hunter2"})"),
        std::string(100'000, '[')}) {
    const auto answer = parseProviderAnswer(text);
    ASSERT_FALSE(answer) << text;
    EXPECT_EQ(answer.error().reason, Reason::protocol);
    EXPECT_EQ(answer.error().message().find(secret), std::string::npos) << answer.error().message();
  }
}

}  // namespace
}  // namespace fallbackd::watcher
