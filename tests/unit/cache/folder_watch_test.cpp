// SPDX-License-Identifier: Apache-2.0
// The watch on the cache's folders, with the real inotify.
#include "cache/folder_watch.hpp"

#include "run_until.hpp"
#include "temp_folder.hpp"

#include <filesystem>
#include <functional>
#include <sys/timex.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::cache {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

struct FolderWatchTest : testing::Test {
  /// Whether a change by `make` during the wait is reported.
  bool told(FolderWatch& watch, const std::function<void()>& make) {
    bool returned = false;
    boost::asio::co_spawn(loop, watch.changed(1h), [&](std::exception_ptr) { returned = true; });
    loop.restart();
    loop.poll();
    EXPECT_FALSE(returned) << "before anything happened";
    make();
    return test::runUntil(loop, [&] { return returned; });
  }
  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::TempFolder folder;
};

TEST_F(FolderWatchTest, AddedChangedAndRemovedFilesAreReported) {
  auto watch = FolderWatch::create(loop.get_executor(), {folder.path()});
  ASSERT_TRUE(watch) << watch.error().message();
  EXPECT_TRUE(told(*watch, [&] { folder.write("checkout-v1", "one"); }));
  EXPECT_TRUE(told(*watch, [&] { folder.write("checkout-v1", "two"); }));
  EXPECT_TRUE(told(*watch, [&] { fs::permissions(folder.path() + "/checkout-v1", fs::perms::all); }));
  EXPECT_TRUE(told(*watch, [&] { fs::rename(folder.path() + "/checkout-v1", folder.path() + "/x"); }));
  EXPECT_TRUE(told(*watch, [&] { fs::remove(folder.path() + "/x"); }));
}

TEST_F(FolderWatchTest, AFolderCreatedLaterIsFoundWithinTheInterval) {
  const auto later = folder.path() + "/later";
  auto watch = FolderWatch::create(loop.get_executor(), {later});
  ASSERT_TRUE(watch) << watch.error().message();
  fs::create_directory(later);
  bool returned = false;
  boost::asio::co_spawn(loop, watch->changed(10ms), [&](std::exception_ptr) { returned = true; });
  EXPECT_TRUE(test::runUntil(loop, [&] { return returned; }));
  EXPECT_TRUE(told(*watch, [&] { fs::create_directory(later + "/x"); }));
}

TEST_F(FolderWatchTest, AStepOfTheClockIsReported) {
  // A nanosecond forward and back: processes that wait for steps notice it, and nobody else does.
  const auto step = [](long seconds, long nanoseconds) {
    timex by{};
    by.modes = ADJ_SETOFFSET | ADJ_NANO;
    by.time = {seconds, nanoseconds};
    return ::adjtimex(&by) != -1;
  };
  auto watch = FolderWatch::create(loop.get_executor(), {folder.path()});
  ASSERT_TRUE(watch) << watch.error().message();
  if (!step(0, 1)) GTEST_SKIP() << "the clock cannot be set here: " << errnoText(errno);
  ASSERT_TRUE(step(-1, 999'999'999));
  bool returned = false;
  boost::asio::co_spawn(loop, watch->changed(1h), [&](std::exception_ptr) { returned = true; });
  EXPECT_TRUE(test::runUntil(loop, [&] { return returned; })) << "a step before the wait";
  EXPECT_TRUE(told(*watch, [&] {
    ASSERT_TRUE(step(0, 1));
    ASSERT_TRUE(step(-1, 999'999'999));
  }));
}

}  // namespace
}  // namespace fallbackd::cache
