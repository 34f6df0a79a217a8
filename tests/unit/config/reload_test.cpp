#include "config/reload.hpp"

#include "temp_folder.hpp"

#include <filesystem>
#include <functional>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct ReloadTest : testing::Test {
  /// Whether changed() returns after `act`; `act` runs once the folders are watched.
  bool noticed(const std::function<void()>& act) {
    bool done = false;
    boost::asio::co_spawn(loop, watcher->changed(), [&](std::exception_ptr, Result<> result) {
      EXPECT_TRUE(result);
      done = true;
    });
    loop.restart();
    loop.poll();  // up to the wait for the first event
    EXPECT_FALSE(done) << "nothing has changed yet";
    act();
    loop.restart();
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!done && std::chrono::steady_clock::now() < deadline) loop.run_one_for(100ms);
    return done;
  }
  test::TempFolder folder;
  boost::asio::io_context loop;
  std::string file = folder.write("fallbackd.yaml", "a");
  std::unique_ptr<Watcher> watcher = std::make_unique<Watcher>(loop.get_executor(), file, std::nullopt);
};

TEST_F(ReloadTest, WrittenInPlace) {
  EXPECT_TRUE(noticed([&] { folder.write("fallbackd.yaml", "b"); }));
}

TEST_F(ReloadTest, ReplacedByRename) {
  EXPECT_TRUE(noticed([&] {
    folder.write("new", "b");
    fs::rename(folder.path() + "/new", file);
  }));
}

TEST_F(ReloadTest, DropInFolderThatComesLaterAndItsFiles) {
  EXPECT_TRUE(noticed([&] { fs::create_directory(folder.path() + "/conf.d"); }));
  EXPECT_TRUE(noticed([&] { folder.write("conf.d/a.yaml", "b"); }));
  EXPECT_TRUE(noticed([&] { fs::remove(folder.path() + "/conf.d/a.yaml"); }));
}

TEST_F(ReloadTest, TheSymlinkSwapOfAConfigMap) {
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

}  // namespace
}  // namespace fallbackd::config
