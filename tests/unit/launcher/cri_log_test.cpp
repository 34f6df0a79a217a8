// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/cri_log.hpp"

#include <algorithm>
#include <chrono>

#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

const Wall::time_point kNow{std::chrono::seconds(1'800'000'000)};
const std::string kOut = "2027-01-15T08:00:00.000000000Z stdout ";

TEST(CriLog, WholeLinesAreFull) {
  const CriLogFramer framer("stdout");
  EXPECT_EQ(framer.frame("one\ntwo\n", kNow), kOut + "F one\n" + kOut + "F two\n");
  EXPECT_EQ(framer.frame("", kNow), "");
}

TEST(CriLog, ALineInPiecesBecomesPartsAndAnEnd) {
  const CriLogFramer framer("stderr");
  const std::string head = "2027-01-15T08:00:00.000000000Z stderr ";
  EXPECT_EQ(framer.frame("o", kNow), head + "P o\n");
  EXPECT_EQ(framer.frame("ne\nt", kNow), head + "F ne\n" + head + "P t\n");
  EXPECT_EQ(framer.frame("\n", kNow), head + "F \n");
}

TEST(CriLog, EmptyLineIsKept) {
  EXPECT_EQ(CriLogFramer("stdout").frame("\n\n", kNow), kOut + "F \n" + kOut + "F \n");
}

TEST(CriLog, LongLineIsSplit) {
  const std::string full(CriLogFramer::kMaxContent, 'a');
  EXPECT_EQ(CriLogFramer("stdout").frame(full + "b\n", kNow), kOut + "P " + full + "\n" + kOut + "F b\n");
}

TEST(CriLog, LineOfExactlyTheLimitIsNotSplit) {
  const std::string full(CriLogFramer::kMaxContent, 'a');
  EXPECT_EQ(CriLogFramer("stdout").frame(full + "\n", kNow), kOut + "F " + full + "\n");
}

TEST(CriLog, AnEndlessLineIsNotLost) {
  const auto lines = CriLogFramer("stdout").frame(std::string(100'000, 'x'), kNow);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), 'x'), 100'000);
  EXPECT_EQ(lines.find(" F "), std::string::npos);
}

}  // namespace
}  // namespace fallbackd::launcher
