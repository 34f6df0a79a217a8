// SPDX-License-Identifier: Apache-2.0
#include "cache/floor.hpp"

#include "fake_clock.hpp"
#include "signed_cache.hpp"
#include "sys/fd.hpp"

#include <fcntl.h>
#include <sys/file.h>

namespace fallbackd::cache {
namespace {

TEST(Floor, OnlyRises) {
  const test::TempFolder folder;
  const std::string state = folder.path() + "/a/b";
  {
    auto floor = VersionFloor::open(state);
    ASSERT_TRUE(floor);
    EXPECT_TRUE(floor->check({"a", "0.0.1"}));
    ASSERT_TRUE(floor->raise({"a", "1.10.0"}));
    ASSERT_TRUE(floor->raise({"a", "1.9.0"})) << "an older version does not lower it";
  }
  const auto floor = VersionFloor::open(state);
  ASSERT_TRUE(floor);
  EXPECT_FALSE(floor->warning());
  EXPECT_EQ(floor->check({"a", "1.9.9"}).error().reason, Reason::version_rollback);
  EXPECT_TRUE(floor->check({"a", "1.10.0"}));
  EXPECT_TRUE(floor->check({"b", "0.1"}));
}

TEST(Floor, ADamagedFileIsSetAsideAndReported) {
  const test::TempFolder folder;
  for (const auto* text : {"", "{", R"({"versions":{"a":7}})", R"({"versions":{"A b":"1"}})", "[]"}) {
    folder.write("version-floor.json", text);
    auto floor = VersionFloor::open(folder.path());
    ASSERT_TRUE(floor) << text << ": it must not lock the node out";
    EXPECT_TRUE(floor->warning()) << text;
    EXPECT_EQ(test::readBytes(folder.path() + "/version-floor.json.damaged"), text);
    EXPECT_TRUE(floor->check({"a", "0"})) << "no copy exists yet";
    EXPECT_TRUE(floor->raise({"a", "1"}));
    EXPECT_FALSE(VersionFloor::open(folder.path())->warning());
    std::filesystem::remove(folder.path() + "/version-floor.copy.json");
  }
}

TEST(Floor, LookingChangesNothing) {
  const test::TempFolder folder;
  ASSERT_TRUE(VersionFloor::open(folder.path() + "/none", VersionFloor::Mode::look));
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/none"));
  const auto file = folder.write("version-floor.json", "{");
  EXPECT_TRUE(VersionFloor::open(folder.path(), VersionFloor::Mode::look)->warning());
  EXPECT_EQ(test::readBytes(file), "{");
}

TEST(Floor, AFailedWriteIsNotAcknowledged) {
  const test::TempFolder folder;
  auto floor = VersionFloor::open(folder.path() + "/state");
  ASSERT_TRUE(floor);
  std::filesystem::remove_all(folder.path() + "/state");
  EXPECT_EQ(floor->raise({"a", "1"}).error().reason, Reason::floor_unwritable);
  EXPECT_TRUE(floor->check({"a", "0.1"}));
}

std::string floorOf(std::size_t names) {
  std::string list;
  for (std::size_t i = 0; i < names; ++i) {
    const auto name = "n" + std::to_string(i);
    list.append(list.empty() ? "" : ",").append("\"" + name + "\":\"1.0.0\"");
  }
  return R"({"versions":{)" + list + "}}";
}

void writeBoth(const test::TempFolder& folder, const std::string& text) {
  for (const auto* name : {"version-floor.json", "version-floor.copy.json"}) folder.write(name, text);
}

TEST(FloorLimits, MoreNamesThanAnAttestationMayHave) {
  const test::TempFolder folder;
  writeBoth(folder, floorOf(4096));
  ASSERT_TRUE(VersionFloor::open(folder.path())->raise({"checkout", "1.8.3"}));
  auto floor = VersionFloor::open(folder.path());
  ASSERT_TRUE(floor) << floor.error().message();
  EXPECT_FALSE(floor->warning()) << *floor->warning();
  EXPECT_EQ(floor->check({"checkout", "1.8.2"}).error().reason, Reason::version_rollback);
  EXPECT_EQ(floor->check({"n4095", "0.9"}).error().reason, Reason::version_rollback);
}

TEST(FloorLimits, AFullFloorRefusesNewNamesButRaisesItsOwn) {
  const test::TempFolder folder;
  writeBoth(folder, floorOf(VersionFloor::kMaxNames));
  auto floor = VersionFloor::open(folder.path());
  ASSERT_TRUE(floor) << floor.error().message();
  EXPECT_EQ(floor->raise({"checkout", "1.8.3"}).error().reason, Reason::floor_unwritable);
  EXPECT_TRUE(floor->raise({"n7", "2.0.0"}));
  EXPECT_EQ(VersionFloor::open(folder.path())->check({"n7", "1.9"}).error().reason, Reason::version_rollback);
}

TEST(FloorLimits, ExceedingThemIsAnErrorAndNotAnEmptyFloor) {
  const test::TempFolder folder;
  for (const auto& text : {floorOf(VersionFloor::kMaxNames + 1), std::string(16 << 20, ' ')}) {
    writeBoth(folder, text);
    for (const auto mode : {VersionFloor::Mode::keep, VersionFloor::Mode::look}) {
      const auto floor = VersionFloor::open(folder.path(), mode);
      ASSERT_FALSE(floor);
      EXPECT_EQ(floor.error().reason, Reason::too_large);
      EXPECT_NE(floor.error().context.find("version floor"), std::string::npos) << floor.error().message();
    }
    EXPECT_EQ(test::readBytes(folder.path() + "/version-floor.json"), text) << "the file is unchanged";
  }
  folder.write("version-floor.copy.json", R"({"versions":{"checkout":"1.8.3"}})");
  const auto floor = VersionFloor::open(folder.path());
  ASSERT_TRUE(floor) << "the copy has it";
  EXPECT_TRUE(floor->warning());
  EXPECT_EQ(floor->check({"checkout", "1.8.2"}).error().reason, Reason::version_rollback);
}

TEST(FloorLimits, AnUnreadableFileIsAnError) {
  const test::TempFolder folder;
  for (const auto* name : {"version-floor.json", "version-floor.copy.json"})
    std::filesystem::create_directory(folder.path() + "/" + name);  // reading it fails with EISDIR
  EXPECT_EQ(VersionFloor::open(folder.path()).error().reason, Reason::system);
  std::filesystem::remove(folder.path() + "/version-floor.copy.json");
  EXPECT_FALSE(VersionFloor::open(folder.path())) << "a missing copy does not help";
}

TEST(FloorSharing, ConcurrentRaisesAreNotLost) {
  const test::TempFolder folder;
  auto one = VersionFloor::open(folder.path());
  auto two = VersionFloor::open(folder.path());
  ASSERT_TRUE(one->raise({"a", "2.0"}));
  ASSERT_TRUE(two->raise({"b", "2.0"}));
  ASSERT_TRUE(two->raise({"a", "1.5"})) << "the floor is already higher";
  const auto found = VersionFloor::open(folder.path());
  EXPECT_FALSE(found->check({"a", "1.9"}));
  EXPECT_FALSE(found->check({"b", "1.9"}));
}

TEST(FloorSharing, AHeldLockBlocksOnlyForAWhile) {
  const test::TempFolder folder;
  const test::FakeClock clock;
  const auto begun = clock.now();
  auto floor = VersionFloor::open(folder.path(), VersionFloor::Mode::keep, clock);
  const sys::UniqueFd other(::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  EXPECT_EQ(floor->raise({"a", "1"}).error().reason, Reason::floor_unwritable);
  EXPECT_GE(clock.now() - begun, std::chrono::seconds(2)) << "it waited that long";
  ASSERT_EQ(::flock(other.get(), LOCK_UN), 0);
  EXPECT_TRUE(floor->raise({"a", "1"}));
}

}  // namespace
}  // namespace fallbackd::cache
