// SPDX-License-Identifier: Apache-2.0
#include "watcher/credentials.hpp"

#include "temp_folder.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

const ImageReference kImage = *ImageReference::parse("r.x/a");

std::string passwordFor(const std::string& auths, const std::string& reference) {
  const auto found = parseCredentials("{\"auths\":" + auths + "}", *ImageReference::parse(reference), "f");
  return found && *found ? (*found)->password : "none";
}

TEST(Credentials, TheHostDecides) {
  const std::string auths =
      R"({"r.x": {"password": "1"}, "r.x:5000": {"password": "2"}, "https://index.docker.io/v1/": {"password": "3"}})";
  EXPECT_EQ(passwordFor(auths, "r.x/a:1"), "1");
  EXPECT_EQ(passwordFor(auths, "r.x:5000/a:1"), "2");
  EXPECT_EQ(passwordFor(auths, "nginx"), "3");
  EXPECT_EQ(passwordFor(auths, "r.xx/a:1"), "none");
}

TEST(Credentials, TheLongestPathWins) {
  const std::string auths = R"({"r.x": {"password": "1"}, "r.x/shop": {"password": "2"}})";
  EXPECT_EQ(passwordFor(auths, "r.x/shop/a:1"), "2");
  EXPECT_EQ(passwordFor(auths, "r.x/shopping/a:1"), "1");
  EXPECT_EQ(passwordFor(R"({"r.x/shop": {"password": "2"}})", "r.x/a:1"), "none");
}

TEST(Credentials, AnotherPortIsAnotherRegistry) {
  EXPECT_EQ(passwordFor(R"({"r.x": {"password": "1"}})", "r.x:5000/a:1"), "none");
}

TEST(Credentials, TokensAreReadToo) {
  const auto found = parseCredentials(
      R"({"auths": {"r.x": {"auth": "dTpw", "identitytoken": "i", "registrytoken": "t"}}})", kImage, "f");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->auth, "dTpw");
  EXPECT_EQ((*found)->identityToken, "i");
  EXPECT_EQ((*found)->registryToken, "t");
}

TEST(Credentials, DockerHubHasOneName) {
  for (const std::string key : {"docker.io", "index.docker.io", "https://index.docker.io/v1/",
                                "https://registry-1.docker.io/v2/", "index.docker.io/library"}) {
    for (const std::string image : {"nginx", "docker.io/nginx:1", "index.docker.io/library/nginx"}) {
      EXPECT_EQ(passwordFor("{\"" + key + R"(": {"password": "1"}})", image), "1") << key << " " << image;
    }
  }
}

TEST(Credentials, AStarInTheHostIsKubeletsStar) {
  const std::string auths =
      R"({"*.x": {"password": "1"}, "r.x": {"password": "2"}, "*.*.x": {"password": "3"}})";
  EXPECT_EQ(passwordFor(auths, "q.x/a:1"), "1");
  EXPECT_EQ(passwordFor(auths, "r.x/a:1"), "2");
  EXPECT_EQ(passwordFor(auths, "a.r.x/a:1"), "3");
}

TEST(Credentials, AnEmptyEntryIsNotAPassword) {
  EXPECT_EQ(passwordFor(R"({"r.x": {}})", "r.x/a:1"), "none");
  EXPECT_EQ(passwordFor(R"({"r.x": "p"})", "r.x/a:1"), "none");
}

TEST(Credentials, DockersCredentialHelpersAreRefusedWithAReason) {
  for (const auto* text :
       {R"({"auths": {"r.x": {}}, "credsStore": "desktop"})", R"({"credsStore": "desktop"})",
        R"({"auths": {}, "credHelpers": {"r.x": "ecr-login"}})",
        R"({"auths": {"r.x": {"password": "p"}}, "credHelpers": {"r.x": "ecr-login"}})"}) {
    const auto found = parseCredentials(text, kImage, "/etc/f");
    ASSERT_FALSE(found) << text;
    EXPECT_EQ(found.error().reason, Reason::invalid);
    EXPECT_NE(found.error().message().find("helper program of Docker"), std::string::npos);
  }
  const auto ofOthers = parseCredentials(
      R"({"auths": {"r.x": {"password": "p"}}, "credsStore": "d", "credHelpers": {"q.x": "e"}})", kImage,
      "f");
  ASSERT_TRUE(ofOthers && *ofOthers) << "credentials in the file need no helper";
  EXPECT_EQ((*ofOthers)->password, "p");
}

TEST(Credentials, ABadFileIsNamedAndItsContentIsNot) {
  for (const auto* text : {"", "{", "[]", "{\"auths\": \"secret\"}", "{\"auth\": \"secret\"}"}) {
    const auto found = parseCredentials(text, kImage, "/etc/f");
    ASSERT_FALSE(found) << text;
    EXPECT_NE(found.error().message().find("/etc/f"), std::string::npos);
    EXPECT_EQ(found.error().message().find("secret"), std::string::npos);
  }
}

TEST(Credentials, AChangedFileCountsAtOnce) {
  const test::TempFolder folder;
  const auto file = folder.write("auth.json", R"({"auths": {"r.x": {"password": "1"}}})");
  EXPECT_EQ((*readCredentials(file, kImage))->password, "1");
  folder.write("auth.json", R"({"auths": {"r.x": {"password": "2"}}})");
  EXPECT_EQ((*readCredentials(file, kImage))->password, "2");
  EXPECT_EQ(readCredentials(folder.path() + "/no", kImage).error().reason, Reason::not_found);
}

}  // namespace
}  // namespace fallbackd::watcher
