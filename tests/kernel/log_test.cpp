// SPDX-License-Identifier: Apache-2.0
// The path of a fallback's output: FIFO, pump, file, rotation.
#include "cri_log_lines.hpp"
#include "launch_fixture.hpp"
#include "launcher/logs/log_file.hpp"
#include "launcher/logs/logs.hpp"
#include "sys/log_links.hpp"
#include "wait.hpp"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using launcher::LogFile;
using launcher::LogPump;
using ::testing::Contains;
using ::testing::HasSubstr;

class Logs : public LaunchTest {
 protected:
  [[nodiscard]] std::vector<std::string> filesIn(const std::filesystem::path& path) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  /// Until it waits it ignores a SIGTERM, as the first process of its PID namespace. Its first line says that
  /// it waits, but may be lost.
  static bool awaitsTerm(const ProcessPtr& process) {
    const auto call = "/proc/" + std::to_string(process->record().pid) + "/syscall";
    const auto waits = std::to_string(SYS_rt_sigtimedwait) + " ";
    return e2e::waitUntil(std::chrono::seconds(20), [&] { return contentOf(call).starts_with(waits); });
  }
  [[nodiscard]] std::filesystem::path logFolder() const { return folder / "logs" / "app-fallback"; }
};

TEST_F(Logs, AFullFileIsRotatedAndTheOldestAreRemoved) {
  auto file = LogFile::open(logFolder() / "7.log", {.maxBytes = 100, .maxFiles = 3});
  ASSERT_TRUE(file);
  // Rotated files of earlier restarts and seconds; kubelet names them in the same way.
  for (const char* name : {"5.log", "6.log", "6.log.20260101-000000", "7.log.20260101-000000"}) {
    writeText(logFolder() / name, "old\n");
  }
  writeText(logFolder() / "notes.txt", "not ours\n");
  const std::string line(60, 'x');
  file->write(line + "1\n");
  file->write(line + "2\n");
  const auto names = filesIn(logFolder());
  ASSERT_EQ(names.size(), 4U) << testing::PrintToString(names);
  EXPECT_EQ(names[0], "7.log");
  EXPECT_EQ(names[1], "7.log.20260101-000000");
  EXPECT_EQ(contentOf(logFolder() / names[2]), line + "1\n");
  EXPECT_EQ(contentOf(logFolder() / "7.log"), line + "2\n");
  EXPECT_EQ(names[3], "notes.txt");
}

TEST_F(Logs, AFileThatKubeletRotatesIsFollowed) {
  auto file = LogFile::open(logFolder() / "0.log", {.maxBytes = 100, .maxFiles = 3});
  ASSERT_TRUE(file);
  file->write("one\n");
  std::filesystem::rename(logFolder() / "0.log", logFolder() / "0.log.20260101-000000");
  file->write("two\n");
  EXPECT_EQ(contentOf(logFolder() / "0.log"), "two\n") << "the runtime has not opened a new one";
  std::filesystem::rename(logFolder() / "0.log", logFolder() / "0.log.20260101-000001");
  writeText(logFolder() / "0.log", "");
  file->write("three\n");
  EXPECT_EQ(contentOf(logFolder() / "0.log"), "three\n") << "the runtime has opened a new one";
  EXPECT_EQ(contentOf(logFolder() / "0.log.20260101-000000"), "one\n");
  EXPECT_EQ(contentOf(logFolder() / "0.log.20260101-000001"), "two\n");
}

TEST_F(Logs, AFileThatIsALinkIsNotWrittenTo) {
  writeText(folder / "victim", "precious\n");
  std::filesystem::create_directories(logFolder());
  std::filesystem::create_symlink(folder / "victim", logFolder() / "0.log");
  EXPECT_FALSE(LogFile::open(logFolder() / "0.log", {}));
  std::filesystem::remove(logFolder() / "0.log");
  std::filesystem::create_hard_link(folder / "victim", logFolder() / "0.log");
  EXPECT_EQ(LogFile::open(logFolder() / "0.log", {}).error().reason, Reason::unsafe_file_type);
  std::filesystem::remove(logFolder() / "0.log");
  // Replaced while it is written: the next file is checked like the first one.
  auto file = LogFile::open(logFolder() / "0.log", {.maxBytes = 10, .maxFiles = 3});
  ASSERT_TRUE(file);
  file->write("one line\n");
  std::filesystem::remove(logFolder() / "0.log");
  std::filesystem::create_symlink(folder / "victim", logFolder() / "0.log");
  file->write("another\n");
  EXPECT_EQ(contentOf(folder / "victim"), "precious\n");
}

/// These files were not created late: an attacker put them there.
TEST_F(Logs, AnythingButAFileIsRefused) {
  const auto wanted = request({"wait"});
  const auto logs =
      std::filesystem::path(wanted.sandbox.logDirectory) / (wanted.workload.match.container + "-fallback");
  std::filesystem::create_directories(logs / "0.log");
  EXPECT_EQ(refusal(wanted).stage, Stage::logs) << "a folder";
  std::filesystem::remove(logs / "0.log");
  ASSERT_EQ(::mkfifo((logs / "0.log").c_str(), 0644), 0);
  EXPECT_EQ(refusal(wanted).stage, Stage::logs) << "a FIFO";
  std::filesystem::remove_all(logs);
  writeText(logs, "");
  EXPECT_EQ(refusal(wanted).stage, Stage::logs) << "a file where its folder should be";
}

TEST_F(Logs, ARemovedRunFolderIsCreatedAgain) {
  std::filesystem::remove_all(folder / "run");
  const auto process = launched(request({"term"}));
  ASSERT_NE(process, nullptr);
  logWith(process, "up");
  EXPECT_TRUE(std::filesystem::exists(process->record().fifoDir));
  stop(process, std::chrono::seconds(10));
  EXPECT_FALSE(std::filesystem::exists(process->record().fifoDir));
}

TEST_F(Logs, AFullDiskCostsTheLinesAndNotTheFallback) {
  auto wanted = request({"term"});
  const auto logs = wanted.sandbox.logDirectory;
  std::filesystem::create_directories(logs);
  // The file system has room for its own root folder, and for nothing in it.
  ASSERT_EQ(::mount("tmpfs", logs.c_str(), "tmpfs", 0, "nr_inodes=1"), 0);
  const auto process = launched(std::move(wanted));
  ASSERT_EQ(::umount2(logs.c_str(), MNT_DETACH), 0);
  ASSERT_NE(process, nullptr);
  EXPECT_THAT(process->notes(), Contains(HasSubstr("its log file cannot be opened now")));
  ASSERT_TRUE(awaitsTerm(process));
  stop(process, std::chrono::seconds(10));
  EXPECT_THAT(contentOf(process->record().logFile), HasSubstr("stdout F bye")) << "the pump tries again";
}

TEST_F(Logs, ALinkIsWhereCollectorsLook) {
  const auto links = folder / "log-links";
  std::filesystem::create_directory(links);
  for (const unsigned restart : {0U, 1U}) {
    auto wanted = request({"term"});
    wanted.restartCount = restart;
    const auto container = wanted.workload.match.container;
    const auto process = launched(std::move(wanted));
    ASSERT_NE(process, nullptr);
    const auto& log = process->record().logFile;
    const auto link = links / sys::logLinkOf({"shop", "market", container, sys::idOfLog(log)});
    EXPECT_EQ(std::filesystem::read_symlink(link), log);
    logWith(process, "up");
    stop(process, std::chrono::seconds(10));
    EXPECT_TRUE(std::filesystem::is_symlink(link)) << "collectors still have to read its last lines";
  }
  EXPECT_EQ(filesIn(links).size(), 2U);
}

TEST_F(Logs, NothingLeavesTheFifoBeforeItIsInTheFile) {
  const auto fifos = launcher::FifoFolders::open(folder / "fifos");
  ASSERT_TRUE(fifos && fifos->make("r1", 0, ""));
  auto out = fifos->openFifo("r1", "stdout", launcher::FifoEnd::process);
  auto err = fifos->openFifo("r1", "stderr", launcher::FifoEnd::process);
  ASSERT_TRUE(out && err);
  const std::string text = "first\nsecond, without an end";
  ASSERT_EQ(::write(out->get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  const auto start = [&](const std::string& path) {
    auto daemonOut = fifos->openFifo("r1", "stdout", launcher::FifoEnd::daemon);
    auto daemonErr = fifos->openFifo("r1", "stderr", launcher::FifoEnd::daemon);
    return LogPump::start(loop.get_executor(), launcher->workers(), std::move(*daemonOut),
                          std::move(*daemonErr), {path, {}, {"shop", "web-0"}});
  };
  // A pump that ends before its first turn has read nothing.
  start("").value().reset();
  loop.poll();
  loop.restart();
  std::filesystem::create_directories(logFolder());
  auto pump = start(logFolder() / "0.log");
  ASSERT_TRUE(pump);
  while (contentOf(logFolder() / "0.log").find("second") == std::string::npos) loop.run_one();
  const auto log = contentOf(logFolder() / "0.log");
  EXPECT_THAT(log, HasSubstr("stdout F first\n"));
  EXPECT_THAT(log, HasSubstr("stdout P second, without an end\n"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 2);
  pump->reset();
  loop.restart();
  loop.poll();
}

TEST_F(Logs, TheProgramMayReopenItsOutput) {
  auto wanted = request({"reopen"});
  wanted.workload.user = {1234, 2345, {}};
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  logWith(process, "stdout F again");
  stop(process);
}

TEST_F(Logs, AllLinesOfAFloodArriveInOrder) {
  auto quick = options();
  quick.logs.linesPerSecond = 100'000;
  launcherWith(quick);
  const auto process = launched(request({"lines", "50000"}));
  ASSERT_NE(process, nullptr);
  const auto log = logWith(process, "line 49999\n");
  std::string text;
  for (const auto& line : criLogLines(log)) text.append(line).append("\n");
  std::string expected;
  for (int i = 0; i < 50000; ++i) expected += "line " + std::to_string(i) + "\n";
  EXPECT_TRUE(text == expected);
  stop(process);
}

}  // namespace fallbackd::test
