// SPDX-License-Identifier: Apache-2.0
#include "coverage/manifests.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::coverage {
namespace {

using testing::HasSubstr;

struct Read {
  std::vector<std::string> objects;
  std::string problems;
};
Read read(std::string_view text) {
  std::vector<Manifest> all;
  config::Problems problems;
  readManifests("in.yaml", text, all, problems);
  Read out;
  for (const auto& one : all) out.objects.push_back(boost::json::serialize(one.object));
  for (const auto& one : problems.take()) out.problems += one.toString() + "\n";
  return out;
}

TEST(Manifests, ScalarsHaveTheTypesThatKubernetesGivesThem) {
  const auto all = read(
      "kind: A\na: 5\nb: \"5\"\nc: true\nd: 'true'\ne: ~\nf: 1.5\ng: 1.8.3\nh: -3\ni: yes\n"
      "j: 0x10\nk: |\n  5\nl: 64Mi\nm: 1e3\nn: .\no: n\n");
  ASSERT_EQ(all.objects.size(), 1U) << all.problems;
  EXPECT_EQ(boost::json::parse(all.objects[0]),
            boost::json::parse(R"({"kind":"A","a":5,"b":"5","c":true,"d":"true","e":null,"f":1.5,"g":"1.8.3",
            "h":-3,"i":true,"j":16,"k":"5\n","l":"64Mi","m":1000.0,"n":".","o":"n"})"))
      << all.objects[0];
}

TEST(Manifests, SeveralDocumentsListsAndJson) {
  const auto all =
      read("---\n# only a comment\n---\nkind: A\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n...\n");
  EXPECT_EQ(all.objects, (std::vector<std::string>{R"({"kind":"A"})", R"({"kind":"B"})", R"({"kind":"C"})"}))
      << all.problems;
  EXPECT_EQ(read(R"({"kind": "PodList", "items": [{"kind": "A"}]})").objects,
            (std::vector<std::string>{R"({"kind":"A"})"}));
  EXPECT_EQ(read("{kind: A}").objects.size(), 1U) << "YAML may also begin with a brace";
  EXPECT_TRUE(read("").objects.empty());
}

TEST(Manifests, AnchorsAliasesAndMergeKeys) {
  const auto all = read("kind: A\na: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3}\n");
  ASSERT_EQ(all.objects.size(), 1U) << all.problems;
  EXPECT_EQ(boost::json::parse(all.objects[0]).at("d"), boost::json::parse(R"({"b":1,"c":2})"));
  EXPECT_EQ(boost::json::parse(all.objects[0]).at("e"), boost::json::parse(R"({"b":1,"c":3})"));
}

TEST(Manifests, ErrorsHaveTheirPosition) {
  EXPECT_THAT(read("kind: A\nkind: B\n").problems, HasSubstr("in.yaml:2"));
  EXPECT_THAT(read("kind: A\n---\n- 1\n").problems, HasSubstr("in.yaml:3:1: is not a Kubernetes object"));
  EXPECT_THAT(read("a: [").problems, HasSubstr("malformed YAML"));
  EXPECT_THAT(read("a: \"b\nc: d\n").problems, HasSubstr("never closed"));
  EXPECT_THAT(read("a: &x [*x]\n").problems, HasSubstr("in.yaml:1"));
}

TEST(Manifests, AliasesCannotMakeASmallTextHuge) {
  std::string text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 12; ++i) {
    const auto before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 0; j < 9; ++j) text += ", " + before;
    text += "]\n";
  }
  EXPECT_THAT(read(text).problems, HasSubstr("values"));
}

}  // namespace
}  // namespace fallbackd::coverage
