// SPDX-License-Identifier: Apache-2.0
// A log line stays one line, whatever a value contains.
#include "telemetry/log.hpp"

#include "shell.hpp"
#include "temp_folder.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::telemetry {
namespace {

using config::LogFormat;
using config::LogLevel;
using testing::HasSubstr;
using testing::Not;

std::string line(LogFormat format, const std::string& value) {
  return logLine(format, LogLevel::warn, "words", {{"text", value}});
}

TEST(LogLine, IsOneLineOfUtf8ForAllFields) {
  using namespace std::string_literals;
  for (const auto& value : {"a\nb"s, "a\r\nb"s, "\x1b[31mred"s, "\0"s, "\x7f"s, "\xff\xfe"s, "caf\xe9"s,
                            "\xed\xa0\x80"s, "\xc0\xaf"s, "\xc2\x85"s, "\xe2\x80\xa8"s, "\xf4\x90\x80\x80"s,
                            "\xe2\x82"s, "level=error msg=\"forged\""s}) {
    for (const auto format : {LogFormat::human, LogFormat::json}) {
      const auto text = line(format, value);
      for (const char c : text) EXPECT_TRUE(c < 0 || (c >= ' ' && c != 0x7f)) << text;
      EXPECT_EQ(text.find("\xc2\x85"), std::string::npos);
      EXPECT_EQ(text.find("\xe2\x80\xa8"), std::string::npos);
    }
    boost::json::error_code error;
    const auto parsed = boost::json::parse(line(LogFormat::json, value), error);
    ASSERT_FALSE(error) << value;
    EXPECT_TRUE(parsed.at("text").is_string());
  }
  EXPECT_THAT(line(LogFormat::human, "größe"), HasSubstr("text=größe"));
  EXPECT_THAT(line(LogFormat::human, "a=b"), HasSubstr("text=\"a=b\""));
  EXPECT_THAT(line(LogFormat::human, "😀"), HasSubstr("text=😀"));
}

TEST(LogLine, StaysBelowTheLimitOfCri) {
  const auto text = line(LogFormat::json, std::string(1 << 20, 'x'));
  EXPECT_LT(text.size(), 5000U);
  EXPECT_THAT(text, HasSubstr("x…"));
}

TEST(LogLine, JsonHasItsFields) {
  const auto text =
      logLine(LogFormat::json, LogLevel::error, "words", {{"pid", 7}, {"ms", 1.5}, {"ok", true}});
  const auto parsed = boost::json::parse(text);
  EXPECT_EQ(parsed.at("level").as_string(), "error");
  EXPECT_EQ(parsed.at("msg").as_string(), "words");
  EXPECT_EQ(parsed.at("pid").as_int64(), 7);
  EXPECT_TRUE(parsed.at("ok").as_bool());
}

TEST(Log, WritesThePriorityOnlyForJournald) {
  const test::TempFolder folder;
  const auto log = folder.write("log", "");
  const auto run = [&](const std::string& stream) {
    return test::shell("JOURNAL_STREAM=" + stream + " " + LOG_SPEAKER + " 2>" + log + "; cat " + log).text;
  };
  const auto told = run("$(stat -c %d:%i " + log + ")");
  EXPECT_THAT(told, testing::StartsWith("<6>"));
  EXPECT_THAT(told, HasSubstr("\n<4>"));
  EXPECT_THAT(told, HasSubstr("\n<3>"));
  EXPECT_THAT(run("1:1"), Not(HasSubstr("<6>")));
  EXPECT_THAT(run("''"), Not(HasSubstr("<6>")));
}

}  // namespace
}  // namespace fallbackd::telemetry
