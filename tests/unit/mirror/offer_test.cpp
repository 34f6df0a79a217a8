// SPDX-License-Identifier: Apache-2.0
// Which content must be in the store so that a pull can be completed from it.
#include "mirror/offer.hpp"

#include "fake_image_store.hpp"
#include "fake_runtime.hpp"
#include "mirror/mirror.hpp"
#include "temp_folder.hpp"

#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

using test::FakeImageStore;
using testing::HasSubstr;

constexpr const char* kName = "registry.example.com/shop/cart:1";
const Platform kPlatform{"linux", "amd64", ""};

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

TEST_F(OfferTest, ADigestIsFoundAmongManyNamesOfItsRepository) {
  const auto first = store.putImage("first");
  const std::string repository = "registry.example.com/shop/mono";
  store.name(repository + ":000", first.manifest);
  for (int i = 100; i < 400; ++i) store.name(repository + ":" + std::to_string(i), parts.manifest);
  const auto last = store.putImage("last");
  store.name(repository + ":999", last.manifest);
  EXPECT_TRUE(offer(repository + "@" + first.manifest));
  EXPECT_TRUE(offer(repository + "@" + last.manifest));
}

TEST_F(OfferTest, AnImageWithAllItsContentIsOffered) {
  const auto got = offer();
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->digest, parts.manifest);
  EXPECT_EQ(got->mediaType, FakeImageStore::kManifest);
  EXPECT_EQ(got->text, store.blobs[parts.manifest]);
  EXPECT_EQ(got->updatedAt, store.updatedAt);
}

TEST_F(OfferTest, ADigestIsOfferedUnderEveryNameOfItsRepository) {
  const auto got = offer("registry.example.com/shop/cart@" + parts.manifest);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->digest, parts.manifest);
  EXPECT_FALSE(got->updatedAt);
  store.name("registry.example.com/shop/other@" + parts.manifest, parts.manifest);
  EXPECT_TRUE(offer("registry.example.com/shop/other@" + parts.manifest));
  const auto index = store.putIndex("amd64", parts.manifest, test::digestOf("not here"));
  store.name("registry.example.com/shop/many:1", index, FakeImageStore::kIndex);
  EXPECT_TRUE(offer("registry.example.com/shop/many@" + parts.manifest))
      << "it belongs to an index that has a name";
}

TEST_F(OfferTest, ADigestIsNotOfferedUnderTheNameOfOtherContent) {
  const auto elsewhere = "other.example.com/elsewhere@" + parts.manifest;
  EXPECT_THAT(missing(elsewhere), HasSubstr("in an image of other.example.com/elsewhere"));
  store.name("other.example.com/elsewhere:1", store.putImage("else").manifest);
  EXPECT_THAT(missing(elsewhere), HasSubstr("in an image of other.example.com/elsewhere"));
}

std::vector<std::string> chosen(const Platform& platform, std::vector<Descriptor> entries) {
  Manifest index;
  index.kind = Manifest::Kind::index;
  index.manifests = std::move(entries);
  std::vector<std::string> digests;
  for (const auto& one : forPlatform(index, platform)) digests.push_back(one.digest);
  return digests;
}

Descriptor entryFor(const std::string& name, const std::string& architecture, const std::string& variant) {
  return {"", name, 0, architecture.empty() ? "" : "linux", architecture, variant};
}

TEST(ForPlatform, TheVariantCounts) {
  using Names = std::vector<std::string>;
  const std::vector<Descriptor> arm{entryFor("any", "", ""), entryFor("v5", "arm", "v5"),
                                    entryFor("v6", "arm", "v6"), entryFor("v7", "arm", "v7"),
                                    entryFor("64", "arm64", "v8")};
  EXPECT_EQ(chosen({"linux", "arm", "v7"}, arm), (Names{"v7", "v6", "v5", "any"}));
  EXPECT_EQ(chosen({"linux", "arm", ""}, arm), (Names{"v7", "v6", "v5", "any"})) << "v7 is the default";
  EXPECT_EQ(chosen({"linux", "arm", "v6"}, arm), (Names{"v6", "v5", "any"}));
  EXPECT_EQ(chosen({"linux", "arm64", ""}, arm), (Names{"64", "v7", "v6", "v5", "any"}));
  const std::vector<Descriptor> amd{entryFor("386", "386", ""), entryFor("v3", "amd64", "v3"),
                                    entryFor("v1", "amd64", "v1"), entryFor("plain", "amd64", "")};
  EXPECT_EQ(chosen({"linux", "amd64", ""}, amd), (Names{"v1", "plain", "386"}));
}

TEST_F(OfferTest, TheBestManifestOfAnIndexMustBePresent) {
  const auto older = store.putImage("older");
  const auto index =
      store.put(R"({"schemaVersion": 2, "manifests": [{"digest": ")" + older.manifest +
                R"(", "platform": {"os": "linux", "architecture": "386"}}, {"digest": ")" +
                test::digestOf("not here") + R"(", "platform": {"os": "linux", "architecture": "amd64"}}]})");
  store.name(kName, index, FakeImageStore::kIndex);
  EXPECT_THAT(missing(), HasSubstr(test::digestOf("not here"))) << "containerd would request it";
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

struct OffersTest : OfferTest {
  bool offers(const std::string& hostsDir) {
    auto config = std::make_shared<config::Config>();
    config->mirror.listen = "127.0.0.1:478";
    config->mirror.hostsDir = hostsDir;
    config->mirror.tokenFile = folder.path() + "/token";
    config->cache.state = folder.path();
    Mirror mirror(config, {loop.get_executor(), store, {}, {}, {}});
    return test::runToEnd(loop, mirror.offers(ImageReference::parse(kName).value()));
  }
  test::TempFolder folder;
};

/// Without the mirror, a stalled pull must be noticed within the usual time.
TEST_F(OffersTest, NothingIsOfferedWhereContainerdDoesNotAsk) {
  const auto hosts = folder.path() + "/certs.d";
  folder.write("certs.d/other.test/hosts.toml", "");
  EXPECT_FALSE(offers(hosts));
  folder.write("certs.d/registry.example.com/hosts.toml", "[host.\"http://127.0.0.1:30020\"]\n");
  EXPECT_FALSE(offers(hosts)) << "a different mirror";
  folder.write("certs.d/registry.example.com/hosts.toml", "[host.\"http://127.0.0.1:478\"]\n");
  EXPECT_TRUE(offers(hosts));
  EXPECT_TRUE(offers(folder.path() + "/none")) << "the hosts are unknown";
}

TEST_F(OfferTest, AContainerdThatDoesNotAnswerIsNotAMissingImage) {
  store.down = true;
  const auto got = offer();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason, Reason::unavailable);
}

}  // namespace
}  // namespace fallbackd::mirror
