// SPDX-License-Identifier: Apache-2.0
// main() of the end-to-end tests: runs gtest isolated; prints the logs of all parts if a test fails.
#include "isolate.hpp"
#include "read_only.hpp"
#include "run_dir.hpp"

#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include <gtest/gtest.h>

namespace {

constexpr std::size_t kLinesShown = 25;
constexpr std::size_t kColumnsShown = 300;

void showEnd(const std::filesystem::path& file) {
  std::deque<std::string> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line.substr(0, kColumnsShown));
    if (lines.size() > kLinesShown) lines.pop_front();
  }
  std::printf("---- the end of %s\n", file.filename().c_str());
  for (const auto& line : lines) std::printf("%s\n", line.c_str());
}

class ShowLogsOfFailures : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo& info) override {
    if (!info.result()->Failed()) return;
    std::error_code none;  // no log was ever opened
    for (const auto& entry : std::filesystem::directory_iterator(fallbackd::e2e::logsDir(), none)) {
      showEnd(entry.path());
    }
    std::fflush(stdout);
  }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (GTEST_FLAG_GET(list_tests)) return RUN_ALL_TESTS();
  const auto body = [] {
    testing::UnitTest::GetInstance()->listeners().Append(new ShowLogsOfFailures);  // gtest owns it
    return RUN_ALL_TESTS();
  };
  return fallbackd::e2e::runIsolated(argc, argv, body,
                                     fallbackd::test::outputFolders(GTEST_FLAG_GET(output)));
}
