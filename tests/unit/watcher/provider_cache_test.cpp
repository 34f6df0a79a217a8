// SPDX-License-Identifier: Apache-2.0
#include "watcher/provider_cache.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;

ImageReference parsed(const std::string& text) {
  return *ImageReference::parse(text);
}

struct ProviderCacheTest : testing::Test {
  void add(CacheKeyType type, const std::string& about, std::optional<std::chrono::nanoseconds> duration,
           std::chrono::nanoseconds otherwise = 0s) {
    auto answer = std::make_shared<ProviderAnswer>();
    answer->keyType = type;
    answer->cacheDuration = duration;
    cache.add("p", parsed(about), answer, otherwise, now);
    latest = answer;
  }
  [[nodiscard]] ProviderCache::Answer find(const std::string& about,
                                           const std::string& provider = "p") const {
    return cache.find(provider, parsed(about), now);
  }
  ProviderCache cache;
  ProviderCache::Answer latest;
  Stamp now{1000s};
};

TEST_F(ProviderCacheTest, AnImageIsItsRepository) {
  add(CacheKeyType::image, "r.x/a:1", 1h);
  EXPECT_EQ(find("r.x/a:2"), latest);
  EXPECT_EQ(find("r.x/b:1"), nullptr);
  EXPECT_EQ(find("r.x/a:1", "q"), nullptr) << "a different provider's answer";
}

TEST_F(ProviderCacheTest, ARegistryIsItsHostWithPort) {
  add(CacheKeyType::registry, "r.x:5000/a:1", 1h);
  EXPECT_EQ(find("r.x:5000/b:1"), latest);
  EXPECT_EQ(find("r.x/b:1"), nullptr);
}

TEST_F(ProviderCacheTest, GlobalIsEverything) {
  add(CacheKeyType::global, "r.x/a:1", 1h);
  EXPECT_EQ(find("other.x/b:1"), latest);
}

TEST_F(ProviderCacheTest, TheNarrowestGoesFirst) {
  add(CacheKeyType::global, "r.x/a:1", 1h);
  add(CacheKeyType::registry, "r.x/a:1", 1h);
  const auto ofRegistry = latest;
  add(CacheKeyType::image, "r.x/a:1", 1h);
  EXPECT_EQ(find("r.x/a:1"), latest);
  EXPECT_EQ(find("r.x/b:1"), ofRegistry);
}

TEST_F(ProviderCacheTest, AnAnswerHoldsAsLongAsItSaysElseByDefault) {
  add(CacheKeyType::image, "r.x/a:1", 1h, 24h);
  now += 1h - 1ns;
  EXPECT_NE(find("r.x/a:1"), nullptr);
  now += 1ns;
  EXPECT_EQ(find("r.x/a:1"), nullptr);
  add(CacheKeyType::image, "r.x/a:1", {}, 2h);
  now += 2h - 1ns;
  EXPECT_NE(find("r.x/a:1"), nullptr);
  now += 1ns;
  EXPECT_EQ(find("r.x/a:1"), nullptr);
}

TEST_F(ProviderCacheTest, ZeroKeepsNothing) {
  add(CacheKeyType::image, "r.x/a:1", 0s, 24h);
  add(CacheKeyType::image, "r.x/b:1", {}, 0s);
  EXPECT_EQ(cache.size(), 0U);
}

TEST_F(ProviderCacheTest, IsBounded) {
  add(CacheKeyType::image, "r.x/short:1", 1min);
  for (std::size_t i = 0; i < 2 * ProviderCache::kMaxAnswers; ++i) {
    add(CacheKeyType::image, "r.x/a" + std::to_string(i) + ":1", 1h + std::chrono::seconds(i));
  }
  EXPECT_EQ(cache.size(), ProviderCache::kMaxAnswers);
  EXPECT_EQ(find("r.x/short:1"), nullptr) << "the answer that expires first is dropped first";
  EXPECT_EQ(find("r.x/a" + std::to_string(2 * ProviderCache::kMaxAnswers - 1) + ":1"), latest);
}

}  // namespace
}  // namespace fallbackd::watcher
