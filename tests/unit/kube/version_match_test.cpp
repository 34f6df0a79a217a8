// SPDX-License-Identifier: Apache-2.0
// Pods that want 1.8.3, 1.8.4, latest, a digest or no tag, and caches that have some of these versions.
#include "kube/version_match.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using Kind = VersionVerdict::Kind;
using ::testing::HasSubstr;

const std::string kDigest = "@sha256:" + std::string(64, 'a');

WantedVersion wanted(const std::string& image, const VersionRule& rule = {}) {
  Pod pod;
  pod.labels = {{"app.kubernetes.io/version", "v1.8.4"}, {"track", "stable"}};
  pod.annotations = {{"shop.example.com/version", "1.8.3"}};
  return wantedVersion(pod, image, rule);
}

TEST(WantedVersion, IsTheTagUnlessTheRuleNamesSomethingElse) {
  EXPECT_EQ(wanted("r.example.com/checkout:1.8.3").version, "1.8.3");
  EXPECT_EQ(wanted("r.example.com/checkout:v1.8.3").version, "1.8.3");
  EXPECT_EQ(wanted("checkout:1.8.3" + kDigest).version, "1.8.3") << "people read the tag";
  EXPECT_EQ(wanted("r.example.com:5000/checkout:1.8.3-rc.1").version, "1.8.3-rc.1");
  const std::vector<std::pair<std::string, const char*>> none{
      {"checkout:latest", "latest, or none"},
      {"checkout", "latest, or none"},
      {"checkout" + kDigest, "digest alone"},
      {"checkout:stable", "\"stable\" is not a version"},
      {"checkout:main-1a2b3c", "not a version"},
      {"NOT AN IMAGE", ""},
      {"r.example.com:5000/checkout", "latest, or none"}};
  for (const auto& [image, why] : none) {
    const auto said = wanted(image);
    EXPECT_FALSE(said.version) << image;
    EXPECT_THAT(said.why, HasSubstr(why)) << image;
    EXPECT_FALSE(said.why.empty());
  }
  EXPECT_EQ(wanted("checkout:1.0.0", {.label = "app.kubernetes.io/version"}).version, "1.8.4");
  EXPECT_EQ(wanted("checkout:1.0.0", {.annotation = "shop.example.com/version"}).version, "1.8.3");
  EXPECT_THAT(wanted("checkout:1.0.0", {.label = "track"}).why,
              HasSubstr("\"stable\", which is not a version"));
  const auto absent = wanted("checkout:1.0.0", {.annotation = "other"});
  EXPECT_FALSE(absent.version) << "the tag does not replace it";
  EXPECT_THAT(absent.why, HasSubstr("no annotation \"other\""));
}

TEST(VersionMatch, EachRuleOnEachPair) {
  struct Case {
    const char* image;
    const char* version;
    Kind exact, patch, none;
  };
  for (const auto& one :
       std::vector<Case>{{"c:1.8.3", "1.8.3", Kind::match, Kind::match, Kind::match},
                         {"c:v1.8.3", "1.8.3", Kind::match, Kind::match, Kind::match},
                         {"c:1.8.4", "1.8.3", Kind::no_binary, Kind::match, Kind::match},
                         {"c:1.8.3", "1.8.4", Kind::no_binary, Kind::match, Kind::match},
                         {"c:1.9.0", "1.8.3", Kind::no_binary, Kind::no_binary, Kind::match},
                         {"c:2.8.3", "1.8.3", Kind::no_binary, Kind::no_binary, Kind::match},
                         {"c:1.8", "1.8.3", Kind::no_binary, Kind::no_binary, Kind::match},
                         {"c:1.18.3", "1.8.3", Kind::no_binary, Kind::no_binary, Kind::match},
                         {"c:1.8.3-rc.1", "1.8.3", Kind::no_binary, Kind::no_binary, Kind::match},
                         {"c:1.8.3-rc.1", "1.8.3-rc.1", Kind::match, Kind::match, Kind::match},
                         {"c:1.8.3_b7", "1.8.3+b7", Kind::match, Kind::match, Kind::match},
                         {"c:1.8.3", "1.8.3+b7", Kind::no_binary, Kind::no_binary, Kind::match},
                         {"c:latest", "1.8.3", Kind::cannot_tell, Kind::cannot_tell, Kind::match},
                         {"c", "1.8.3", Kind::cannot_tell, Kind::cannot_tell, Kind::match},
                         {"c:stable", "1.8.3", Kind::cannot_tell, Kind::cannot_tell, Kind::match}}) {
    const auto want = wanted(one.image);
    const BinaryRef binary{"checkout", one.version};
    EXPECT_EQ(judgeVersion(want, binary, VersionMatch::exact).kind, one.exact) << one.image << one.version;
    EXPECT_EQ(judgeVersion(want, binary, VersionMatch::semver_patch).kind, one.patch)
        << one.image << one.version;
    EXPECT_EQ(judgeVersion(want, binary, VersionMatch::none).kind, one.none) << one.image << one.version;
  }
}

TEST(VersionMatch, DifferencesAreReported) {
  const BinaryRef binary{"checkout", "1.8.3"};
  EXPECT_EQ(judgeVersion(wanted("c:1.9.0"), binary, VersionMatch::exact).text,
            "no binary for checkout 1.9.0; there is 1.8.3");
  EXPECT_EQ(judgeVersion(wanted("c:1.8.3"), binary, VersionMatch::none).text, "");
  EXPECT_EQ(judgeVersion(wanted("c:1.8.4"), binary, VersionMatch::semver_patch).text,
            "checkout@1.8.3 for 1.8.4 (versionMatch: semver-patch)");
  EXPECT_THAT(judgeVersion(wanted("c"), binary, VersionMatch::none).text,
              HasSubstr("versionMatch: none; the image"));
  EXPECT_THAT(
      judgeVersion(wanted("c" + kDigest), binary, VersionMatch::exact).text,
      HasSubstr("cannot tell which version of checkout the pod wants: the image is named by its digest"));
}

/// The version that is chosen from `versions`, or the verdict.
std::string chosen(const std::string& image, const std::vector<std::string>& versions, VersionMatch match) {
  std::vector<BinaryRef> available{{"other", "9.9.9"}};
  for (const auto& version : versions) available.push_back({"checkout", version});
  const auto choice = chooseVersion(wanted(image), "checkout", available, match);
  EXPECT_EQ(choice.binary.has_value(), choice.verdict.kind == Kind::match);
  if (choice.binary) return choice.binary->version;
  return choice.verdict.kind == Kind::no_binary ? "no binary" : "cannot tell";
}

TEST(VersionMatch, TheBestOfWhatTheCacheHas) {
  const std::vector<std::string> both{"1.8.3", "1.8.4"};
  const std::vector<std::string> many{"1.8.5", "1.8.1", "1.8.10", "1.9.0", "1.8.2"};
  using enum VersionMatch;
  EXPECT_EQ(chosen("c:1.8.3", both, exact), "1.8.3");
  EXPECT_EQ(chosen("c:1.8.4", both, exact), "1.8.4");
  EXPECT_EQ(chosen("c:1.8.4", {"1.8.3"}, exact), "no binary");
  EXPECT_EQ(chosen("c:1.8.3", {}, exact), "no binary");
  EXPECT_EQ(chosen("c:latest", both, exact), "cannot tell");
  EXPECT_EQ(chosen("c:1.8.3", many, semver_patch), "1.8.5") << "the nearest later version";
  EXPECT_EQ(chosen("c:1.8.11", many, semver_patch), "1.8.10") << "the nearest earlier version";
  EXPECT_EQ(chosen("c:1.8.2", many, semver_patch), "1.8.2");
  EXPECT_EQ(chosen("c:1.7.0", many, semver_patch), "no binary");
  EXPECT_EQ(chosen("c:1.8.1", many, none), "1.8.1");
  EXPECT_EQ(chosen("c:3.0.0", many, none), "1.9.0");
  EXPECT_EQ(chosen("c:latest", many, none), "1.9.0");
  const auto empty = chooseVersion(wanted("c:1.9.0"), "checkout", {}, exact);
  EXPECT_EQ(empty.verdict.text, "no binary for checkout 1.9.0; there is none");
}

}  // namespace
}  // namespace fallbackd::kube
