#include "cache/floor.hpp"

#include "signed_cache.hpp"

namespace fallbackd::cache {
namespace {

TEST(Floor, GoesUpAndStaysUp) {
  const test::TempFolder folder;
  const std::string state = folder.path() + "/a/b";
  {
    auto floor = VersionFloor::open(state);
    ASSERT_TRUE(floor);
    EXPECT_TRUE(floor->check({"a", "0.0.1"}));
    ASSERT_TRUE(floor->raise({"a", "1.10.0"}));
    ASSERT_TRUE(floor->raise({"a", "1.9.0"})) << "an older one does not lower it";
  }
  const auto floor = VersionFloor::open(state);
  ASSERT_TRUE(floor);
  EXPECT_FALSE(floor->warning());
  EXPECT_EQ(floor->check({"a", "1.9.9"}).error().reason, Reason::version_rollback);
  EXPECT_TRUE(floor->check({"a", "1.10.0"}));
  EXPECT_TRUE(floor->check({"b", "0.1"}));
}

TEST(Floor, ADamagedFileIsSetAsideAndSaid) {
  const test::TempFolder folder;
  for (const auto* text : {"", "{", R"({"versions":{"a":7}})", R"({"versions":{"A b":"1"}})", "[]"}) {
    folder.write("version-floor.json", text);
    auto floor = VersionFloor::open(folder.path());
    ASSERT_TRUE(floor) << text << ": it must not lock the node out";
    EXPECT_TRUE(floor->warning()) << text;
    EXPECT_EQ(test::readBytes(folder.path() + "/version-floor.json.damaged"), text);
    EXPECT_TRUE(floor->check({"a", "0"})) << "there was no copy yet";
    EXPECT_TRUE(floor->raise({"a", "1"}));
    EXPECT_FALSE(VersionFloor::open(folder.path())->warning());
    std::filesystem::remove(folder.path() + "/version-floor.copy.json");
  }
}

TEST(Floor, LookingTouchesNothing) {
  const test::TempFolder folder;
  ASSERT_TRUE(VersionFloor::open(folder.path() + "/none", VersionFloor::Mode::look));
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/none"));
  const auto file = folder.write("version-floor.json", "{");
  EXPECT_TRUE(VersionFloor::open(folder.path(), VersionFloor::Mode::look)->warning());
  EXPECT_EQ(test::readBytes(file), "{");
}

TEST(Floor, WhatCannotBeWrittenIsNotClaimed) {
  const test::TempFolder folder;
  auto floor = VersionFloor::open(folder.path() + "/state");
  ASSERT_TRUE(floor);
  std::filesystem::remove_all(folder.path() + "/state");
  EXPECT_EQ(floor->raise({"a", "1"}).error().reason, Reason::floor_unwritable);
  EXPECT_TRUE(floor->check({"a", "0.1"}));
}

}  // namespace
}  // namespace fallbackd::cache
