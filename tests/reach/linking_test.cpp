// How the programs are linked: what an error in memory finds to write to.
#include "e2e_gtest.hpp"
#include "process.hpp"
#include "run_dir.hpp"

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using testing::HasSubstr;

TEST(ReachLinking, TheDaemonsTableOfFunctionsIsReadOnly) {
  RecordProperty("item", "12");
  RecordProperty("attack", "An error in memory overwrites a pointer in the daemon's global offset table");
  E2E_TRY(const auto said,
          runOk({.argv = {"readelf", "--wide", "--segments", "--dynamic", binary("fallbackd")},
                 .env = {},
                 .output = {}}));
  EXPECT_THAT(said, HasSubstr("GNU_RELRO")) << "the table is writable: no RELRO segment";
  EXPECT_THAT(said, HasSubstr("BIND_NOW")) << "the table stays writable: functions are bound lazily";
}

}  // namespace
}  // namespace fallbackd::e2e
