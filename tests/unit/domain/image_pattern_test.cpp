// SPDX-License-Identifier: Apache-2.0
// The rules of kubelet's matchImages; most cases come from its documentation.
#include "domain/image_pattern.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd {
namespace {

bool matches(const std::string& pattern, const std::string& image) {
  return ImagePattern::parse(pattern)->matches(*ImageReference::parse(image));
}

std::string bestOf(const std::vector<std::string>& texts, const std::string& image) {
  std::vector<ImagePattern> patterns;
  for (const auto& text : texts) patterns.push_back(*ImagePattern::parse(text));
  const auto best = bestMatch(patterns, *ImageReference::parse(image));
  return best ? texts[*best] : "none";
}

TEST(ImagePattern, AStarMatchesOnePartOfTheHost) {
  EXPECT_TRUE(matches("123456789.dkr.ecr.us-east-1.amazonaws.com",
                      "123456789.dkr.ecr.us-east-1.amazonaws.com/shop/checkout:1"));
  EXPECT_TRUE(matches("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/a"));
  EXPECT_TRUE(matches("*.azurecr.io", "shop.azurecr.io/a"));
  EXPECT_TRUE(matches("app*.k8s.io", "app-1.k8s.io/a"));
  EXPECT_TRUE(matches("k8s.*", "k8s.io/a"));
  EXPECT_TRUE(matches("*.*.registry.io", "a.b.registry.io/a"));
  EXPECT_FALSE(matches("*.io", "a.k8s.io/a")) << "one star, one part";
  EXPECT_FALSE(matches("*.registry.io", "registry.io/a"));
  EXPECT_FALSE(matches("*.azurecr.io", "azurecr.io.evil.example/a"));
  EXPECT_FALSE(matches("gcr.io", "eu.gcr.io/a"));
}

TEST(ImagePattern, ThePortMustMatchOrBeAbsentInBoth) {
  EXPECT_TRUE(matches("registry.io:8080/path", "registry.io:8080/path/a"));
  EXPECT_FALSE(matches("registry.io", "registry.io:8080/a"));
  EXPECT_FALSE(matches("registry.io:8080", "registry.io/a"));
  EXPECT_FALSE(matches("registry.io:808*", "registry.io:8080/a")) << "no stars in ports";
  EXPECT_TRUE(matches("[::1]:5000", "[::1]:5000/a"));
  EXPECT_FALSE(matches("[::1]:5000", "[::2]:5000/a"));
  EXPECT_FALSE(matches("[::1]", "[::1]:5000/a"));
}

TEST(ImagePattern, ThePathIsAPrefix) {
  EXPECT_TRUE(matches("r.io/shop", "r.io/shop/checkout"));
  EXPECT_TRUE(matches("r.io/shop", "r.io/shopping/checkout")) << "kubelet does the same";
  EXPECT_FALSE(matches("r.io/shop/", "r.io/shopping/checkout"));
  EXPECT_FALSE(matches("r.io/shop/checkout/a", "r.io/shop/checkout"));
  EXPECT_FALSE(matches("r.io/*", "r.io/shop")) << "no stars in paths";
}

TEST(ImagePattern, DockerHubHasOneName) {
  for (const std::string pattern : {"docker.io", "index.docker.io", "https://index.docker.io/v1/",
                                    "registry-1.docker.io", "docker.io/library"}) {
    for (const std::string image : {"nginx", "docker.io/nginx", "index.docker.io/library/nginx:1"}) {
      EXPECT_TRUE(matches(pattern, image)) << pattern << " " << image;
    }
  }
  EXPECT_FALSE(matches("docker.io/shop", "nginx"));
}

TEST(ImagePattern, TheMostSpecificIsTheBest) {
  EXPECT_EQ(bestOf({"r.io", "r.io/shop", "r.io/shop/checkout"}, "r.io/shop/cart"), "r.io/shop");
  EXPECT_EQ(bestOf({"r.io/shop", "r.io"}, "r.io/shopping/a"), "r.io")
      << "a whole path component is more specific";
  EXPECT_EQ(bestOf({"r.io/shop"}, "r.io/shopping/a"), "r.io/shop");
  EXPECT_EQ(bestOf({"*.io", "r.io"}, "r.io/a"), "r.io");
  EXPECT_EQ(bestOf({"*.io/a", "r.io"}, "r.io/a"), "*.io/a");
  EXPECT_EQ(bestOf({"x.io"}, "r.io/a"), "none");
}

TEST(ImagePattern, InvalidHostsAreRefused) {
  for (const std::string text : {"", "/a", "https://", "r .io", "r?.io", "user@r.io", "r.io\n"}) {
    const auto pattern = ImagePattern::parse(text);
    ASSERT_FALSE(pattern) << text;
    EXPECT_EQ(pattern.error().reason, Reason::invalid);
  }
  EXPECT_FALSE(ImagePattern::parse(std::string(2000, 'a')));
}

}  // namespace
}  // namespace fallbackd
