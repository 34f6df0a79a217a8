// SPDX-License-Identifier: Apache-2.0
// Files of a pod that never respond: only that pod's launch hangs, and only for a limited time.
#include "launch_fixture.hpp"
#include "launcher/logs/fifo_folders.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/pod_files.hpp"
#include "silent_fuse.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gmock/gmock.h>

namespace fallbackd::test {

using namespace std::chrono_literals;
using config::Volume;
using launcher::LogPump;
using ::testing::HasSubstr;
using workers::Owner;
using workers::Pool;
using workers::Task;
using workers::Work;

class Hang : public LaunchTest {
 protected:
  void TearDown() override {
    if (fuse) fuse->end();  // processes that hang in it can now end
    // The loop reaps workers that were killed earlier.
    if (launcher != nullptr) waitFor([this] { return launcher->workers()->counts().stuck == 0; });
    fuse.reset();
    LaunchTest::TearDown();
  }
  void hangAt(const std::filesystem::path& path, SilentFuse::Answers answers = SilentFuse::Answers::nothing) {
    fuse = std::make_unique<SilentFuse>(path, answers);
    ASSERT_TRUE(fuse->mounted()) << fuse->error();
  }
  template <class Condition>
  bool waitFor(Condition condition) {
    const auto deadline = Monotonic::now() + 20s;
    while (!condition() && Monotonic::now() < deadline) {
      loop.restart();
      loop.run_one_for(20ms);
    }
    return condition();
  }
  Task readTask(const std::string& path, const Owner& owner, std::chrono::nanoseconds limit) {
    Task task;
    task.work = Work::read_file;
    task.stage = Stage::detection;
    task.owner = owner;
    task.what = "read " + path;
    task.bytes = path;
    task.limit = limit;
    return task;
  }
  Result<workers::Outcome> ask(Pool& pool, Task task) { return run(pool.run(std::move(task))); }
  struct Fifos {
    sys::UniqueFd out;  // the process's end, as err
    sys::UniqueFd err;
    sys::UniqueFd daemonOut;
    sys::UniqueFd daemonErr;
  };
  /// Those of a recovery; empty if that fails.
  std::optional<Fifos> makeFifos() {
    using launcher::FifoEnd;
    const auto folders = launcher::FifoFolders::open(folder / "fifos");
    if (!folders || !folders->make("r1", 0, "")) return std::nullopt;
    auto out = folders->openFifo("r1", "stdout", FifoEnd::process);
    auto err = folders->openFifo("r1", "stderr", FifoEnd::process);
    auto daemonOut = folders->openFifo("r1", "stdout", FifoEnd::daemon);
    auto daemonErr = folders->openFifo("r1", "stderr", FifoEnd::daemon);
    if (!out || !err || !daemonOut || !daemonErr) return std::nullopt;
    return Fifos{std::move(*out), std::move(*err), std::move(*daemonOut), std::move(*daemonErr)};
  }
  void expectThatOneNamespaceDoesNotTakeAllWorkers(workers::Urgency urgency);
  /// As the daemon does, tries again if a busy machine was too slow.
  Result<ProcessPtr> adopted(const launcher::ProcessRecord& record) {
    auto process = run(launcher->adopt(record));
    for (int tries = 0; tries < 5 && !process && process.error().reason == Reason::timeout; ++tries)
      process = run(launcher->adopt(record));
    return process;
  }
  std::uint64_t missed(Work work) {
    return launcher->workers()->counts().missed.at(static_cast<std::size_t>(work));
  }

  std::unique_ptr<SilentFuse> fuse;
};

TEST_F(Hang, AHangingVolumeFailsItsLaunchAndTheNextOneAtOnce) {
  hangAt(makeVolume("csi", "data") / "mount");
  auto quick = options();
  quick.volumesLimit = 1s;
  launcherWith(quick);
  makeVolume("empty-dir", "scratch");
  auto hostile = request({"wait"});
  hostile.workload.volumes = {{Volume::Kind::csi, "data", "/data", "", false}};
  // The loop keeps running while the launch waits.
  unsigned turns = 0;
  asio::co_spawn(
      loop,
      [&]() -> asio::awaitable<void> {
        asio::steady_timer timer(loop);
        for (; turns < 100'000; ++turns) {
          timer.expires_after(10ms);
          co_await timer.async_wait(asio::use_awaitable);
        }
      },
      [](std::exception_ptr) {});
  const auto refused = launch(hostile);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().stage, Stage::rootfs);
  EXPECT_EQ(refused.error().reason, Reason::timeout);
  EXPECT_THAT(refused.error().message(), HasSubstr("the volumes of pod"));
  EXPECT_GT(turns, 20U) << "the loop keeps running";
  turns = 100'000;
  EXPECT_EQ(launcher->workers()->counts().stuck, 1U) << "SIGKILL cannot end the worker";

  auto honest = request({"wait"});
  honest.workload.volumes = {{Volume::Kind::empty_dir, "scratch", "/scratch", "", false}};
  const auto process = launched(std::move(honest));
  ASSERT_NE(process, nullptr);
  stop(process);

  ASSERT_FALSE(launch(hostile));
  const auto asked = fuse->asked();
  const auto third = launch(hostile);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().reason, Reason::unavailable);
  EXPECT_THAT(third.error().message(), HasSubstr("2 workers hang on files of this pod already"));
  EXPECT_EQ(fuse->asked(), asked) << "it must not try again";
  const auto counts = launcher->workers()->counts();
  EXPECT_EQ(counts.missed.at(static_cast<std::size_t>(Work::prepare_volumes)), 2U);
  EXPECT_EQ(counts.refused.at(static_cast<std::size_t>(Work::prepare_volumes)), 1U);

  fuse->end();
  ASSERT_TRUE(waitFor([&] { return launcher->workers()->counts().stuck == 0; })) << "they are reaped";
}

TEST_F(Hang, AVolumeThatHangsTheNewProcessDoesNotBlockTheSpawner) {
  hangAt(makeVolume("csi", "data") / "mount", SilentFuse::Answers::what_its_root_is);
  makeVolume("empty-dir", "scratch");
  auto hostile = request({"wait"});
  hostile.workload.healthCheck.timeout = 100ms;
  hostile.workload.volumes = {{Volume::Kind::csi, "data", "/data", "", false},
                              {Volume::Kind::empty_dir, "scratch", "/data/inside", "", false}};
  bool over = false;
  std::optional<Error> failure;
  asio::co_spawn(loop, launcher->launch(hostile), [&](std::exception_ptr, Result<ProcessPtr> outcome) {
    over = true;
    if (!outcome) failure = outcome.error();
  });
  ASSERT_TRUE(waitFor([&] { return fuse->asked() > 0; })) << "the process looks for the mount point";
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  stop(process);
  EXPECT_FALSE(over);
  fuse->end();
  ASSERT_TRUE(waitFor([&] { return over; }));
  EXPECT_TRUE(failure);
}

TEST_F(Hang, AHangingLogFolderLosesLinesButNotTheProcess) {
  hangAt(folder / "hanging");
  auto wanted = request({"lines", "3"});
  wanted.sandbox.logDirectory = folder / "hanging" / "shop_web-0_1";
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(launcher->workers()->counts().missed.at(static_cast<std::size_t>(Work::open_log)), 1U);
  EXPECT_TRUE(stop(process).kind != launcher::ExitStatus::Kind::unknown);
}

TEST_F(Hang, AHangingLogFolderDoesNotDelayTheAdoptionOfUnjournaledFallbacks) {
  const auto logs = folder / "shop_web-0_1";
  std::filesystem::create_directories(logs / "web-fallback");
  writeText(logs / "web-fallback" / "7.log", "");
  EXPECT_EQ(run(launcher->latestRestart(logs, "web")), 7U);
  hangAt(folder / "hanging");
  EXPECT_EQ(run(launcher->latestRestart(folder / "hanging" / "shop_web-0_1", "web")), 0U);
  EXPECT_EQ(launcher->workers()->counts().missed.at(static_cast<std::size_t>(Work::list_logs)), 1U);
}

TEST_F(Hang, AHangingLogFileIsGivenUpAndTheFifoIsDrained) {
  hangAt(folder / "hanging");
  auto fifos = makeFifos();
  ASSERT_TRUE(fifos);
  ::fcntl(fifos->out.get(), F_SETFL, O_NONBLOCK);
  auto pump =
      LogPump::start(loop.get_executor(), launcher->workers(), std::move(fifos->daemonOut),
                     std::move(fifos->daemonErr), {folder / "hanging/web/0.log", {}, {"shop", "web-0"}});
  ASSERT_TRUE(pump);
  const std::string block(64 * 1024, 'x');
  std::size_t written = 0;
  // More than a FIFO holds, so the FIFO must have been drained.
  EXPECT_TRUE(waitFor([&] {
    const ssize_t size = ::write(fifos->out.get(), block.data(), block.size());
    if (size > 0) written += static_cast<std::size_t>(size);
    return written > (3U << 20);
  })) << written;
  EXPECT_EQ(launcher->workers()->counts().missed.at(static_cast<std::size_t>(Work::copy_log)), 1U);
  pump->reset();
}

/// Locks a FIFO, as its program or a neighbour may: the kernel holds a pipe's lock while splice(2) waits for
/// data from a socket, and O_NONBLOCK does not apply to that lock. It lets go after a while by itself, so
/// that a test with a blocked loop ends.
class FifoHolder {
 public:
  explicit FifoHolder(int fifo) : child_(::fork()) {
    if (child_ == 0) {
      std::array<int, 2> silent{-1, -1};
      ::alarm(40);  // seconds
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, silent.data()) != 0) ::_exit(1);
      ::splice(silent[0], nullptr, fifo, nullptr, 4096, 0);
      ::_exit(0);
    }
  }
  FifoHolder(const FifoHolder&) = delete;
  FifoHolder& operator=(const FifoHolder&) = delete;
  ~FifoHolder() { letGo(); }

  [[nodiscard]] bool holds() const {
    return contentOf("/proc/" + std::to_string(child_) + "/syscall")
        .starts_with(std::to_string(SYS_splice) + " ");
  }
  void letGo() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  pid_t child_;
};

TEST_F(Hang, AFifoThatIsHeldDoesNotStopTheLoop) {
  auto fifos = makeFifos();
  ASSERT_TRUE(fifos);
  ASSERT_EQ(::write(fifos->out.get(), "line\n", 5), 5);
  FifoHolder holder(fifos->out.get());
  ASSERT_TRUE(waitFor([&] { return holder.holds(); }));
  std::filesystem::create_directories(folder / "shop_web-0_1");
  auto pump = LogPump::start(loop.get_executor(), launcher->workers(), std::move(fifos->daemonOut),
                             std::move(fifos->daemonErr),
                             {folder / "shop_web-0_1/web-fallback/0.log", {}, {"shop", "web-0"}});
  ASSERT_TRUE(pump);
  auto last = Monotonic::now();
  auto longest = last - last;
  const auto missedOne = [&](Work work) {
    return waitFor([&] {
      const auto now = Monotonic::now();
      longest = std::max(longest, now - last);
      last = now;
      return missed(work) > 0;
    });
  };
  EXPECT_TRUE(missedOne(Work::copy_log));
  EXPECT_TRUE(missedOne(Work::drop_log)) << "dropped output is read, too";
  EXPECT_LT(longest, 20s) << "the loop stood still";
  holder.letGo();
  pump->reset();
}

TEST_F(Hang, AFallbackWhoseFifoIsHeldIsAdoptedLater) {
  auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const auto record = process->record();
  process.reset();
  loop.restart();
  loop.poll();  // now its pump has closed the FIFO
  const sys::UniqueFd out(::open((record.fifoDir + "/stdout").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(out);
  FifoHolder holder(out.get());
  ASSERT_TRUE(waitFor([&] { return holder.holds(); }));
  const auto refused = run(launcher->adopt(record));
  ASSERT_FALSE(refused) << "nothing would read its output, or the loop stood still";
  EXPECT_EQ(refused.error().reason, Reason::timeout) << refused.error().message();
  EXPECT_THAT(refused.error().message(), HasSubstr(record.recoveryId));
  EXPECT_EQ(::kill(record.pid, 0), 0) << "a healthy fallback was ended";
  holder.letGo();
  ASSERT_TRUE(waitFor([this] { return launcher->workers()->counts().stuck == 0; }));
  const auto second = adopted(record);
  ASSERT_TRUE(second) << second.error().message();
  stop(*second);
}

/// A disk that hangs keeps the copies of all output waiting, but no fallback from its next daemon.
TEST_F(Hang, AFallbackIsAdoptedWhileCopiesHang) {
  auto first = launched(request({"wait"}));
  ASSERT_NE(first, nullptr);
  const auto record = first->record();
  first.reset();
  loop.restart();
  loop.poll();  // now its pump has closed the FIFO
  hangAt(folder / "hanging");
  const auto owner = launcher::ownerOfLog(record.logFile);
  std::vector<std::unique_ptr<workers::Begun>> hanging;
  for (int i = 0; i < 3; ++i) {  // the namespace's share
    hanging.push_back(launcher->workers()->begin(
        readTask(folder / "hanging/file", {owner.namespaceName, std::to_string(i)}, 1min)));
  }
  const auto process = adopted(record);
  fuse->end();
  ASSERT_TRUE(process) << process.error().message();
  stop(*process);
}

TEST_F(Hang, LimitsCountByPodByNamespaceAndInTotal) {
  hangAt(folder / "hanging");
  workers::PoolLimits limits;
  limits.stuckOfPod = 1;
  limits.stuckOfNamespace = 2;
  limits.stuck = 3;
  Pool pool(loop.get_executor(), "", limits);
  ASSERT_TRUE(pool.start());
  std::vector<std::string> missedPods;
  pool.onMissed([&](const workers::Missed& missed) { missedPods.push_back(missed.owner.pod); });
  const std::string file = folder / "hanging/file";
  const auto reasonOf = [&](const Owner& owner) {
    // Long enough for a worker to start and to hang: a worker that is killed before that frees its place.
    return ask(pool, readTask(file, owner, 1s)).error().reason;
  };
  EXPECT_EQ(reasonOf({"a", "1"}), Reason::timeout);
  EXPECT_EQ(reasonOf({"a", "1"}), Reason::unavailable);
  EXPECT_EQ(reasonOf({"a", "2"}), Reason::timeout);
  EXPECT_EQ(reasonOf({"a", "3"}), Reason::unavailable);
  EXPECT_EQ(reasonOf({"b", "4"}), Reason::timeout);
  EXPECT_EQ(reasonOf({"c", "5"}), Reason::unavailable);
  EXPECT_THAT(missedPods, ::testing::ElementsAre("1", "2", "4"));
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
  const sys::UniqueFd writer(ends[1]);
  ASSERT_EQ(::write(writer.get(), "line\n", 5), 5);
  auto drop = readTask("", {"a", "1"}, 10s);
  launcher::ask(drop, launcher::DropLogQuestion{100}, sys::UniqueFd(ends[0]));
  EXPECT_TRUE(ask(pool, std::move(drop))) << "workers that hang on files do not count for pipes";
  fuse->end();
  EXPECT_TRUE(waitFor([&] { return pool.counts().stuck == 0; }));
  writeText(folder / "file", "there");
  const auto outcome = ask(pool, readTask(folder / "file", {"a", "1"}, 10s));
  ASSERT_TRUE(outcome) << outcome.error().message();
  EXPECT_EQ(outcome->bytes, "there");
}

/// Launches have their own limit: one more than everything else.
void Hang::expectThatOneNamespaceDoesNotTakeAllWorkers(workers::Urgency urgency) {
  hangAt(folder / "hanging");
  writeText(folder / "file", "there");
  workers::PoolLimits limits;
  limits.running = 3;
  limits.runningOfNamespace = 2;
  Pool pool(loop.get_executor(), "", limits);
  const auto read = [&](const std::string& path, const Owner& owner, std::chrono::nanoseconds limit) {
    auto task = readTask(path, owner, limit);
    task.urgency = urgency;
    return task;
  };
  unsigned late = 0;
  for (int i = 0; i < 6; ++i) {
    asio::co_spawn(loop, pool.run(read(folder / "hanging/file", {"a", std::to_string(i)}, 2s)),
                   [&](std::exception_ptr, Result<workers::Outcome> outcome) { late += outcome ? 0U : 1U; });
  }
  ASSERT_TRUE(waitFor([&] { return fuse->asked() >= 1; }));
  const auto outcome = ask(pool, read(folder / "file", {"b", "x"}, 10s));
  ASSERT_TRUE(outcome) << outcome.error().message();
  EXPECT_EQ(late, 0U) << "it must not wait for hanging tasks";
  EXPECT_TRUE(waitFor([&] { return late == 6; })) << "each of them ends in time, with or without a worker";
  fuse->end();
  EXPECT_TRUE(waitFor([&] { return pool.counts().stuck == 0; }));
}

TEST_F(Hang, OneNamespaceDoesNotTakeAllWorkers) {
  expectThatOneNamespaceDoesNotTakeAllWorkers(workers::Urgency::background);
}

TEST_F(Hang, OneNamespacesLaunchesDoNotTakeAllWorkers) {
  expectThatOneNamespaceDoesNotTakeAllWorkers(workers::Urgency::launch);
}

/// As on a machine without a free descriptor: what is asked again later succeeds.
TEST_F(Hang, ATaskWhoseDescriptorCouldNotBeCopiedCostsNoWorker) {
  Pool pool(loop.get_executor(), "");
  ASSERT_TRUE(pool.start());
  const auto workers = pool.counts().workers;
  auto task = readTask(folder / "file", {"a", "1"}, 10s);
  task.fds.emplace_back();
  const auto outcome = ask(pool, std::move(task));
  ASSERT_FALSE(outcome);
  EXPECT_TRUE(isTemporary(outcome.error())) << outcome.error().message();
  EXPECT_THAT(outcome.error().message(), HasSubstr("file"));
  EXPECT_EQ(pool.counts().workers, workers);
}

TEST_F(Hang, AKilledWorkerIsReplaced) {
  writeText(folder / "file", "there");
  Pool pool(loop.get_executor(), "");
  ASSERT_TRUE(pool.start());
  const auto children = [] {
    std::vector<pid_t> all;
    std::istringstream text(contentOf("/proc/self/task/" + std::to_string(::getpid()) + "/children"));
    for (pid_t pid = 0; text >> pid;) all.push_back(pid);
    return all;
  };
  for (const pid_t pid : children()) {
    if (contentOf("/proc/" + std::to_string(pid) + "/comm") == "fallbackd-worke\n") ::kill(pid, SIGKILL);
  }
  const auto outcome = ask(pool, readTask(folder / "file", {"a", "1"}, 10s));
  ASSERT_TRUE(outcome) << outcome.error().message();
  EXPECT_EQ(outcome->bytes, "there");
}

}  // namespace fallbackd::test
