// SPDX-License-Identifier: Apache-2.0
#include "watcher/progress.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using Contents = std::vector<cri::Content>;
using Ingests = std::vector<cri::Ingest>;

const Contents kManifestOfOurs{{"sha256:m", "shop/app", {"sha256:config", "sha256:layer"}}};

TEST(Progress, NothingNewIsNotProgress) {
  Progress progress("shop/app");
  EXPECT_FALSE(progress.look({}, {}));
  EXPECT_FALSE(progress.look({}, {}));
  EXPECT_FALSE(progress.storing());
}

TEST(Progress, WhatWasThereBeforeIsNotProgress) {
  Progress progress("shop/app");
  EXPECT_FALSE(progress.look(kManifestOfOurs, {{"layer-sha256:layer", 500, 1000}}));
  EXPECT_FALSE(progress.look(kManifestOfOurs, {{"layer-sha256:layer", 500, 1000}}));
}

TEST(Progress, GrowthEndAndNewContentOfOursAreProgress) {
  Progress progress("shop/app");
  progress.look(kManifestOfOurs, {{"layer-sha256:layer", 500, 1000}});
  EXPECT_TRUE(progress.look(kManifestOfOurs, {{"layer-sha256:layer", 501, 1000}}));
  EXPECT_TRUE(progress.look(kManifestOfOurs, {}));
  Contents more = kManifestOfOurs;
  more.push_back({"sha256:layer", "shop/app,shop/other", {}});
  EXPECT_TRUE(progress.look(more, {}));
  EXPECT_FALSE(progress.look(more, {}));
  EXPECT_TRUE(progress.storing());
}

TEST(Progress, TheAnswerThatNamesTheManifestIsProgress) {
  Progress progress("shop/app");
  progress.look({}, {{"manifest-sha256:old", 0, 500}});
  EXPECT_TRUE(progress.look({}, {{"manifest-sha256:old", 0, 500}, {"manifest-sha256:m", 0, 500}}));
  EXPECT_FALSE(progress.look({}, {{"manifest-sha256:old", 0, 500}, {"manifest-sha256:m", 0, 500}}))
      << "a registry that falls silent behind the first answer";
}

TEST(Progress, AManifestThatWasAnothersHidesNothingOnceItIsThere) {
  Progress progress("shop/app");
  const Contents olderImageOfOurs = kManifestOfOurs;
  progress.look(olderImageOfOurs, {});
  EXPECT_TRUE(progress.look(olderImageOfOurs, {{"manifest-sha256:x", 0, 500}})) << "it might be ours";
  EXPECT_TRUE(progress.look(olderImageOfOurs, {}));
  EXPECT_FALSE(progress.look(olderImageOfOurs, {}));
  EXPECT_FALSE(progress.storing());
}

TEST(Progress, OnlyWhatComesForUsIsDelivered) {
  Progress ours("shop/app");
  ours.look(kManifestOfOurs, {{"layer-sha256:layer", 0, 1000}});
  EXPECT_FALSE(ours.delivered());
  ours.look(kManifestOfOurs, {{"layer-sha256:layer", 500, 1000}});
  EXPECT_TRUE(ours.delivered());

  // An ingest of another pull, or a leftover, of a layer that turns out to be ours, too.
  Progress foreign("shop/app");
  foreign.look({}, {{"layer-sha256:layer", 500, 1000}});
  foreign.look(kManifestOfOurs, {{"layer-sha256:layer", 500, 1000}});
  foreign.look(kManifestOfOurs, {{"layer-sha256:layer", 600, 1000}});
  EXPECT_FALSE(foreign.delivered());
}

TEST(Progress, LayersOfOthersAreNotProgress) {
  const Contents others{{"sha256:x", "shop/other", {"sha256:1"}}};
  Progress progress("shop/app");
  progress.look(others, {{"layer-sha256:1", 1, 10}});
  EXPECT_FALSE(progress.look(others, {{"layer-sha256:1", 2, 10}, {"layer-sha256:2", 5, 10}}));
  EXPECT_FALSE(progress.look(others, {}));
}

TEST(Progress, ALayerThatHasNotBegunIsWaitedFor) {
  Progress progress("shop/app");
  progress.look({}, {});
  EXPECT_TRUE(progress.look(kManifestOfOurs, {{"layer-sha256:layer", 0, 0}}));
  EXPECT_FALSE(progress.look(kManifestOfOurs, {{"layer-sha256:layer", 0, 0}}));
  EXPECT_FALSE(progress.storing());
  EXPECT_TRUE(progress.downloading());
  EXPECT_TRUE(progress.look(kManifestOfOurs, {}));
  EXPECT_FALSE(progress.downloading());
}

}  // namespace
}  // namespace fallbackd::watcher
