// SPDX-License-Identifier: Apache-2.0
// Pods as sources describe them, the view of all pods, and the view's file.
#include "kube/pods.hpp"

#include "kube/fake_api_server.hpp"
#include "kube/listing.hpp"
#include "kube/pod_object.hpp"
#include "kube/view.hpp"
#include "kube/view_store.hpp"
#include "temp_folder.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <sys/stat.h>

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using kube_test::podJson;
using testing::HasSubstr;
using testing::Not;

PodPtr pod(const std::string& name, const std::string& uid,
           const std::string& image = "shop/checkout:1.8.3") {
  return parsePodObject(podJson(name, uid, "node-1", image)).value();
}

std::string contentOfFile(const std::string& file) {
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

TEST(PodObject, HasTheFieldsThatAreReadOften) {
  const auto one = pod("checkout-1", "uid-1");
  EXPECT_EQ(one->uid, "uid-1");
  EXPECT_EQ(one->namespaceName, "shop");
  EXPECT_EQ(one->name, "checkout-1");
  EXPECT_EQ(one->labels.at("app"), "checkout");
  EXPECT_EQ(one->annotations.at("fallbackd.io/binary.app"), "checkout@1.8.3");
  EXPECT_EQ(one->owner, (Owner{"apps/v1", "ReplicaSet", "checkout-5d4f", "rs-1"}));
}

TEST(PodObject, IsKeptAsReceivedButForManagedFields) {
  EXPECT_THAT(podJson("checkout-1", "uid-1"), HasSubstr("managedFields"));
  const auto one = pod("checkout-1", "uid-1");
  EXPECT_THAT(one->json, Not(HasSubstr("managedFields")));
  EXPECT_THAT(one->json, HasSubstr("shop/checkout:1.8.3"));
  EXPECT_THAT(one->json, HasSubstr("Pending"));
  EXPECT_EQ(parsePodObject(one->json).value()->json, one->json);
}

TEST(PodObject, ItsManagedFieldsMayBeAnything) {
  const auto whole = podJson("checkout-1", "uid-1");
  const std::string usual = R"([{"manager":"kubectl"}])";
  ASSERT_THAT(whole, HasSubstr(usual));
  for (const auto& odd : {std::string(200, '[') + std::string(200, ']'), std::string("[\"\xff\"]"),
                          std::string(R"([{"f:a\"]":")") + "\xff" + R"("}])"}) {
    auto text = whole;
    text.replace(text.find(usual), usual.size(), odd);
    const auto page =
        parsePodList(R"({"kind":"PodList","items":[)" + podJson("other", "uid-2") + "," + text + "]}");
    ASSERT_TRUE(page) << odd;
    ASSERT_EQ(page->pods.size(), 2U);
    EXPECT_EQ(page->pods[1]->json, parsePodObject(whole).value()->json);
  }
  for (const auto* text :
       {R"({"managedFields":[)", R"({"managedFields":["a\)", "\"", R"({"managedFields":]})"}) {
    EXPECT_FALSE(parsePodObject(text)) << text;
  }
}

/// A pod in a different namespace that claims to be the mirror of this uid.
PodPtr claimant(const std::string& uid) {
  return parsePodObject(R"({"metadata":{"name":"evil","namespace":"evil","uid":"evil-uid",
                            "annotations":{"kubernetes.io/config.mirror":")" +
                        uid + R"("}},"spec":{"containers":[]}})")
      .value();
}

TEST(View, AMirrorTakesNoOtherPodsPlace) {
  View view;
  view.change(SourceKind::apiserver, pod("checkout-1", "uid-1"));
  view.change(SourceKind::apiserver, claimant("uid-1"));
  ASSERT_NE(view.find("uid-1"), nullptr);
  EXPECT_EQ(view.find("uid-1")->name, "checkout-1");
  view.remove(SourceKind::apiserver, claimant("uid-1"));
  ASSERT_NE(view.find("uid-1"), nullptr) << "the claimant's end must not end the pod";
}

TEST(View, APodTakesItsPlaceFromAMirrorThatClaimedIt) {
  View view;
  view.change(SourceKind::apiserver, claimant("uid-1"));
  view.change(SourceKind::kubelet, pod("checkout-1", "uid-1"));
  EXPECT_EQ(view.find("uid-1")->name, "checkout-1");
  EXPECT_EQ(view.size(), 1U);
}

TEST(PodObject, WhatKubeletAddsIsNotAChange) {
  const std::string plain =
      R"({"metadata":{"name":"a","namespace":"b","uid":"c","annotations":{}},"spec":{}})";
  const std::string byKubelet =
      R"({"metadata":{"name":"a","namespace":"b","uid":"c","annotations":{"kubernetes.io/config.seen":"x",
          "kubernetes.io/config.source":"api"}},"spec":{}})";
  EXPECT_EQ(parsePodObject(plain).value()->lastingHash, parsePodObject(byKubelet).value()->lastingHash);
}

TEST(PodObject, AStaticPodHasTheUidOfItsSandbox) {
  const auto mirror = parsePodObject(
      R"({"metadata":{"name":"etcd-n","namespace":"kube-system","uid":"api-uid",
          "annotations":{"kubernetes.io/config.mirror":"d41d8cd98f00b204e9800998ecf8427e"}},"spec":{}})");
  ASSERT_TRUE(mirror);
  EXPECT_EQ((*mirror)->uid, "d41d8cd98f00b204e9800998ecf8427e");
}

TEST(PodObject, TheLastingHashIgnoresTheStatus) {
  const auto hash = [](const std::string& version, const std::string& phase, const std::string& image) {
    return parsePodObject(R"({"metadata":{"name":"a","namespace":"b","uid":"c","resourceVersion":")" +
                          version + R"("},"spec":{"image":")" + image + R"("},"status":{"phase":")" + phase +
                          R"("}})")
        .value()
        ->lastingHash;
  };
  EXPECT_EQ(hash("1", "Pending", "x"), hash("2", "Running", "x"));
  EXPECT_NE(hash("1", "Pending", "x"), hash("1", "Pending", "y"));
}

TEST(PodObject, OtherThingsAreErrors) {
  for (const auto* text :
       {"", "null", "[]", "{}", R"({"metadata":5,"spec":{}})", R"({"metadata":{"name":"a"},"spec":{}})",
        R"({"metadata":{"name":"a","namespace":"b","uid":"c"}})",
        R"({"metadata":{"name":"a","namespace":"b","uid":5},"spec":{}})"}) {
    EXPECT_FALSE(parsePodObject(std::string(text))) << text;
  }
  EXPECT_FALSE(parsePodObject(std::string(100'000, '[')));
}

TEST(PodList, IsReadWithItsItems) {
  const auto page =
      parsePodList(R"({"kind":"PodList","metadata":{"resourceVersion":"7","continue":"next"},"items":[)" +
                   podJson("a", "uid-1") + ",5," + podJson("b", "uid-2") + "]}");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->pods.size(), 2U);
  EXPECT_EQ(page->bad, 1U);
  const auto raw =
      parseList(R"({"kind":"XList","metadata":{"resourceVersion":"7","continue":"next"}})", "XList");
  ASSERT_TRUE(raw);
  EXPECT_EQ(raw->resourceVersion, "7");
  EXPECT_EQ(raw->more, "next");
  EXPECT_FALSE(parseList(R"({"kind":"XList"})", "PodList"));
  EXPECT_EQ(parsePodList(R"({"kind":"PodList","items":null})")->pods.size(), 0U);
  for (const auto* text : {"[]", R"({"kind":"Status"})", R"({"kind":"PodList","items":{}})", "<html>"}) {
    EXPECT_FALSE(parsePodList(text)) << text;
  }
}

TEST(WatchEvents, AreRead) {
  const auto error =
      parseWatchEvent(R"({"type":"ERROR","object":{"kind":"Status","code":410,"message":"old"}})");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind, WatchEvent::Kind::error);
  EXPECT_EQ(error->code, 410U);
  const auto bookmark =
      parseWatchEvent(R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}})");
  ASSERT_TRUE(bookmark);
  EXPECT_EQ(bookmark->kind, WatchEvent::Kind::bookmark);
  EXPECT_EQ(bookmark->resourceVersion, "9");
  for (const auto* text : {"", "{}", R"({"type":"ADDED","object":5})", R"({"type":"ADDED","object":{}})",
                           R"({"type":"NEW","object":{"metadata":{"resourceVersion":"9"}}})"}) {
    EXPECT_FALSE(parseWatchEvent(text)) << text;
  }
}

TEST(Messages, AreBounded) {
  EXPECT_EQ(messageOf(R"({"kind":"Status","message":"pods is forbidden"})"), "\"pods is forbidden\"");
  EXPECT_EQ(messageOf("Unauthorized\n"), "\"Unauthorized\"");
  EXPECT_LE(messageOf(std::string(10'000, 'x')).size(), 310U);
}

TEST(View, TheLatestDescriptionCounts) {
  View view;
  view.list(SourceKind::apiserver, {pod("a", "uid-1", "old")});
  view.list(SourceKind::kubelet, {pod("a", "uid-1", "new")});
  EXPECT_THAT(view.find("uid-1")->json, HasSubstr("new"));
  view.change(SourceKind::apiserver, pod("a", "uid-1", "newest"));
  EXPECT_THAT(view.find("uid-1")->json, HasSubstr("newest"));
  EXPECT_EQ(view.size(), 1U);
}

TEST(View, AListDecidesForItsOwnPods) {
  View view;
  view.health(SourceKind::apiserver, Health::up);
  view.list(SourceKind::apiserver, {pod("a", "uid-1"), pod("b", "uid-2")});
  view.list(SourceKind::kubelet, {pod("c", "uid-3"), pod("a", "uid-1")});
  EXPECT_EQ(view.size(), 3U) << "kubelet does not know b yet";
  view.list(SourceKind::apiserver, {pod("b", "uid-2")});
  EXPECT_TRUE(view.find("uid-1")) << "kubelet knows it";
  view.list(SourceKind::kubelet, {});
  EXPECT_EQ(view.size(), 1U);
}

TEST(View, KubeletDecidesWhileTheApiServerIsAway) {
  View view;
  view.list(SourceKind::apiserver, {pod("a", "uid-1"), pod("b", "uid-2")});
  view.health(SourceKind::apiserver, Health::failing);
  view.list(SourceKind::kubelet, {pod("b", "uid-2")});
  EXPECT_FALSE(view.find("uid-1"));
}

/// A freshly started kubelet lists only its static pods, while the watch continues from its version.
TEST(View, WhatKubeletDidNotKnowIsBackWithTheApiServer) {
  View view;
  view.list(SourceKind::apiserver, {pod("a", "uid-1"), pod("b", "uid-2", "old"), pod("c", "uid-3")});
  view.health(SourceKind::apiserver, Health::failing);
  view.list(SourceKind::kubelet, {});
  EXPECT_EQ(view.size(), 0U);
  view.list(SourceKind::kubelet, {pod("b", "uid-2", "new")});
  EXPECT_TRUE(view.health(SourceKind::apiserver, Health::up));
  EXPECT_EQ(view.size(), 3U);
  EXPECT_THAT(view.find("uid-2")->json, HasSubstr("new")) << "kubelet's description is newer";
  view.remove(SourceKind::apiserver, pod("c", "uid-3"));
  EXPECT_FALSE(view.health(SourceKind::apiserver, Health::up));
  EXPECT_FALSE(view.find("uid-3"));
}

TEST(View, AListOfTheApiServerEndsWhatWasSetAside) {
  View view;
  view.list(SourceKind::apiserver, {pod("a", "uid-1")});
  view.health(SourceKind::apiserver, Health::failing);
  view.list(SourceKind::kubelet, {});
  view.list(SourceKind::apiserver, {pod("b", "uid-2")});
  EXPECT_FALSE(view.health(SourceKind::apiserver, Health::up));
  EXPECT_FALSE(view.find("uid-1"));
}

TEST(View, RememberedPodsCountUntilASourceAnswers) {
  View view;
  view.remember({pod("a", "uid-1"), pod("b", "uid-2")});
  view.change(SourceKind::apiserver, pod("b", "uid-2", "new"));
  EXPECT_TRUE(view.find("uid-1"));
  view.list(SourceKind::apiserver, {pod("b", "uid-2", "new")});
  EXPECT_FALSE(view.find("uid-1"));
  EXPECT_TRUE(view.find("uid-2"));
}

TEST(View, ADeletedPodIsRemovedForEverySource) {
  View view;
  view.list(SourceKind::apiserver, {pod("a", "uid-1")});
  view.list(SourceKind::kubelet, {pod("a", "uid-1")});
  view.remove(SourceKind::apiserver, pod("a", "uid-1"));
  view.remove(SourceKind::apiserver, pod("a", "uid-1"));
  EXPECT_EQ(view.size(), 0U);
}

TEST(View, AStaticPodOutlivesItsMirror) {
  const std::string mirror =
      R"({"metadata":{"name":"s","namespace":"n","uid":"api","annotations":{"kubernetes.io/config.mirror":"hash"}},"spec":{}})";
  View view;
  view.list(SourceKind::kubelet,
            {parsePodObject(R"({"metadata":{"name":"s","namespace":"n","uid":"hash"},"spec":{}})").value()});
  view.change(SourceKind::apiserver, parsePodObject(mirror).value());
  view.remove(SourceKind::apiserver, parsePodObject(mirror).value());
  EXPECT_TRUE(view.find("hash"));
}

TEST(View, IsBounded) {
  View view;
  std::vector<PodPtr> many;
  for (std::size_t i = 0; i < View::kMaxPods + 5; ++i) many.push_back(pod("p", "uid-" + std::to_string(i)));
  view.list(SourceKind::apiserver, many);
  EXPECT_EQ(view.size(), View::kMaxPods);
  EXPECT_EQ(view.leftOut(), 5U);
  view.list(SourceKind::apiserver, {});
  EXPECT_EQ(view.size(), 0U);
  view.change(SourceKind::apiserver, pod("large", "uid-l", std::string(View::kMaxBytes, 'x')));
  ASSERT_EQ(view.size(), 1U);
  EXPECT_EQ(view.find("uid-l")->json, "");
  view.change(SourceKind::apiserver, pod("small", "uid-s"));
  EXPECT_NE(view.find("uid-s")->json, "") << "dropped pods take no room";
}

TEST(View, TheLongestDescriptionsGoFirst) {
  View view;
  constexpr std::size_t kLong = View::kMaxBytes / 4;
  PodObject one = *pod("large", "uid");
  std::vector<PodPtr> all;
  for (int i = 0; i < 5; ++i) {
    one.uid = "uid-" + std::to_string(i);
    one.json.assign(kLong + static_cast<std::size_t>(i), 'x');
    all.push_back(std::make_shared<PodObject>(one));
  }
  all.push_back(pod("small", "uid-s"));
  view.list(SourceKind::apiserver, all);
  EXPECT_EQ(view.size(), all.size()) << "all are known";
  EXPECT_NE(view.find("uid-s")->json, "") << "it was last and is not long";
  EXPECT_NE(view.find("uid-0")->json, "");
  EXPECT_EQ(view.find("uid-4")->json, "");
  EXPECT_EQ(view.find("uid-4")->labels.at("app"), "checkout");
}

/// A pod with a text of this many bytes.
PodPtr podOfBytes(const std::string& uid, std::size_t bytes) {
  auto made = *pod(uid, uid);
  made.json.assign(bytes, 'x');
  return std::make_shared<PodObject>(made);
}

std::vector<PodPtr> podsOfBytes(const std::vector<std::string>& uids, std::size_t bytes) {
  std::vector<PodPtr> made;
  for (const auto& uid : uids) made.push_back(podOfBytes(uid, bytes));
  return made;
}

bool haveTexts(const View& view, const std::vector<std::string>& uids) {
  return std::all_of(uids.begin(), uids.end(), [&](const auto& uid) {
    const auto one = view.find(uid);
    return one != nullptr && !one->json.empty();
  });
}

TEST(View, WhatIsReplacedTakesNoRoom) {
  const std::vector<std::string> uids{"uid-1", "uid-2", "uid-3", "uid-4"};
  const auto four = podsOfBytes(uids, 9'000);
  View afterStart(64'000);
  afterStart.remember(four);
  afterStart.list(SourceKind::apiserver, four);
  EXPECT_TRUE(haveTexts(afterStart, uids));
  View changed(64'000);
  changed.remember(four);
  for (const auto& one : four) changed.change(SourceKind::apiserver, one);
  EXPECT_TRUE(haveTexts(changed, uids)) << "no source has listed its pods yet";
  View larger(64'000);
  const std::vector<std::string> seven{"uid-1", "uid-2", "uid-3", "uid-4", "uid-5", "uid-6", "uid-7"};
  larger.remember(podsOfBytes(seven, 9'000));
  auto now = podsOfBytes(seven, 1'000);
  now.front() = podOfBytes("uid-1", 15'000);
  larger.list(SourceKind::apiserver, now);
  EXPECT_TRUE(haveTexts(larger, seven)) << "the other texts need less room than before";
  for (const auto* view : {&afterStart, &changed, &larger}) EXPECT_EQ(view->leftOut(), 0U);
}

TEST(View, TwoSourcesOfTheSamePodsKeepTheirTexts) {
  const std::vector<std::string> uids{"uid-1", "uid-2", "uid-3", "uid-4"};
  const auto four = podsOfBytes(uids, 9'000);
  View view(64'000);
  for (const auto source : {SourceKind::kubelet, SourceKind::apiserver, SourceKind::kubelet}) {
    view.list(source, four);
    EXPECT_TRUE(haveTexts(view, uids));
  }
  EXPECT_EQ(view.leftOut(), 0U);
}

TEST(View, WhatIsGoneTakesNoPlace) {
  View remembered(64'000);
  remembered.remember(podsOfBytes({"old-1", "old-2", "old-3", "old-4", "old-5"}, 12'000));
  remembered.list(SourceKind::apiserver, podsOfBytes({"uid-1", "uid-2"}, 15'000));
  EXPECT_TRUE(haveTexts(remembered, {"uid-1", "uid-2"}));
  View full;
  std::vector<PodPtr> many;
  for (std::size_t i = 0; i < View::kMaxPods; ++i) many.push_back(podOfBytes(std::to_string(i), 1));
  full.list(SourceKind::apiserver, many);
  many.back() = podOfBytes("new", 1);
  full.list(SourceKind::apiserver, many);
  EXPECT_TRUE(full.find("new"));
  EXPECT_EQ(full.size(), View::kMaxPods);
}

TEST(View, AMissingTextIsTakenFromTheOtherSource) {
  const auto text = pod("a", "uid-1")->json;
  auto latest = *withoutText(*pod("a", "uid-1"));
  latest.ready = true;
  const auto bare = std::make_shared<PodObject>(latest);
  View view;
  view.list(SourceKind::kubelet, {pod("a", "uid-1")});
  view.list(SourceKind::apiserver, {bare});
  EXPECT_EQ(view.find("uid-1")->json, text);
  EXPECT_TRUE(view.find("uid-1")->ready) << "the other fields come from the latest description";
  view.list(SourceKind::apiserver, {bare});
  EXPECT_EQ(view.find("uid-1")->json, text) << "its own earlier text";
  view.list(SourceKind::apiserver, {withoutText(*pod("a", "uid-1", "other"))});
  EXPECT_EQ(view.find("uid-1")->json, "") << "the text has the pod's older image";
  View remembered;
  remembered.remember({pod("a", "uid-1")});
  remembered.list(SourceKind::apiserver, {bare});
  EXPECT_EQ(remembered.find("uid-1")->json, text);
}

TEST(View, ATextStaysWithThePodWhenItsSourceForgetsThePod) {
  View view(10'000);
  view.list(SourceKind::kubelet, {podOfBytes("uid-1", 9'000)});
  view.list(SourceKind::apiserver, {podOfBytes("uid-1", 9'000)});
  view.list(SourceKind::apiserver, {});
  EXPECT_TRUE(haveTexts(view, {"uid-1"}));
}

TEST(View, WhatIsBackWithTheApiServerTakesNoNewerText) {
  View view(10'000);
  view.list(SourceKind::apiserver, {podOfBytes("uid-1", 8'000)});
  view.health(SourceKind::apiserver, Health::failing);
  view.list(SourceKind::kubelet, {});
  view.list(SourceKind::kubelet, {podOfBytes("uid-1", 9'000)});
  EXPECT_TRUE(view.health(SourceKind::apiserver, Health::up));
  ASSERT_TRUE(haveTexts(view, {"uid-1"}));
  EXPECT_EQ(view.find("uid-1")->json.size(), 9'000U) << "kubelet's description is newer";
}

TEST(View, ATextThatIsBackIsWorthSaving) {
  View view(10'000);
  view.change(SourceKind::apiserver, podOfBytes("uid-1", 9'000));
  view.change(SourceKind::apiserver, podOfBytes("uid-2", 8'000));
  ASSERT_FALSE(haveTexts(view, {"uid-1"}));
  auto before = view.lastingChanges();
  view.change(SourceKind::apiserver, podOfBytes("uid-1", 9'000));
  EXPECT_EQ(view.lastingChanges(), before) << "the text has no room yet";
  view.remove(SourceKind::apiserver, podOfBytes("uid-2", 8'000));
  before = view.lastingChanges();
  view.change(SourceKind::apiserver, podOfBytes("uid-1", 9'000));
  EXPECT_TRUE(haveTexts(view, {"uid-1"}));
  EXPECT_GT(view.lastingChanges(), before);
  before = view.lastingChanges();
  view.change(SourceKind::apiserver, podOfBytes("uid-1", 9'000));
  EXPECT_EQ(view.lastingChanges(), before);
}

TEST(PodObject, TheLongestTextsAreDropped) {
  auto first = *pod("a", "uid-1");
  first.json = "12345";
  auto second = first;
  second.json = "123";
  std::vector<PodPtr> pods{std::make_shared<PodObject>(first), std::make_shared<PodObject>(second)};
  dropLongestTexts(pods, 8);
  EXPECT_EQ(pods[0]->json, "12345");
  dropLongestTexts(pods, 7);
  EXPECT_EQ(pods[0]->json, "");
  EXPECT_EQ(pods[0]->name, "a");
  EXPECT_EQ(pods[1]->json, "123");
}

TEST(View, CountsChangesThatAreWorthSaving) {
  View view;
  view.change(SourceKind::apiserver, pod("a", "uid-1"));
  const auto before = view.lastingChanges();
  view.change(SourceKind::apiserver, pod("a", "uid-1"));
  EXPECT_EQ(view.lastingChanges(), before);
  view.change(SourceKind::apiserver, pod("a", "uid-1", "other"));
  EXPECT_GT(view.lastingChanges(), before);
}

TEST(PodsOfTheNode, ReportOnlyChanges) {
  Pods pods;
  std::vector<std::string> told;
  pods.onState(
      [&](const SourceState& state) { told.push_back(std::string(toString(state.health)) + state.error); });
  SourceState state;
  pods.stateChanged(state);
  state.health = Health::failing;
  state.error = " no";
  pods.stateChanged(state);
  pods.stateChanged(state);
  state.health = Health::up;
  pods.stateChanged(state);
  pods.stateChanged(state);
  EXPECT_THAT(told, testing::ElementsAre("failing no", "up no"));
}

class PodViewStoreTest : public testing::Test {
 protected:
  test::TempFolder folder;
  std::string file = folder.path() + "/pods.view";
  PodViewStore store{file, "node-1"};
  Wall::time_point now = parseRfc3339("2026-03-01T12:00:00Z").value();
};

TEST_F(PodViewStoreTest, GivesBackWhatWasSaved) {
  ASSERT_TRUE(store.save({pod("a", "uid-1"), pod("b", "uid-2")}, now));
  struct stat facts {};
  ASSERT_EQ(::stat(file.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  const auto stored = store.load();
  ASSERT_TRUE(stored) << stored.error().message();
  EXPECT_EQ(stored->saved, now);
  ASSERT_EQ(stored->pods.size(), 2U);
  EXPECT_EQ(stored->pods[1]->json, pod("b", "uid-2")->json);
  ASSERT_TRUE(store.save({}, now));
  EXPECT_EQ(store.load()->pods.size(), 0U);
}

TEST_F(PodViewStoreTest, APodWithoutTextIsLeftOut) {
  ASSERT_TRUE(store.save({withoutText(*pod("a", "uid-1")), pod("b", "uid-2")}, now));
  const auto stored = store.load();
  ASSERT_TRUE(stored) << stored.error().message();
  ASSERT_EQ(stored->pods.size(), 1U);
  EXPECT_EQ(stored->pods[0]->uid, "uid-2");
}

TEST_F(PodViewStoreTest, ADamagedFileIsReportedAndNotUsed) {
  EXPECT_EQ(store.load().error().reason, Reason::not_found);
  ASSERT_TRUE(store.save({pod("a", "uid-1"), pod("b", "uid-2")}, now));
  const auto whole = contentOfFile(file);
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    folder.write("pods.view", whole.substr(0, size));
    ASSERT_FALSE(store.load()) << "cut at " << size;
  }
  for (std::size_t at = 0; at < whole.size(); at += 11) {
    auto changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    folder.write("pods.view", changed);
    const auto stored = store.load();
    // Only a change to the time of saving may go undetected.
    if (stored) {
      EXPECT_EQ(stored->pods.size(), 2U) << at;
    }
  }
  folder.write("pods.view", whole);
  EXPECT_TRUE(store.load());
  EXPECT_THAT(PodViewStore(file, "node-2").load().error().message(), HasSubstr("another node"));
}

TEST_F(PodViewStoreTest, AnotherVersionIsNotUsed) {
  folder.write("pods.view", "{\"fallbackdPods\":2,\"node\":\"node-1\"}\n");
  EXPECT_THAT(store.load().error().message(), HasSubstr("another version"));
}

TEST_F(PodViewStoreTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_FALSE(PodViewStore(folder.path() + "/no/pods.view", "node-1").save({}, now));
}

}  // namespace
}  // namespace fallbackd::kube
