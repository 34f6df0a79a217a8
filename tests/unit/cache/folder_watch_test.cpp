// SPDX-License-Identifier: Apache-2.0
// The watch on the cache's folders, with the real inotify.
#include "cache/folder_watch.hpp"

#include "few_descriptors.hpp"
#include "no_room_for_watches.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <sys/timex.h>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <gmock/gmock.h>

namespace fallbackd::cache {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

struct FolderWatchTest : testing::Test {
  /// Whether the watch reports a change that `make` makes during the wait.
  bool told(FolderWatch& watch, const std::function<void()>& make) {
    bool returned = false;
    boost::asio::co_spawn(loop, watch.changed(1h), [&](std::exception_ptr) { returned = true; });
    loop.restart();
    loop.poll();
    EXPECT_FALSE(returned) << "it returned before the change";
    make();
    return test::runUntil(loop, [&] { return returned; });
  }
  /// Whether the wait ends after the interval and not before.
  bool returnsAfter(FolderWatch& watch, std::chrono::nanoseconds interval) {
    bool returned = false;
    boost::asio::co_spawn(loop, watch.changed(interval), [&](std::exception_ptr) { returned = true; });
    clock.advance(loop, interval - 1ms);
    const bool early = returned;
    clock.advance(loop, 1ms);
    return returned && !early;
  }
  sys::WatchNews::Told note() {
    return [this](const Result<>& watched) { news.push_back(watched ? "works" : watched.error().message()); };
  }
  std::vector<std::string> news;
  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::TempFolder folder;
};

TEST_F(FolderWatchTest, AddedChangedAndRemovedFilesAreReported) {
  FolderWatch watch(loop.get_executor(), {folder.path()});
  EXPECT_TRUE(told(watch, [&] { folder.write("checkout-v1", "one"); }));
  EXPECT_TRUE(told(watch, [&] { folder.write("checkout-v1", "two"); }));
  EXPECT_TRUE(told(watch, [&] { fs::permissions(folder.path() + "/checkout-v1", fs::perms::all); }));
  EXPECT_TRUE(told(watch, [&] { fs::rename(folder.path() + "/checkout-v1", folder.path() + "/x"); }));
  EXPECT_TRUE(told(watch, [&] { fs::remove(folder.path() + "/x"); }));
}

TEST_F(FolderWatchTest, AFolderCreatedLaterIsFoundWithinTheInterval) {
  const auto later = folder.path() + "/later";
  FolderWatch watch(loop.get_executor(), {later});
  fs::create_directory(later);
  bool returned = false;
  boost::asio::co_spawn(loop, watch.changed(10ms), [&](std::exception_ptr) { returned = true; });
  EXPECT_TRUE(test::runUntil(loop, [&] { return returned; }));
  EXPECT_TRUE(told(watch, [&] { fs::create_directory(later + "/x"); }));
}

TEST_F(FolderWatchTest, OtherFoldersAreWatchedInsteadDuringTheWait) {
  const auto before = folder.path() + "/before";
  const auto after = folder.path() + "/after";
  for (const auto& one : {before, after}) fs::create_directory(one);
  FolderWatch watch(loop.get_executor(), {before});
  EXPECT_TRUE(told(watch, [&] {
    watch.watchInstead({after});
    fs::create_directory(after + "/x");
  }));
  fs::create_directory(before + "/x");
  EXPECT_TRUE(returnsAfter(watch, 1s)) << "the earlier folder is no longer watched";
  EXPECT_TRUE(told(watch, [&] { fs::remove(after + "/x"); }));
}

/// All processes of a user share the limits of inotify.
TEST_F(FolderWatchTest, WithoutInotifyTheIntervalCountsUntilItWorks) {
  const boost::asio::steady_timer first(loop);  // the loop has opened its own descriptors
  std::optional<FolderWatch> watch;
  {
    const test::FewDescriptors none;
    watch.emplace(loop.get_executor(), std::vector{folder.path()}, note());
    EXPECT_TRUE(returnsAfter(*watch, 30s));
    EXPECT_TRUE(returnsAfter(*watch, 30s));
    ASSERT_EQ(news.size(), 1U) << "it is reported once";
    EXPECT_THAT(news.front(), testing::HasSubstr("Too many open files"));
  }
  EXPECT_TRUE(told(*watch, [&] { folder.write("checkout-v1", "one"); }));
  ASSERT_EQ(news.size(), 2U);
  EXPECT_EQ(news.back(), "works");
}

TEST_F(FolderWatchTest, WithoutRoomForAWatchTheIntervalCountsUntilThereIs) {
  test::noRoomForWatches = true;
  FolderWatch watch(loop.get_executor(), {folder.path()}, note());
  EXPECT_TRUE(returnsAfter(watch, 5s));
  test::noRoomForWatches = false;
  ASSERT_EQ(news.size(), 1U) << "it is reported once";
  EXPECT_THAT(news.front(), testing::HasSubstr("No space left on device"));
  EXPECT_TRUE(told(watch, [&] { folder.write("checkout-v1", "one"); }));
  ASSERT_EQ(news.size(), 2U);
  EXPECT_EQ(news.back(), "works");
}

TEST_F(FolderWatchTest, AStepOfTheClockIsReported) {
  // A nanosecond forward and back: only processes that wait for clock steps notice it.
  const auto step = [](long seconds, long nanoseconds) {
    timex by{};
    by.modes = ADJ_SETOFFSET | ADJ_NANO;
    by.time = {seconds, nanoseconds};
    return ::adjtimex(&by) != -1;
  };
  FolderWatch watch(loop.get_executor(), {folder.path()});
  if (!step(0, 1)) GTEST_SKIP() << "the clock cannot be set here: " << errnoText(errno);
  ASSERT_TRUE(step(-1, 999'999'999));
  bool returned = false;
  boost::asio::co_spawn(loop, watch.changed(1h), [&](std::exception_ptr) { returned = true; });
  EXPECT_TRUE(test::runUntil(loop, [&] { return returned; })) << "it reports a step before the wait";
  EXPECT_TRUE(told(watch, [&] {
    ASSERT_TRUE(step(0, 1));
    ASSERT_TRUE(step(-1, 999'999'999));
  }));
}

}  // namespace
}  // namespace fallbackd::cache
