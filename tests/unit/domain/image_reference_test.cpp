// SPDX-License-Identifier: Apache-2.0
// containerd's rules for image references; most cases come from its own tests.
#include "domain/image_reference.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using testing::HasSubstr;

const std::string kHex64(64, 'f');
const std::string kDigest = "sha256:" + kHex64;

std::string stored(const std::string& text) {
  const auto reference = ImageReference::parse(text);
  return reference ? reference->toString() : reference.error().context;
}

std::string partsOf(const std::string& text) {
  const auto one = ImageReference::parse(text);
  return one ? one->host() + " " + one->path() + " " + one->tag() + " " + one->digest() : "refused";
}

TEST(ImageReference, HasTheNameUnderWhichContainerdStoresIt) {
  const std::vector<std::pair<std::string, std::string>> names{
      {"nginx", "docker.io/library/nginx:latest"},
      {"nginx:1.25", "docker.io/library/nginx:1.25"},
      {"shop/checkout:1.8.3", "docker.io/shop/checkout:1.8.3"},
      {"docker.io/nginx", "docker.io/library/nginx:latest"},
      {"index.docker.io/nginx", "docker.io/library/nginx:latest"},
      {"index.docker.io/shop/checkout", "docker.io/shop/checkout:latest"},
      {"127.0.0.1:5000/shop/checkout", "127.0.0.1:5000/shop/checkout:latest"},
      {"r.example.com/a@" + kDigest, "r.example.com/a@" + kDigest},
      {"r.example.com/a:1@" + kDigest, "r.example.com/a@" + kDigest},
      {"nginx@" + kDigest, "docker.io/library/nginx@" + kDigest},
      {"sha256:" + kHex64, "docker.io/library/sha256:" + kHex64},  // containerd reads it as a tag
  };
  for (const auto& [text, name] : names) EXPECT_EQ(stored(text), name) << text;
}

TEST(ImageReference, TextsWithTheSameStoredNameAreTheSameImage) {
  for (const std::string text :
       {"nginx:latest", "docker.io/nginx", "index.docker.io/nginx", "docker.io/library/nginx"}) {
    EXPECT_TRUE(sameImage("nginx", text)) << text;
  }
  EXPECT_TRUE(sameImage("r.x/a:1@" + kDigest, "r.x/a@" + kDigest))
      << "containerd drops a tag beside a digest";
  EXPECT_TRUE(sameImage("r.x/a:1@" + kDigest, "r.x/a:2@" + kDigest));
  EXPECT_FALSE(sameImage("r.x/a:1", "r.x/a:2"));
  EXPECT_FALSE(sameImage("r.x/a:1", "r.x/a:1@" + kDigest));
  EXPECT_FALSE(sameImage("r.x/a", "r.x:443/a"));
  EXPECT_FALSE(sameImage("r.x/A", "r.x/A")) << "neither is valid";
  EXPECT_EQ(ImageReference::parse("r.x/a:1@" + kDigest)->tag(), "1") << "the version needs it";
}

TEST(ImageReference, TheFirstPartIsAHostIfItHasADotAColonCapitalsOrIsLocalhost) {
  EXPECT_EQ(partsOf("localhost/a:1"), "localhost a 1 ");
  EXPECT_EQ(partsOf("localhosts/a:1"), "docker.io localhosts/a 1 ");
  EXPECT_EQ(partsOf("r:5000/a/b:1"), "r:5000 a/b 1 ");
  EXPECT_EQ(partsOf("r.example/a"), "r.example a latest ");
  EXPECT_EQ(partsOf("REGISTRY/a/b"), "REGISTRY a/b latest ");
  EXPECT_EQ(partsOf("192.168.1.1/repo"), "192.168.1.1 repo latest ");
  EXPECT_EQ(partsOf("192.168.1.1:5000"), "docker.io library/192.168.1.1 5000 ") << "a single part is a path";
  EXPECT_EQ(partsOf("foo_bar.com/a"), "foo_bar.com a latest ") << "containerd accepts it";
  EXPECT_EQ(partsOf("[2001:db8::1]:5000/repo:tag@" + kDigest), "[2001:db8::1]:5000 repo tag " + kDigest);
  EXPECT_EQ(partsOf("[::1]/repo"), "[::1] repo latest ");
  EXPECT_EQ(partsOf("docker.io:443/a"), "docker.io:443 a latest ") << "Docker Hub has no port";
}

TEST(ImageReference, AcceptsWhatTheDistributionProjectAccepts) {
  for (const std::string text :
       {"docker/docker", "library/debian", "LOCALDOMAIN/library/debian", "127.0.0.1:5000/docker/docker",
        "192.168.0.1:80", "[fc00:1:2:3:4:5:6:7]:5000/library/debian", "Docker/docker",
        "docker---rules/docker", "dock__er/docker", "d/docker", "sub-dom1.foo.com/bar/baz/quux:some-long-tag",
        "xn--n3h.com/myimage:xn--n3h.com", "b.gcr.io/test.example.com/my-app:test.example.com",
        "lowercase:Uppercase", "a:_x.-"}) {
    EXPECT_TRUE(ImageReference::parse(text)) << stored(text);
  }
  EXPECT_TRUE(ImageReference::parse("docker.io/" + kHex64)) << "it is an id only without a host";
  EXPECT_TRUE(ImageReference::parse("r.x/" + std::string(255, 'a')));
  EXPECT_TRUE(ImageReference::parse("r.x/a:" + std::string(128, 't')));
  EXPECT_TRUE(ImageReference::parse("a@sha384:" + std::string(96, '0')));
  EXPECT_TRUE(ImageReference::parse("a@sha512:" + std::string(128, '0')));
}

TEST(ImageReference, ARefusalHasAReasonAndAdvice) {
  const std::vector<std::pair<std::string, std::string>> refused{
      {"", "it is empty (write HOST/PATH:TAG)"},
      {"https://r/a", "leave out the scheme"},
      {kHex64, "the id of an image"},
      {"r/a:1:2", "its tag \"1:2\" is not valid"},
      {"r/a:", "its tag \"\" is not valid"},
      {"r/a:-x", "the first neither . nor -"},
      {"r/a:" + std::string(129, 't'), "at most 128"},
      {"@sha256:zz", "the repository \"\" is not valid"},
      {"r/a@sha256:zz", "write sha256: and 64 lower-case hexadecimal digits"},
      {"r/a@sha256:" + std::string(64, 'F'), "64 lower-case"},
      {"r/a@sha256:" + std::string(63, 'f'), "64 lower-case"},
      {"r/a@md5:" + std::string(32, 'f'), "its digest"},
      {"r/a@" + kDigest + "@" + kDigest, "its digest"},
      {"r.x/Shop/a", "the repository \"Shop/a\" must be lower case (write \"shop/a\")"},
      {"Uppercase:tag", "(write \"uppercase\")"},
      {"r.x/" + std::string(256, 'a'), "longer than 255"},
      {std::string(5000, 'a'), "5000 characters"},
      {":justtag", "the repository"},
      {"r.x/", "the repository"},
      {"a//b", "the repository"},
      {"-a/b", "the repository"},
      {"a_-b", "the repository"},
      {"a..b/c", "its host"},
      {"-a.x/b", "its host"},
      {"r:/a", "its host"},
      {"r:50x/a", "its host"},
      {"my_registry.x:5000/a", "its host"},
      {"[fe80::1%eth0]:5000/a", "its host"},
      {"[::1", "the repository"},
      {"[::1:5000/a", "its host"},
      {"fc00::1:5000/a", "its host"},
      {"[2001:db8::1]", "the repository"},
      {"a b", "the repository"},
      {"r.x/a\n: connection refused", "the repository"},
      {"r.x/a:1 connect: connection refused", "its tag"},
      {std::string("r.x/a\0b", 7), "the repository"},
      {"caf\xc3\xa9", "the repository"},
  };
  for (const auto& [text, words] : refused) {
    const auto reference = ImageReference::parse(text);
    ASSERT_FALSE(reference) << text;
    EXPECT_EQ(reference.error().reason, Reason::invalid);
    EXPECT_THAT(reference.error().context, HasSubstr(words));
    EXPECT_LT(reference.error().context.size(), 500U) << "the message must not be as long as the input";
  }
}

TEST(ImageReference, TheHostNameHasNeitherPortNorBrackets) {
  EXPECT_EQ(ImageReference::parse("r.x:5000/a")->hostName(), "r.x");
  EXPECT_EQ(ImageReference::parse("[::1]:5000/a")->hostName(), "::1");
  EXPECT_EQ(ImageReference::parse("[::1]/a")->hostName(), "::1");
  EXPECT_EQ(ImageReference::parse("a")->hostName(), "docker.io");
}

TEST(ImageReference, IsBelowAFolderAndNotBesideIt) {
  const auto reference = ImageReference::parse("r.x/shop/checkout:1");
  ASSERT_TRUE(reference);
  EXPECT_TRUE(reference->isBelow("shop"));
  EXPECT_TRUE(reference->isBelow("shop/checkout"));
  EXPECT_FALSE(reference->isBelow("sho"));
  EXPECT_FALSE(reference->isBelow("shop/check"));
  EXPECT_FALSE(reference->isBelow("shop/checkout/x"));
  EXPECT_FALSE(reference->isBelow("checkout"));
}

TEST(RegistryHost, IsAHostWithoutSchemeAndPath) {
  for (const std::string host :
       {"r.example.com", "r.example.com:5000", "localhost", "r", "[::1]:5000", "docker.io"}) {
    const auto parsed = parseRegistryHost(host);
    ASSERT_TRUE(parsed) << host;
    EXPECT_EQ(*parsed, host);
  }
  EXPECT_EQ(*parseRegistryHost("index.docker.io"), "docker.io");
  for (const std::string text : {"", "https://r", "r/shop", "r:", "r:x", "::1", "a b", "-r.x"}) {
    EXPECT_FALSE(parseRegistryHost(text)) << text;
  }
}

}  // namespace
}  // namespace fallbackd
