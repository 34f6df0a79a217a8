#include "launcher/cri_log.hpp"

#include <chrono>

#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

const Wall::time_point kNow{std::chrono::seconds(1'800'000'000)};
const std::string kOut = "2027-01-15T08:00:00.000000000Z stdout ";

TEST(CriLog, WholeLinesAreFull) {
  CriLogFramer framer("stdout");
  EXPECT_EQ(framer.feed("one\ntwo\n", kNow), kOut + "F one\n" + kOut + "F two\n");
  EXPECT_EQ(framer.finish(kNow), "");
}

TEST(CriLog, LineInPiecesIsOneLine) {
  CriLogFramer framer("stderr");
  EXPECT_EQ(framer.feed("o", kNow), "");
  EXPECT_EQ(framer.feed("ne", kNow), "");
  EXPECT_EQ(framer.feed("\nt", kNow), "2027-01-15T08:00:00.000000000Z stderr F one\n");
}

TEST(CriLog, EmptyLineIsKept) {
  CriLogFramer framer("stdout");
  EXPECT_EQ(framer.feed("\n\n", kNow), kOut + "F \n" + kOut + "F \n");
}

TEST(CriLog, UnterminatedTailIsPartial) {
  CriLogFramer framer("stdout");
  EXPECT_EQ(framer.feed("tail", kNow), "");
  EXPECT_EQ(framer.finish(kNow), kOut + "P tail\n");
  EXPECT_EQ(framer.finish(kNow), "");
}

TEST(CriLog, LongLineIsSplit) {
  CriLogFramer framer("stdout");
  const std::string full(CriLogFramer::kMaxContent, 'a');
  EXPECT_EQ(framer.feed(full + "b\n", kNow), kOut + "P " + full + "\n" + kOut + "F b\n");
}

TEST(CriLog, LineOfExactlyTheLimitIsNotSplit) {
  CriLogFramer framer("stdout");
  const std::string full(CriLogFramer::kMaxContent, 'a');
  EXPECT_EQ(framer.feed(full, kNow), "");
  EXPECT_EQ(framer.feed("\n", kNow), kOut + "F " + full + "\n");
}

TEST(CriLog, EndlessLineNeedsNoMoreMemoryThanOnePart) {
  CriLogFramer framer("stdout");
  const std::string chunk(100'000, 'x');
  std::size_t content = 0;
  for (int i = 0; i < 10; ++i) {
    const auto lines = framer.feed(chunk, kNow);
    for (std::size_t at = 0; (at = lines.find(" P ", at)) != std::string::npos; ++at) {
      content += CriLogFramer::kMaxContent;
    }
  }
  EXPECT_GE(content + CriLogFramer::kMaxContent, 10 * chunk.size());
}

}  // namespace
}  // namespace fallbackd::launcher
