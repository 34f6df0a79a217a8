// SPDX-License-Identifier: Apache-2.0
// A deliberate rollback: for one name the configuration lowers the version that annotations and command lines
// must reach, until the floor is above the version that is rolled back.
#include "cache/cache.hpp"
#include "ctl_fixture.hpp"

namespace fallbackd::cache {
namespace {

using test::CtlTest;
using test::kProgram;
using test::SignedCache;

/// One name in several versions; 1.9.0 has run.
struct RollbackTest : testing::Test {
  RollbackTest() {
    for (const auto& ref : {oldest, older, bad, fixed}) cache.put(ref, test::program("elf-static-pie"));
    EXPECT_TRUE(resident.refresh({bad}).at(0).result);
  }
  /// What pods get that choose these versions, with the current configuration, which names no other version.
  std::string chosen(const std::vector<BinaryRef>& refs) {
    std::string all;
    for (const auto& one : resident.refresh({}, Clock::system().wall(), refs)) {
      all +=
          one.ref.version + (one.result ? " " : " " + std::string(toString(one.result.error().reason)) + " ");
    }
    return all;
  }
  void rollBack(std::vector<config::Rollback> rollbacks) {
    auto settings = cache.settings();
    settings.rollbacks = std::move(rollbacks);
    resident.reconfigure(std::move(settings));
  }
  [[nodiscard]] std::string floorFile() const {
    return test::readBytes(cache.path("state/version-floor.json"));
  }
  SignedCache cache;
  BinaryRef oldest{"checkout", "1.8.1"};
  BinaryRef older{"checkout", "1.8.2"};
  BinaryRef bad{"checkout", "1.9.0"};
  BinaryRef fixed{"checkout", "1.9.1"};
  config::Rollback back{bad, "1.8.2"};
  Cache resident{cache.settings(), ::geteuid()};
};

TEST_F(RollbackTest, LowersTheFloorOfOneNameForChoosers) {
  EXPECT_EQ(chosen({older}), "1.8.2 version_rollback ");
  rollBack({config::Rollback{{"cart", "1.9.0"}, "1.8.2"}});
  EXPECT_EQ(chosen({older}), "1.8.2 version_rollback ") << "the rollback is for a different name";
  const auto before = floorFile();
  rollBack({back});
  EXPECT_EQ(chosen({oldest, older}), "1.8.1 version_rollback 1.8.2 ");
  EXPECT_EQ(floorFile(), before) << "the floor on disk only rises";
  ASSERT_EQ(resident.rolledBack().size(), 1U);
  EXPECT_EQ(resident.rolledBack()[0].state, RollbackState::in_effect);
  EXPECT_EQ(resident.rolledBack()[0].floor, "1.9.0");
}

TEST_F(RollbackTest, EndsWithTheConfigurationsEntry) {
  rollBack({back});
  EXPECT_EQ(chosen({older}), "1.8.2 ");
  rollBack({});
  EXPECT_EQ(chosen({older}), "1.8.2 version_rollback ") << "its resident copy no longer serves either";
  EXPECT_TRUE(resident.rolledBack().empty());
}

TEST_F(RollbackTest, IsOverOnceSomethingNewerHasRunAndCannotBeReplayed) {
  rollBack({back});
  EXPECT_EQ(chosen({older}), "1.8.2 ");
  ASSERT_TRUE(resident.refresh({fixed}).at(0).result);
  EXPECT_EQ(resident.rolledBack().at(0).state, RollbackState::passed);
  EXPECT_EQ(chosen({older}), "1.8.2 version_rollback ");
  // The same entry after a restart: somebody restored an old configuration.
  auto settings = cache.settings();
  settings.rollbacks = {back};
  Cache restarted(settings, ::geteuid());
  EXPECT_FALSE(restarted.refresh({}, Clock::system().wall(), {older}).at(0).result);
  EXPECT_EQ(restarted.rolledBack().at(0).state, RollbackState::passed);
}

TEST_F(RollbackTest, IsNotEndedByAPodThatChoosesSomethingNewer) {
  rollBack({back});
  EXPECT_EQ(chosen({fixed}), "1.9.1 ");
  EXPECT_EQ(resident.rolledBack().at(0).state, RollbackState::in_effect);
  EXPECT_EQ(chosen({older}), "1.8.2 ") << "one pod's choice must not lock out the others";
  // The signers' minimum version always counts, whoever chose the binary.
  const BinaryRef firm{"checkout", "1.9.2"};
  const auto bytes = test::program("elf-static-pie");
  auto statement = SignedCache::statementFor(firm, bytes);
  statement.minimumVersion = "1.9.1";
  cache.put(firm, bytes, statement, cache.key);
  EXPECT_EQ(chosen({firm}), "1.9.2 ");
  EXPECT_EQ(resident.rolledBack().at(0).state, RollbackState::passed);
  EXPECT_EQ(chosen({older}), "1.8.2 version_rollback ");
}

TEST_F(RollbackTest, SurvivesARestartAndTheConfigurationMayStillNameWhatIsRolledBack) {
  auto settings = cache.settings();
  settings.rollbacks = {back};
  Cache restarted(settings, ::geteuid());
  const auto entries = restarted.refresh({bad}, Clock::system().wall(), {older});
  EXPECT_TRUE(entries.at(0).result) << "a workload may name any version";
  EXPECT_TRUE(entries.at(1).result);
  EXPECT_NE(*restarted.resident(older), nullptr) << "naming 1.9.0 again drops nothing";
}

TEST(Rollback, IsNotNeededOnANodeThatNeverSawTheVersion) {
  const SignedCache cache;
  auto floor = VersionFloor::open(cache.path("state"));
  const config::Rollback back{{"checkout", "1.9.0"}, "1.8.2"};
  EXPECT_EQ(floor->stateOf(back), RollbackState::not_needed);
  ASSERT_TRUE(floor->raise({"checkout", "1.8.2"}));
  EXPECT_EQ(floor->stateOf(back), RollbackState::not_needed);
  ASSERT_TRUE(floor->raise({"checkout", "1.8.5"}));
  EXPECT_EQ(floor->stateOf(back), RollbackState::in_effect)
      << "it is not above the version that is rolled back";
  EXPECT_EQ(floor->effective("checkout", {back}), "1.8.2");
}

TEST_F(CtlTest, ACommandLineChoosesWhatTheConfigurationRollsBackTo) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  std::filesystem::create_directory(path("state"));
  test::writeBytes(path("state/version-floor.json"), R"({"versions":{"checkout":"1.9.0"}})", 0644);
  EXPECT_EQ(ctl("exec" + where + "checkout@1.8.3 -- 42").code, 1);
  folder.write("fallbackd.yaml",
               "apiVersion: fallbackd.io/v1\n"
               "cache: {rollbacks: [{binary: checkout@1.9.0, rollbackTo: 1.8.3}]}\nworkloads: []\n");
  const auto configured = " --config " + path("fallbackd.yaml") + where;
  EXPECT_EQ(ctl("verify" + configured).code, 0);
  EXPECT_EQ(ctl("exec" + configured + "checkout@1.8.3 -- 42").code, 42);
  test::writeBytes(path("state/version-floor.json"), R"({"versions":{"checkout":"1.9.1"}})", 0644);
  EXPECT_EQ(ctl("exec" + configured + "checkout@1.8.3 -- 42").code, 1) << "a newer version has run";
}

}  // namespace
}  // namespace fallbackd::cache
