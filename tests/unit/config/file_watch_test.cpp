// SPDX-License-Identifier: Apache-2.0
#include "config/file_watch.hpp"

#include "config/files.hpp"
#include "few_descriptors.hpp"
#include "no_room_for_watches.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct FileWatchTest : testing::Test {
  /// Whether changed() returns after `act`, which runs once the folders are watched.
  bool noticed(const std::function<void()>& act) {
    bool done = false;
    boost::asio::co_spawn(loop, watcher->changed(), [&](std::exception_ptr) { done = true; });
    loop.restart();
    loop.poll();  // up to the wait for the first event
    EXPECT_FALSE(done) << "nothing has changed yet";
    act();
    return test::runUntil(loop, [&] { return done; });
  }
  /// Whether changed() returns without a further change while time passes.
  bool returns() {
    bool done = false;
    boost::asio::co_spawn(loop, watcher->changed(), [&](std::exception_ptr) { done = true; });
    return test::runUntil(loop, [&] { return done; });
  }
  void noteNews() {
    watcher = std::make_unique<FileWatch>(
        loop.get_executor(), file, std::nullopt,
        [this](const Result<>& watched) { news.push_back(watched ? "works" : watched.error().message()); });
  }
  std::vector<std::string> news;
  test::TempFolder folder;
  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  std::string file = folder.write("fallbackd.yaml", "a");
  std::unique_ptr<FileWatch> watcher = std::make_unique<FileWatch>(loop.get_executor(), file, std::nullopt);
};

TEST_F(FileWatchTest, WrittenInPlace) {
  EXPECT_TRUE(noticed([&] { folder.write("fallbackd.yaml", "b"); }));
}

TEST_F(FileWatchTest, ReplacedByRename) {
  EXPECT_TRUE(noticed([&] {
    folder.write("new", "b");
    fs::rename(folder.path() + "/new", file);
  }));
}

TEST_F(FileWatchTest, ADropInFolderCreatedLaterAndItsFiles) {
  EXPECT_TRUE(noticed([&] { fs::create_directory(folder.path() + "/conf.d"); }));
  EXPECT_TRUE(noticed([&] { folder.write("conf.d/a.yaml", "b"); }));
  EXPECT_TRUE(noticed([&] { fs::remove(folder.path() + "/conf.d/a.yaml"); }));
}

TEST_F(FileWatchTest, TheSymlinkSwapOfAConfigMap) {
  const std::string root = folder.path();
  fs::remove(file);
  folder.write("..1/fallbackd.yaml", "one");
  fs::create_symlink("..1", root + "/..data");
  fs::create_symlink("..data/fallbackd.yaml", file);
  for (int round = 2; round < 5; ++round) {
    EXPECT_TRUE(noticed([&] {
      const std::string next = ".." + std::to_string(round);
      folder.write(next + "/fallbackd.yaml", "next");
      fs::create_symlink(next, root + "/..data_tmp");
      fs::rename(root + "/..data_tmp", root + "/..data");
      fs::remove_all(root + "/.." + std::to_string(round - 1));
    }));
  }
}

TEST_F(FileWatchTest, TheSwapBehindSymlinkedDropIns) {
  const std::string conf = folder.path() + "/conf.d";
  folder.write("conf.d/..1/a.yaml", "one");
  fs::create_symlink("..1", conf + "/..data");
  fs::create_symlink("..data/a.yaml", conf + "/a.yaml");
  EXPECT_TRUE(noticed([&] {
    folder.write("conf.d/..2/a.yaml", "two");
    fs::create_symlink("..2", conf + "/..data_tmp");
    fs::rename(conf + "/..data_tmp", conf + "/..data");
  }));
}

TEST_F(FileWatchTest, AFileBehindASymlinkToAnotherFolder) {
  fs::remove(file);
  const auto target = folder.write("elsewhere/real.yaml", "a");
  fs::create_symlink(target, file);
  EXPECT_TRUE(noticed([&] { folder.write("elsewhere/real.yaml", "b"); }));
}

TEST_F(FileWatchTest, TheWholeFolderReplaced) {
  folder.write("etc/fallbackd.yaml", "a");
  const auto moved = folder.path() + "/etc/fallbackd.yaml";
  watcher = std::make_unique<FileWatch>(loop.get_executor(), moved, std::nullopt);
  EXPECT_TRUE(noticed([&] { fs::rename(folder.path() + "/etc", folder.path() + "/old"); }));
  EXPECT_TRUE(noticed([&] { folder.write("etc/fallbackd.yaml", "b"); }));
  EXPECT_TRUE(noticed([&] { folder.write("etc/fallbackd.yaml", "c"); }));
}

TEST_F(FileWatchTest, ADropInFolderWhoseParentsAreCreatedLater) {
  watcher = std::make_unique<FileWatch>(loop.get_executor(), file, folder.path() + "/x/y/z");
  EXPECT_TRUE(noticed([&] { fs::create_directories(folder.path() + "/x/y"); }));
  EXPECT_TRUE(noticed([&] { folder.write("x/y/z/a.yaml", "b"); }));
}

TEST_F(FileWatchTest, AChangeBetweenWatchAndWait) {
  ASSERT_TRUE(watcher->watch());
  folder.write("fallbackd.yaml", "b");
  EXPECT_TRUE(noticed([] {}));
}

/// The daemon reads the files, and starts many other parts before it can watch them.
TEST_F(FileWatchTest, AChangeBetweenTheFirstReadAndTheWatch) {
  const auto watchSince = [&](const std::string& read) {
    watcher = std::make_unique<FileWatch>(loop.get_executor(), file, std::nullopt, nullptr, read);
  };
  const auto asRead = metadataOf(file, folder.path() + "/conf.d");
  watchSince(asRead);
  EXPECT_TRUE(noticed([&] { folder.write("fallbackd.yaml", "bb"); })) << "not before the change";
  watchSince(asRead);
  EXPECT_TRUE(returns()) << "the file changed before the watch";
  EXPECT_TRUE(noticed([&] { folder.write("conf.d/a.yaml", "b"); }))
      << "the earlier change is reported only once";
  watchSince(metadataOf(file, folder.path() + "/conf.d"));
  fs::remove(folder.path() + "/conf.d/a.yaml");
  EXPECT_TRUE(returns()) << "a drop-in was removed";
  watchSince(asRead);
  const test::FewDescriptors none;
  EXPECT_TRUE(returns()) << "the comparison without inotify finds it, too";
}

TEST_F(FileWatchTest, ABurstIsOneChange) {
  int rounds = 0;
  EXPECT_TRUE(noticed([&] {
    for (; rounds < 50; ++rounds) folder.write("fallbackd.yaml", std::to_string(rounds));
  }));
  auto paths = WatchedPaths::create(file, folder.path() + "/conf.d");
  ASSERT_TRUE(paths && paths->follow());
  EXPECT_FALSE(paths->drain());
  bool again = false;
  boost::asio::co_spawn(loop, watcher->changed(), [&](std::exception_ptr) { again = true; });
  loop.restart();
  loop.poll();
  EXPECT_FALSE(again);
}

/// All processes of a user share the limits of inotify.
TEST_F(FileWatchTest, WithoutInotifyItComparesUntilItWorks) {
  const boost::asio::steady_timer first(loop);  // the loop has opened its own descriptors
  noteNews();
  {
    const test::FewDescriptors none;
    bool done = false;
    boost::asio::co_spawn(loop, watcher->changed(), [&](std::exception_ptr) { done = true; });
    clock.advance(loop, 1min);
    EXPECT_FALSE(done) << "nothing has changed yet";
    fs::resize_file(file, 3);
    clock.advance(loop, 10s);
    EXPECT_TRUE(done);
    fs::resize_file(file, 4);  // after the last comparison, before the next call
    EXPECT_TRUE(returns());
    ASSERT_EQ(news.size(), 1U) << "it is reported once";
    EXPECT_NE(news.front().find("Too many open files"), std::string::npos) << news.front();
  }
  EXPECT_TRUE(returns()) << "changes before the watch may have been missed";
  ASSERT_EQ(news.size(), 2U);
  EXPECT_EQ(news.back(), "works");
  EXPECT_TRUE(noticed([&] { folder.write("fallbackd.yaml", "b"); }));
}

TEST_F(FileWatchTest, WithoutRoomForAWatchItComparesUntilThereIs) {
  noteNews();
  EXPECT_TRUE(noticed([&] {
    test::noRoomForWatches = true;
    folder.write("fallbackd.yaml", "b");
  }));
  fs::resize_file(file, 5);
  EXPECT_TRUE(returns());
  test::noRoomForWatches = false;
  ASSERT_EQ(news.size(), 1U) << "it is reported once";
  EXPECT_NE(news.front().find("No space left on device"), std::string::npos) << news.front();
  EXPECT_TRUE(returns());
  EXPECT_EQ(news.back(), "works");
  EXPECT_TRUE(noticed([&] { folder.write("fallbackd.yaml", "c"); }));
}

TEST_F(FileWatchTest, TheWaitCanBeCancelled) {
  boost::asio::cancellation_signal cancel;
  std::exception_ptr error;
  boost::asio::co_spawn(
      loop, watcher->changed(),
      boost::asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr e) { error = e; }));
  loop.poll();
  EXPECT_EQ(error, nullptr);
  cancel.emit(boost::asio::cancellation_type::terminal);
  loop.restart();
  loop.run();
  ASSERT_NE(error, nullptr);
  EXPECT_THROW(std::rethrow_exception(error), boost::system::system_error);
}

/// Tests follow() and drain() directly, without the quiet period.
struct WatchedPathsTest : testing::Test {
  test::TempFolder folder;
  std::string file = folder.write("fallbackd.yaml", "a");
  Result<WatchedPaths> paths = WatchedPaths::create(file, folder.path() + "/conf.d");
  void SetUp() override { ASSERT_TRUE(paths && paths->follow()); }
};

TEST_F(WatchedPathsTest, OtherFilesDoNotMatter) {
  folder.write("fallbackd.yaml.swp", "x");
  folder.write("other/fallbackd.yaml", "x");
  EXPECT_FALSE(paths->drain());
  folder.write("conf.d/a.yaml", "x");
  EXPECT_TRUE(paths->drain());
  ASSERT_TRUE(paths->follow());
  folder.write("conf.d/notes.txt", "x");
  folder.write("conf.d/.a.yaml.swp", "x");
  EXPECT_FALSE(paths->drain());
  folder.write("conf.d/b.yml", "x");
  EXPECT_TRUE(paths->drain());
}

TEST_F(WatchedPathsTest, IrrelevantFoldersAreForgotten) {
  folder.write("one/f.yaml", "x");
  folder.write("two/f.yaml", "x");
  fs::remove(file);
  fs::create_symlink("one/f.yaml", file);
  EXPECT_TRUE(paths->drain());
  ASSERT_TRUE(paths->follow());
  fs::remove(file);
  fs::create_symlink("two/f.yaml", file);
  EXPECT_TRUE(paths->drain());
  ASSERT_TRUE(paths->follow());
  folder.write("one/f.yaml", "y");
  EXPECT_FALSE(paths->drain());
  folder.write("two/f.yaml", "y");
  EXPECT_TRUE(paths->drain());
}

TEST_F(WatchedPathsTest, ASymlinkLoopEnds) {
  fs::remove(file);
  fs::create_symlink("fallbackd.yaml", file);
  EXPECT_TRUE(paths->drain());
  EXPECT_TRUE(paths->follow());
  fs::remove(file);
  EXPECT_TRUE(paths->drain());
}

}  // namespace
}  // namespace fallbackd::config
