// SPDX-License-Identifier: Apache-2.0
#include "config/pause.hpp"

#include "temp_folder.hpp"

#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

using test::TempFolder;

Pause::Order order(const std::string& reason, int second = 0) {
  return {*parseRfc3339("2027-01-31T08:30:00Z") + std::chrono::seconds(second), reason};
}

TEST(Pause, WithoutAFileNothingIsPaused) {
  const TempFolder folder;
  const auto pause = readPause(folder.path());
  ASSERT_TRUE(pause) << pause.error().message();
  EXPECT_EQ(*pause, Pause{});
  EXPECT_EQ(pause->orderFor("shop"), nullptr);
}

TEST(Pause, ADamagedFileDoesNotAllowStandInsAgain) {
  const auto now = *parseRfc3339("2027-01-31T08:30:00.5Z");
  Pause before;
  EXPECT_FALSE(pauseOfDamaged("line 1", &before, now).withoutStandIns);
  before.withoutStandIns = true;
  EXPECT_TRUE(pauseOfDamaged("line 1", &before, now).withoutStandIns);
  const auto unknown = pauseOfDamaged("line 1", nullptr, now);
  EXPECT_TRUE(unknown.withoutStandIns) << "at a start the file's earlier content is unknown";
  EXPECT_EQ(unknown.node, order("its file cannot be read: line 1"));
}

TEST(Pause, WhatIsWrittenIsRead) {
  const TempFolder folder;
  const std::string odd = "it's \"down\": #1 {x} \\n — 100 %";
  const auto written = changePause(folder.path() + "/new", [&](Pause& pause) {
    pause.node = order(odd);
    pause.withoutStandIns = true;
    pause.namespaces["shop"] = order("", 5);
    pause.namespaces["null"] = order("true");
  });
  ASSERT_TRUE(written) << written.error().message();
  const auto read = readPause(folder.path() + "/new");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, *written);
  EXPECT_EQ(read->orderFor("any")->reason, odd);
}

TEST(Pause, ANamespaceIsPausedAlone) {
  Pause pause;
  pause.namespaces["shop"] = order("x");
  EXPECT_NE(pause.orderFor("shop"), nullptr);
  EXPECT_EQ(pause.orderFor("bank"), nullptr);
}

TEST(Pause, TheReasonIsTheTextOfTheAnnotation) {
  EXPECT_EQ(pauseReasonIn(""), std::nullopt);
  EXPECT_EQ(pauseReasonIn("false"), std::nullopt);
  EXPECT_EQ(pauseReasonIn("true"), "");
  EXPECT_EQ(pauseReasonIn(" true\n"), "");
  EXPECT_EQ(pauseReasonIn("yes"), "yes") << "the author wanted something to stop";
  EXPECT_EQ(pauseReasonIn("two\nlines\x7f."), "two lines\ufffd.");
  const std::string letters = "\xc3\xa4";
  std::string many = "x";
  for (std::size_t i = 0; i < kMaxPauseReason; ++i) many += letters;
  const auto cut = pauseReasonIn(many);
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->size(), kMaxPauseReason - 1) << "it must not be cut within a character";
}

TEST(Pause, AnnotatedNamespacesArePausedToo) {
  Pause pause;
  pause.annotated["shop"] = order("by annotation");
  ASSERT_NE(pause.orderFor("shop"), nullptr);
  EXPECT_EQ(pause.orderFor("bank"), nullptr);
  EXPECT_EQ(pause.namespaceCount(), 1U);
  EXPECT_EQ(pause.wayOut("shop"), "kubectl annotate namespace shop fallbackd.io/pause- ends the pause");
  pause.namespaces["shop"] = order("by command");
  pause.namespaces["bank"] = order("");
  EXPECT_EQ(pause.namespaceCount(), 2U);
  EXPECT_EQ(pause.orderFor("shop")->reason, "by command");
  EXPECT_EQ(pause.wayOut("shop"),
            "kubectl annotate namespace shop fallbackd.io/pause- and fallbackctl resume end the pause");
  EXPECT_EQ(pause.wayOut("bank"), "fallbackctl resume ends the pause");
}

TEST(Pause, AnnotatedNamespacesAreKeptApartFromOrders) {
  const TempFolder folder;
  const auto state = folder.path() + "/new";
  EXPECT_TRUE(readAnnotatedPauses(state)->empty());
  const Pause::Orders orders{{"bank", order("it's \"down\"")}, {"shop", order("")}};
  ASSERT_TRUE(writeAnnotatedPauses(state, orders));
  EXPECT_EQ(readAnnotatedPauses(state).value(), orders);
  EXPECT_EQ(readPause(state).value(), Pause{});
  ASSERT_TRUE(writeAnnotatedPauses(state, {}));
  EXPECT_TRUE(readAnnotatedPauses(state)->empty());
}

TEST(Pause, AFileWithOtherContentIsRefusedWithItsLine) {
  const TempFolder folder;
  const std::string head = "apiVersion: fallbackd.io/v1\n";
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"", "is empty"},
           {"apiVersion: v9\n", "1:13"},
           {head + "node: {}\n", "2:7"},
           {head + "node: {since: yesterday}\n", "is not a date and time"},
           {head + "everything: {since: 2027-01-31}\n", "2:1"},
           {head + "node: {since: 2027-01-31, removeStandIns: perhaps}\n", "removeStandIns"},
           {head + "namespaces: [{name: UPPER, since: 2027-01-31}]\n", "UPPER"},
           {head + "namespaces: [{name: a, since: 2027-01-31}, {name: a, since: 2027-01-31}]\n", "twice"},
           {head + "node: {since: 2027-01-31, reason: " + std::string(500, 'x') + "}\n", "400 bytes"},
           {"\xff\xfe", "UTF-8"}}) {
    folder.write(std::string(kPauseFile), text);
    const auto pause = readPause(folder.path());
    ASSERT_FALSE(pause) << text;
    EXPECT_EQ(pause.error().reason, Reason::invalid);
    EXPECT_NE(pause.error().message().find(words), std::string::npos) << pause.error().message();
    EXPECT_NE(pause.error().message().find("pause.yaml"), std::string::npos) << pause.error().message();
  }
}

TEST(Pause, ADamagedFileIsKeptUnlessItIsToBeReplaced) {
  const TempFolder folder;
  const auto file = folder.write(std::string(kPauseFile), "nonsense");
  EXPECT_FALSE(changePause(folder.path(), [](Pause& pause) { pause.node = order("x"); }));
  std::ifstream stream(file);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), "nonsense");
  ASSERT_TRUE(changePause(
      folder.path(), [](Pause& pause) { pause = {}; }, Damaged::replace));
  EXPECT_EQ(readPause(folder.path()).value(), Pause{});
}

TEST(Pause, ChangesOfSeveralProcessesAtOnceAreAllKept) {
  const TempFolder folder;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&folder, i] {
      EXPECT_TRUE(changePause(folder.path(),
                              [i](Pause& pause) { pause.namespaces["n" + std::to_string(i)] = order("x"); }));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(readPause(folder.path())->namespaces.size(), 8U);
}

}  // namespace
}  // namespace fallbackd::config
