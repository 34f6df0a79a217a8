// SPDX-License-Identifier: Apache-2.0
// The description of the configuration is complete and matches the generated files for editors and people.
#include "config/description.hpp"

#include "content_of.hpp"

#include <fstream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

using test::contentOf;
using testing::HasSubstr;

void collect(const Description& node, const std::string& path, std::set<std::string>& paths) {
  for (const auto& child : node.below) {
    const auto where = node.kind == Description::Kind::list      ? path + "[]"
                       : node.kind == Description::Kind::entries ? path + ".*"
                       : path.empty()                            ? child->key
                                                                 : path + "." + child->key;
    paths.insert(where);
    collect(*child, where, paths);
  }
}

TEST(DescriptionTest, EveryKeyHasAPurposeAndEveryPurposeAKey) {
  const auto root = describeConfiguration();
  std::set<std::string> paths;
  collect(root, "", paths);
  EXPECT_GT(paths.size(), 60U);
  for (const auto& path : paths) EXPECT_NE(purposeOf(path), "") << "purposes.cpp lacks " << path;
  for (const auto& path : purposes()) EXPECT_TRUE(paths.contains(path)) << "purposes.cpp: no key " << path;
}

TEST(DescriptionTest, HasTheLimitsAndDefaultsOfTheReadingCode) {
  const auto text = referenceText(describeConfiguration());
  EXPECT_THAT(text, HasSubstr("| `cache.threshold` | number, 1 to 16 | `1` |"));
  EXPECT_THAT(text, HasSubstr("| `cache.memoryBudget` | bytes | `512Mi` |"));
  EXPECT_THAT(text, HasSubstr("| `detection.stallTimeout` | duration | `1s` |"));
  EXPECT_THAT(text, HasSubstr("| `telemetry.logFormat` | `human`, `json` | `human` |"));
  EXPECT_THAT(text, HasSubstr("| `workloads[].match.container` | string | required,"));
}

/// To regenerate: fallbackctl describe-config --format schema > config/fallbackd.schema.json, and so on.
TEST(DescriptionTest, TheGeneratedFilesAreUpToDate) {
  const auto root = describeConfiguration();
  EXPECT_EQ(contentOf(CONFIG_FOLDER "/fallbackd.schema.json"), schemaText(root));
  EXPECT_EQ(contentOf(CONFIG_FOLDER "/reference.md"), referenceText(root));
}

}  // namespace
}  // namespace fallbackd::config
