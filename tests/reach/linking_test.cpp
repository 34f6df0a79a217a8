// SPDX-License-Identifier: Apache-2.0
// How the programs are linked: what a memory error can overwrite.
#include "e2e_gtest.hpp"
#include "process.hpp"
#include "run_dir.hpp"

namespace fallbackd::e2e {
namespace {

/// Returns a bool because the whole output would hide the message.
bool says(const std::string& output, const char* word) {
  return output.find(word) != std::string::npos;
}

TEST(ReachLinking, TheDaemonsOffsetTableIsReadOnly) {
  RecordProperty("item", "12");
  RecordProperty("attack", "A memory error overwrites a pointer in the daemon's global offset table");
  E2E_TRY(const auto said,
          runOk({.argv = {"readelf", "--wide", "--segments", "--dynamic", binary("fallbackd")},
                 .env = {},
                 .output = {}}));
  EXPECT_TRUE(says(said, "GNU_RELRO")) << "the table is writable: no RELRO segment";
  EXPECT_TRUE(says(said, "BIND_NOW")) << "the table stays writable: functions are bound lazily";
}

}  // namespace
}  // namespace fallbackd::e2e
