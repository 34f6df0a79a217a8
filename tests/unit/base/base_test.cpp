// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"
#include "base/strings.hpp"

#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

TEST(Error, MessageNamesStageReasonContextAndErrno) {
  const Error error{Stage::health_check, Reason::timeout, EACCES, "run it"};
  EXPECT_EQ(error.message(), "health_check: timeout: run it: Permission denied");
}

TEST(Error, ShortagesAndDeadHelpersAreTemporary) {
  for (const int shortage : {EAGAIN, EINTR, ENOMEM, ENOBUFS, EMFILE, ENFILE, EBUSY}) {
    EXPECT_TRUE(isTemporary({Stage::spawner, Reason::system, shortage, "clone"})) << shortage;
  }
  EXPECT_TRUE(isTemporary({Stage::spawner, Reason::spawner_gone, EPIPE, "send a message"}));
  EXPECT_TRUE(isTemporary({Stage::rootfs, Reason::killed, 0, "the worker died"}));
  EXPECT_FALSE(isTemporary({Stage::health_check, Reason::timeout, EACCES, "run it"}));
  EXPECT_FALSE(isTemporary({Stage::health_check, Reason::unhealthy, 0, "exit code 1"}));
  EXPECT_FALSE(isTemporary({Stage::sandbox, Reason::sandbox_gone, ESRCH, "join the sandbox"}));
}

TEST(Error, FailuresOfContainerdItselfAreSilence) {
  for (const auto reason :
       {Reason::unavailable, Reason::timeout, Reason::cancelled, Reason::protocol, Reason::internal}) {
    EXPECT_TRUE(isSilence({Stage::containerd, reason, 0, "PodSandboxStatus"})) << toString(reason);
  }
  EXPECT_FALSE(isSilence({Stage::containerd, Reason::not_found, 0, "PodSandboxStatus"}));
  EXPECT_FALSE(isSilence({Stage::containerd, Reason::not_permitted, 0, "PodSandboxStatus"}));
  EXPECT_FALSE(isSilence({Stage::sandbox, Reason::sandbox_gone, 0, "PodSandboxStatus"}));
}

TEST(Duration, ReadsWhatItWrites) {
  EXPECT_EQ(parseDuration("250ms"), nanoseconds(250ms));
  EXPECT_EQ(parseDuration("1.5s"), nanoseconds(1500ms));
  EXPECT_EQ(parseDuration("1h30m"), nanoseconds(90min));
  EXPECT_EQ(parseDuration("0"), nanoseconds(0));
  for (const auto bad : {"", "5", "s", "-1s", "1x", "1s ", "1 s", "99999999999999h", "1e3s", "nan"}) {
    EXPECT_FALSE(parseDuration(bad)) << bad;
  }
  for (const auto value : {nanoseconds(90min), nanoseconds(1ms), nanoseconds(1500ms), nanoseconds(7)}) {
    EXPECT_EQ(parseDuration(formatDuration(value)), value);
  }
}

TEST(Rfc3339, RoundTripsAndRefusesInvalidDates) {
  const auto when = parseRfc3339("2026-11-23T18:31:05.123456789Z");
  ASSERT_TRUE(when);
  EXPECT_EQ(rfc3339(*when), "2026-11-23T18:31:05.123456789Z");
  EXPECT_EQ(parseRfc3339("2026-11-23T19:31:05.123456789+01:00"), when);
  for (const auto bad : {"2026-02-30T00:00:00Z", "2026-01-01", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00",
                         "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zx", "9999-01-01T00:00:00Z"}) {
    EXPECT_FALSE(parseRfc3339(bad)) << bad;
  }
}

TEST(Date, IsFrom2000To9999) {
  EXPECT_EQ(parseDate("2027-01-31"), parseRfc3339("2027-01-31T00:00:00Z"));
  EXPECT_EQ(parseDate("2027-01-31T12:00:00Z"), parseRfc3339("2027-01-31T12:00:00Z"));
  EXPECT_FALSE(parseDateTime("2027-01-31")) << "a date without a time";
  EXPECT_TRUE(parseDate("2000-01-01"));
  EXPECT_TRUE(parseDate("1999-12-31T23:30:00-01:00")) << "in UTC it is 2000";
  EXPECT_TRUE(parseDate("2261-12-31"));
  for (const auto bad :
       {"0001-01-01", "0000-12-31", "1600-01-01", "1700-01-01", "1733-06-01", "1970-01-01", "1999-12-31",
        "2000-01-01T00:30:00+01:00", "9999-12-31T23:30:00-01:00", "10000-01-01", "-2027-01-31", ""}) {
    EXPECT_FALSE(parseDate(bad)) << bad;
  }
}

TEST(Date, BeyondTheClocksRangeIsItsLastMoment) {
  for (const auto far : {"2262-04-12", "2300-02-28", "9999-12-31", "9999-12-31T23:59:59Z"}) {
    EXPECT_EQ(parseDate(far), Wall::time_point::max()) << far;
  }
  EXPECT_LT(*parseDate("2262-04-10"), Wall::time_point::max());
  const auto last = rfc3339(Wall::time_point::max());
  EXPECT_EQ(parseDate(last), Wall::time_point::max()) << last;
}

TEST(Date, AdditionNeverWraps) {
  const auto now = *parseDate("2026-01-01");
  EXPECT_EQ(later(now, 24h), parseDate("2026-01-02"));
  EXPECT_EQ(later(now, nanoseconds::max()), Wall::time_point::max());
  EXPECT_EQ(later(Wall::time_point::max(), 1ns), Wall::time_point::max());
  EXPECT_EQ(later(Wall::time_point::max(), 0ns), Wall::time_point::max());
  EXPECT_EQ(later(Wall::time_point::min(), 0ns), Wall::time_point::min());
}

TEST(Strings, ClosestSuggestsOnlySimilarWords) {
  const std::vector<std::string_view> words{"namespace", "labels", "container"};
  EXPECT_EQ(closest("namespce", words), "namespace");
  EXPECT_EQ(closest("zzz", words), std::nullopt);
}

TEST(CleanUtf8, CutsBetweenCharactersAndReplacesInvalidBytes) {
  EXPECT_EQ(cleanUtf8("a\u20acb", 5), "a\u20acb");
  EXPECT_EQ(cleanUtf8("a\u20acb", 4), "a\u20ac");
  EXPECT_EQ(cleanUtf8("a\u20acb", 3), "a");
  EXPECT_EQ(cleanUtf8("a\u20acb", 3, "..."), "a...");
  EXPECT_EQ(cleanUtf8("a\xe2\x82", 10), "a\ufffd\ufffd");
  EXPECT_EQ(cleanUtf8("\x1b\n\x7f\xc2\x9b\u2028", 100), "\x1b\n\ufffd\ufffd\ufffd")
      << "JSON escapes the first two";
}

TEST(Quoted, StaysWithinItsLimitDespiteEscapes) {
  EXPECT_EQ(quoted("a\"b"), R"("a\"b")");
  EXPECT_EQ(quoted("a\nb"), R"("a\x0ab")");
  EXPECT_EQ(quoted("abc", 3), "\"abc\"");
  EXPECT_EQ(quoted("abcd", 3), "\"abc…\"");
  EXPECT_EQ(quoted("a\n", 4), "\"a…\"") << "no partial escape";
  EXPECT_LE(quoted(std::string_view(std::string(1000, '\0'))).size(), 125U);
}

TEST(Quoted, IsUtf8WhereverItIsCut) {
  EXPECT_EQ(quoted("a\u20acb", 5), "\"a\u20acb\"");
  EXPECT_EQ(quoted("a\u20acb", 3), "\"a…\"") << "no partial character";
  EXPECT_EQ(quoted("a\xe2\x82"), R"("a\xe2\x82")");
}

TEST(Quoted, DoesNotControlATerminal) {
  EXPECT_EQ(quoted("\x1b\x7f\u009b2J\u2028"), R"("\x1b\x7f\xc2\x9b2J\xe2\x80\xa8")");
  EXPECT_EQ(escaped("\x1b[2J \u009b2J \\\"\u20ac\"\xff"), "\\x1b[2J \\xc2\\x9b2J \\\"\u20ac\"\\xff");
}

TEST(AsUtf8, ReplacesOnlyInvalidBytes) {
  EXPECT_EQ(asUtf8("a\u20ac\u009b\n"), "a\u20ac\u009b\n");
  EXPECT_EQ(asUtf8("\xff"
                   "a\xe2\x82"),
            "\ufffd"
            "a\ufffd\ufffd");
  EXPECT_EQ(asUtf8(""), "");
}

}  // namespace
}  // namespace fallbackd
