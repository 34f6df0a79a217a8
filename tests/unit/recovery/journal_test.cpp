// SPDX-License-Identifier: Apache-2.0
#include "recovery/journal.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::recovery {
namespace {

struct JournalTest : testing::Test {
  JournalTest() {
    std::string name = std::filesystem::temp_directory_path() / "journal-test-XXXXXX";
    folder = ::mkdtemp(name.data());
  }
  ~JournalTest() override { std::filesystem::remove_all(folder); }

  static JournalEntry entry() {
    JournalEntry entry;
    entry.incident.id = "0123456789ab";
    entry.incident.target = {"sandbox-1", "uid-1", "shop", "pod-1", "main"};
    entry.incident.workload = "checkout";
    entry.incident.binary = {"checkout", "1.8.3"};
    entry.incident.cause = Cause::dns;
    entry.incident.causeText = "no such \"host\"\n";
    entry.incident.begun = Clock::system().wall();
    entry.incident.state = State::ready;
    entry.incident.podIp = "10.1.2.3";
    entry.process = {"0123456789ab", 77,  123456789012345, {"/sys/fs/cgroup/a", "/sys/fs/cgroup/b"},
                     "/run/f",       "/l"};
    return entry;
  }
  std::string folder;
};

TEST_F(JournalTest, ReadsBackWhatItWrote) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  const auto written = entry();
  ASSERT_TRUE(journal->write(written));
  const auto contents = journal->read();
  ASSERT_TRUE(contents);
  ASSERT_EQ(contents->entries.size(), 1U);
  const auto& read = contents->entries[0];
  EXPECT_EQ(read.incident.target, written.incident.target);
  EXPECT_EQ(read.incident.causeText, written.incident.causeText);
  EXPECT_EQ(read.incident.state, State::ready);
  EXPECT_TRUE(read.incident.adopted);
  EXPECT_EQ(read.process.pid, 77);
  EXPECT_EQ(read.process.startTime, 123456789012345U);
  EXPECT_EQ(read.process.cgroupLeaves, written.process.cgroupLeaves);
  ASSERT_TRUE(journal->remove(written.incident.id));
  ASSERT_TRUE(journal->remove(written.incident.id)) << "removing twice is fine";
  EXPECT_TRUE(journal->read()->entries.empty());
}

TEST_F(JournalTest, IsForRootAlone) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  ASSERT_TRUE(journal->write(entry()));
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(folder + "/journal").permissions(), perms(0700));
  EXPECT_EQ(std::filesystem::status(folder + "/journal/0123456789ab.json").permissions(), perms(0600));
}

TEST_F(JournalTest, AnEntryOfAnotherVersionIsNotRead) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  ASSERT_TRUE(journal->write(entry()));
  const auto file = folder + "/journal/0123456789ab.json";
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  const std::string from = R"("version":1,)";
  auto other = text.str();
  ASSERT_NE(other.find(from), std::string::npos) << other;
  other.replace(other.find(from), from.size(), R"("version":2,)");
  std::ofstream(file) << other;
  const auto contents = journal->read();
  ASSERT_TRUE(contents);
  EXPECT_TRUE(contents->entries.empty());
  EXPECT_EQ(contents->damaged.size(), 1U);
}

TEST_F(JournalTest, KeepsTheOriginOfTheWorkload) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  cri::Sandbox sandbox;
  sandbox.labels = {{"app", "web"}};
  sandbox.annotations = {{"fallbackd.io/binary.main", "web@2.0.0"}, {"someone/else", std::string(100, 'x')}};
  auto written = entry();
  written.pod = factsOf(sandbox);
  ASSERT_TRUE(journal->write(written));
  const auto read = journal->read()->entries.at(0);
  ASSERT_TRUE(read.pod);
  EXPECT_EQ(read.pod->labels, sandbox.labels);
  EXPECT_EQ(read.pod->annotations, (cri::Labels{{"fallbackd.io/binary.main", "web@2.0.0"}}));
}

TEST_F(JournalTest, PartsTooLargeToBeReadAgainAreLeftOut) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  auto written = entry();
  written.pod = PodFacts{{{"app", std::string(2 << 20, 'x')}}, {}};
  written.incident.causeText = std::string(2 << 20, 'y');
  ASSERT_TRUE(journal->write(written));
  const auto contents = journal->read();
  ASSERT_TRUE(contents->damaged.empty()) << contents->damaged[0].second.message();
  EXPECT_FALSE(contents->entries.at(0).pod);
  EXPECT_EQ(contents->entries[0].process.pid, 77);
}

TEST_F(JournalTest, ATextThatIsNotUtf8DoesNotMakeAnEntryUnreadable) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  auto written = entry();
  written.incident.causeText = "503 \xe2\x82";  // a registry's text, cut within a character
  written.incident.state = State::completed;
  written.incident.neverAgain = true;
  ASSERT_TRUE(journal->write(written));
  const auto contents = journal->read();
  ASSERT_TRUE(contents->damaged.empty()) << contents->damaged[0].second.message();
  EXPECT_TRUE(contents->entries.at(0).incident.neverAgain);
}

TEST_F(JournalTest, AHalfWrittenEntryIsRemovedByTheNextDaemon) {
  const std::string half = folder + "/journal/.0123456789ab.json.new";
  std::filesystem::create_directories(folder + "/journal");
  std::ofstream(half) << "{\"id\": ";
  std::ofstream(folder + "/journal/notes.txt") << "not ours";
  const auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  EXPECT_FALSE(std::filesystem::exists(half));
  EXPECT_TRUE(std::filesystem::exists(folder + "/journal/notes.txt"));
}

/// Entries of fallbackd 0.1: fallbacks that run during an upgrade are adopted. A release that changes the
/// format adds its own fixture, and may drop the oldest but one.
TEST_F(JournalTest, ReadsTheEntriesOfThePreviousRelease) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  std::filesystem::copy_file(JOURNAL_FIXTURES "/journal-0.1.json", folder + "/journal/0123456789ab.json");
  const auto contents = journal->read();
  ASSERT_TRUE(contents);
  ASSERT_TRUE(contents->damaged.empty()) << contents->damaged[0].second.message();
  ASSERT_EQ(contents->entries.size(), 1U);
  const auto& entry = contents->entries[0];
  EXPECT_EQ(entry.incident.id, "0123456789ab");
  EXPECT_EQ(entry.incident.target.podName, "web-0");
  EXPECT_EQ(entry.incident.target.container, "checkout");
  EXPECT_EQ(entry.incident.binary.toString(), "checkout@1.8.3");
  EXPECT_EQ(entry.incident.state, State::ready);
  EXPECT_EQ(entry.incident.restarts, 2U);
  EXPECT_EQ(entry.process.pid, 4711);
  EXPECT_EQ(entry.process.startTime, 123456789U);
  EXPECT_EQ(entry.process.cgroupLeaves.size(), 1U);
  EXPECT_EQ(entry.process.logFile, "/var/log/pods/shop_web-0_7c3c5c5e/checkout-fallback/2.log");
}

TEST_F(JournalTest, DamagedEntriesAreReportedAndDoNotHideTheOthers) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  ASSERT_TRUE(journal->write(entry()));
  std::ofstream(folder + "/journal/torn.json") << R"({"version":1,"id":"x")";
  std::ofstream(folder + "/journal/older.json") << R"({"version":99})";
  std::ofstream(folder + "/journal/.half.json.new") << "{";
  std::ofstream(folder + "/elsewhere") << "{}";
  std::filesystem::create_symlink(folder + "/elsewhere", folder + "/journal/link.json");
  const auto contents = journal->read();
  ASSERT_TRUE(contents);
  EXPECT_EQ(contents->entries.size(), 1U);
  ASSERT_EQ(contents->damaged.size(), 3U);
  EXPECT_EQ(contents->damaged[0].first, "link.json");
  EXPECT_EQ(contents->damaged[0].second.reason, Reason::unsafe_path);
}

/// Removal uses the id: an id that differs from the file's would remove another entry.
TEST_F(JournalTest, AnEntryWithAnotherIdIsDamaged) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  ASSERT_TRUE(journal->write(entry()));
  std::filesystem::rename(folder + "/journal/0123456789ab.json", folder + "/journal/other.json");
  const auto contents = journal->read();
  ASSERT_TRUE(contents);
  EXPECT_TRUE(contents->entries.empty());
  ASSERT_EQ(contents->damaged.size(), 1U);
  EXPECT_EQ(contents->damaged[0].second.reason, Reason::invalid);
}

TEST_F(JournalTest, RemovalAcceptsNoPaths) {
  auto journal = Journal::open(folder);
  ASSERT_TRUE(journal);
  std::ofstream(folder + "/victim.json") << "precious";
  for (const char* id : {"../victim", "x/../../victim"}) {
    const auto removed = journal->remove(id);
    ASSERT_FALSE(removed) << id;
    EXPECT_EQ(removed.error().reason, Reason::unsafe_path);
  }
  EXPECT_TRUE(std::filesystem::exists(folder + "/victim.json"));
}

TEST(JournalLock, OnlyOneOfTwoDaemonsHasIt) {
  std::string name = std::filesystem::temp_directory_path() / "recovery-test-XXXXXX";
  const std::string folder = ::mkdtemp(name.data());
  {
    const auto first = Journal::open(folder);
    ASSERT_TRUE(first);
    const auto second = Journal::open(folder);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().reason, Reason::already_exists);
  }
  EXPECT_TRUE(Journal::open(folder));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace fallbackd::recovery
