// SPDX-License-Identifier: Apache-2.0
#include "workers/task.hpp"

#include <gtest/gtest.h>

namespace fallbackd::workers {
namespace {

TEST(Task, RequestsRoundTrip) {
  const auto message = encodeQuestion(Work::copy_log, std::string_view("a\0b", 3));
  const auto question = decodeQuestion(message);
  ASSERT_TRUE(question);
  EXPECT_EQ(question->work, Work::copy_log);
  EXPECT_EQ(question->bytes, std::string_view("a\0b", 3));
}

TEST(Task, InvalidRequestsAreRefused) {
  EXPECT_EQ(decodeQuestion("").error().reason, Reason::protocol);
  EXPECT_EQ(decodeQuestion(std::string(1, static_cast<char>(kWorks))).error().reason, Reason::protocol);
  EXPECT_EQ(decodeQuestion("\xff").error().reason, Reason::protocol);
}

TEST(Task, ResponsesRoundTrip) {
  EXPECT_EQ(decodeAnswer(encodeAnswer(std::string())).value(), "");
  EXPECT_EQ(decodeAnswer(encodeAnswer(std::string("bytes"))).value(), "bytes");
  const auto failed =
      decodeAnswer(encodeAnswer(fail(Stage::rootfs, Reason::volume_missing, "volume x", ENOENT)));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().stage, Stage::rootfs);
  EXPECT_EQ(failed.error().reason, Reason::volume_missing);
  EXPECT_EQ(failed.error().errnum, ENOENT);
  EXPECT_EQ(failed.error().context, "volume x");
}

TEST(Task, InvalidResponsesAreRefused) {
  const auto error = encodeAnswer(fail(Stage::rootfs, Reason::volume_missing, ""));
  for (std::size_t size = 0; size < error.size(); ++size) {
    EXPECT_EQ(decodeAnswer(error.substr(0, size)).error().reason, Reason::protocol) << size;
  }
  for (const std::size_t field : {1, 2}) {
    auto other = error;
    other[field] = '\x7f';
    EXPECT_EQ(decodeAnswer(other).error().reason, Reason::protocol) << field;
  }
}

TEST(Task, EveryWorkHasAName) {
  for (std::size_t i = 0; i < kWorks; ++i) EXPECT_FALSE(toString(static_cast<Work>(i)).empty());
}

}  // namespace
}  // namespace fallbackd::workers
