// SPDX-License-Identifier: Apache-2.0
// What of the content store must be there for a pull to be completed from it.
#include "mirror/offer.hpp"

#include "fake_image_store.hpp"
#include "fake_runtime.hpp"

#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

using test::FakeImageStore;
using testing::HasSubstr;

constexpr const char* kName = "registry.example.com/shop/cart:1";
const Platform kPlatform{"linux", "amd64"};

class OfferTest : public testing::Test {
 protected:
  OfferTest() : parts(store.putImage("cart")) { store.name(kName, parts.manifest); }

  Result<Offer> offer(const std::string& text = kName) {
    return test::runToEnd(loop, offerOf(store, ImageReference::parse(text).value(), kPlatform));
  }
  std::string missing(const std::string& text = kName) {
    const auto got = offer(text);
    if (got) return "nothing is missing";
    EXPECT_EQ(got.error().reason, Reason::not_found);
    return got.error().context;
  }

  boost::asio::io_context loop;
  FakeImageStore store;
  FakeImageStore::Parts parts;
};

TEST_F(OfferTest, AnImageWithAllItsContentIsOffered) {
  const auto got = offer();
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->digest, parts.manifest);
  EXPECT_EQ(got->mediaType, FakeImageStore::kManifest);
  EXPECT_EQ(got->text, store.blobs[parts.manifest]);
  EXPECT_EQ(got->updatedAt, store.updatedAt);
}

TEST_F(OfferTest, ByItsDigestItIsOfferedUnderAnyName) {
  const auto got = offer("other.example.com/elsewhere@" + parts.manifest);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->digest, parts.manifest);
  EXPECT_FALSE(got->updatedAt);
}

TEST_F(OfferTest, AnotherTagOfTheSameImageIsNotOffered) {
  EXPECT_THAT(missing("registry.example.com/shop/cart:2"), HasSubstr("cart:2"));
}

TEST_F(OfferTest, LayersThatWereDiscardedAreNotNeededOnceTheyAreUnpacked) {
  store.blobs.erase(parts.layer);
  EXPECT_THAT(missing(), HasSubstr("layer " + parts.layer));
  store.unpack(parts);
  EXPECT_TRUE(offer());
}

TEST_F(OfferTest, ALabelWithoutItsSnapshotIsNotEnough) {
  store.blobs.erase(parts.layer);
  store.unpack(parts);
  store.snapshots.clear();
  EXPECT_THAT(missing(), HasSubstr("not unpacked"));
}

TEST_F(OfferTest, TheConfigurationIsNeededEvenIfTheLayersAreUnpacked) {
  store.unpack(parts);
  store.blobs.erase(parts.config);
  EXPECT_THAT(missing(), HasSubstr("configuration"));
}

TEST_F(OfferTest, OfAnIndexOnlyThisPlatformMatters) {
  const auto index = store.putIndex("amd64", parts.manifest, test::digestOf("not here"));
  store.name(kName, index, FakeImageStore::kIndex);
  const auto got = offer();
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->digest, index);
  EXPECT_EQ(got->mediaType, FakeImageStore::kIndex);
  store.blobs.erase(parts.manifest);
  EXPECT_THAT(missing(), HasSubstr(parts.manifest));
}

TEST_F(OfferTest, AnIndexWithoutThisPlatformIsNotOffered) {
  store.name(kName, store.putIndex("arm64", parts.manifest, parts.manifest), FakeImageStore::kIndex);
  EXPECT_THAT(missing(), HasSubstr("a manifest for this platform"));
}

TEST_F(OfferTest, WhatIsNotAManifestIsRefused) {
  for (const std::string text :
       {"", "[]", "{", R"({"mediaType": "text/html"})", R"({"config": {"digest": "md5:1"}, "layers": []})",
        R"({"mediaType": "application/vnd.oci.image.manifest.v1+json"})", R"({"manifests": {}})"}) {
    store.name(kName, store.put(text));
    const auto got = offer();
    ASSERT_FALSE(got) << text;
    EXPECT_EQ(got.error().reason, Reason::invalid) << text;
  }
}

TEST_F(OfferTest, AContainerdThatDoesNotAnswerIsNotAMissingImage) {
  store.down = true;
  const auto got = offer();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason, Reason::unavailable);
}

}  // namespace
}  // namespace fallbackd::mirror
