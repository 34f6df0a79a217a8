// SPDX-License-Identifier: Apache-2.0
// Making, finding and removing stand-ins with a fake runtime.
#include "domain/stand_in.hpp"
#include "fake_clock.hpp"
#include "fake_control.hpp"
#include "refused_calls.hpp"
#include "stand_in_process.hpp"
#include "standin/containerd_stand_ins.hpp"
#include "temp_folder.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

using testing::ElementsAre;

struct StandInsTest : testing::Test {
  StandInsTest() {
    runtime.addSandbox("s1", "shop", "checkout");
    runtime.sandboxes["s1"].pausePid = ::getpid();
    control.onStart = [this] { return spawn(); };
  }
  ~StandInsTest() override {
    for (const pid_t pid : programs) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
  pid_t spawn() {
    programs.push_back(test::spawnStandIn());
    return programs.back();
  }
  Request request(const std::string& recoveryId = "r1") {
    Request one;
    one.recoveryId = recoveryId;
    one.sandbox = runtime.sandboxes["s1"];
    one.container = "main";
    one.image = "r/checkout:1";
    one.binary = {"checkout", "1.8.3"};
    return one;
  }
  Result<std::unique_ptr<StandIn>> make(Request one) {
    return test::runToEnd(loop, standIns.make(std::move(one)));
  }
  std::vector<std::string> ids() const {
    std::vector<std::string> all;
    for (const auto& one : runtime.containers) all.push_back(one.id);
    return all;
  }

  boost::asio::io_context loop;
  test::FakeRuntime runtime;
  test::FakeControl control{runtime};
  test::TempFolder scratch;
  const std::filesystem::path folder = scratch.path();
  sys::LogLinks links{folder};
  ContainerdStandIns standIns{runtime, control, "/run/fallbackd", links};
  std::vector<pid_t> programs;
};

TEST_F(StandInsTest, IsMadeWithItsImage) {
  auto made = make(request());
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_THAT(control.calls, ElementsAre("image", "create", "start"));
  EXPECT_EQ(control.orders[0].image, "fallbackd.io/checkout:1.8.3");
  EXPECT_EQ(control.images.at("fallbackd.io/checkout:1.8.3").at("io.cri-containerd.image"), "managed");
  ::kill(programs[0], SIGTERM);
  EXPECT_EQ(test::runToEnd(loop, (*made)->signalled()), SIGTERM);
  EXPECT_EQ(test::runToEnd(loop, (*made)->signalled()), SIGTERM) << "the first answer may have been dropped";
  control.calls.clear();
  ASSERT_TRUE(make(request("r2"))) << "the image exists";
  EXPECT_EQ(std::count(control.calls.begin(), control.calls.end(), "image"), 0);
}

TEST_F(StandInsTest, ItsLogIsWhereCollectorsLook) {
  auto one = request();
  one.sandbox.logDirectory = "/made-up/pods/shop_checkout_uid-s1";
  one.logPath = "main-fallback/0.log";
  const auto log = one.sandbox.logDirectory + "/" + one.logPath;
  const auto& pod = one.sandbox.sandbox;
  ASSERT_TRUE(links.make({pod.podName, pod.podNamespace, "main", sys::idOfLog(log)}, log));
  auto made = make(one);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1)
      << "collectors must not read a line twice";
  const auto link = folder / ("pod-s1_shop_main-" + (*made)->containerId() + ".log");
  EXPECT_EQ(std::filesystem::read_symlink(link), "/made-up/pods/shop_checkout_uid-s1/main-fallback/0.log");
  ASSERT_TRUE(test::runToEnd(loop, standIns.removeAll("s1", "main", Fallback::ended)));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

struct LinkedFallback : StandInsTest {
  LinkedFallback() {
    one.sandbox.logDirectory = "/made-up/pods/shop_checkout_uid-s1";
    one.logPath = "main-fallback/0.log";
    EXPECT_TRUE(links.make({"pod-s1", "shop", "main", sys::idOfLog(log)}, log));
  }
  bool hasItsLink() const {
    return std::filesystem::is_symlink(folder / ("pod-s1_shop_main-" + sys::idOfLog(log) + ".log"));
  }
  const std::string log = "/made-up/pods/shop_checkout_uid-s1/main-fallback/0.log";
  Request one = request();
};

TEST_F(LinkedFallback, KeepsItsLinkIfTheStandInDoesNotStart) {
  control.startFails = true;
  EXPECT_FALSE(make(one));
  EXPECT_TRUE(hasItsLink());
}

TEST_F(LinkedFallback, GetsItsLinkBackWhenItServesOn) {
  ASSERT_TRUE(make(one));
  EXPECT_FALSE(hasItsLink());
  ASSERT_TRUE(test::runToEnd(loop, standIns.removeAll("s1", "main", Fallback::serves)));
  EXPECT_TRUE(hasItsLink());
  ASSERT_TRUE(make(one));
  EXPECT_FALSE(hasItsLink());
  ASSERT_TRUE(test::runToEnd(loop, standIns.removeEvery(std::chrono::seconds(1))));
  EXPECT_TRUE(hasItsLink()) << "an uninstall does not end fallbacks";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST_F(LinkedFallback, TheLogOfAnEarlierRunIsNotReadTwice) {
  ASSERT_TRUE(make(one));
  runtime.exitContainer("c1", 3);
  auto next = one;
  next.restarts = 1;
  next.logPath = "main-fallback/1.log";
  ASSERT_TRUE(make(next));
  ASSERT_TRUE(test::runToEnd(loop, standIns.removeAll("s1", "main", Fallback::serves)));
  EXPECT_FALSE(hasItsLink());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

/// The daemon may die between any two calls of the runtime.
TEST_F(StandInsTest, NoneRunsWithoutItsLinkAndNoLinkIsLeftOfOneThatIsGone) {
  auto one = request();
  one.sandbox.logDirectory = "/made-up/pods/shop_checkout_uid-s1";
  one.logPath = "main-fallback/0.log";
  bool linked = false;
  control.onStart = [&] {
    linked = !std::filesystem::is_empty(folder);
    return spawn();
  };
  ASSERT_TRUE(make(one));
  EXPECT_TRUE(linked) << "before it is started";
  control.onStop = [&] { linked = !std::filesystem::is_empty(folder); };
  ASSERT_TRUE(test::runToEnd(loop, standIns.removeAll("s1", "main", Fallback::ended)));
  EXPECT_FALSE(linked) << "before it is stopped";
  control.startFails = true;
  EXPECT_FALSE(make(one));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(StandInsTest, ALinkThatCannotBeMadeIsReported) {
  std::ofstream(folder / "file") << "not a folder";
  std::vector<std::string> told;
  ContainerdStandIns other(runtime, control, "/run/fallbackd", sys::LogLinks(folder / "file"));
  other.onTrouble([&](const Error& error) { told.push_back(error.message()); });
  auto one = request();
  one.logPath = "main-fallback/0.log";
  ASSERT_TRUE(test::runToEnd(loop, other.make(one)));
  EXPECT_EQ(told.size(), 1U);
}

TEST_F(StandInsTest, OneThatDoesNotStartIsRemoved) {
  control.startFails = true;
  EXPECT_FALSE(make(request()));
  EXPECT_TRUE(runtime.containers.empty());
}

TEST_F(StandInsTest, AStandInThatMayRunIsReported) {
  control.startFails = true;
  const auto removed = make(request());
  ASSERT_FALSE(removed);
  EXPECT_NE(removed.error().stage, Stage::run);
  control.startFails = false;
  control.startUnanswered = true;
  const auto unknown = make(request());
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().stage, Stage::run) << "the container was not removed";
  EXPECT_EQ(unknown.error().reason, Reason::unavailable);
}

TEST_F(StandInsTest, TheRealContainerComesFirst) {
  runtime.addContainer("real", "s1", "main");
  const auto made = make(request());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().reason, Reason::already_exists);
  EXPECT_THAT(ids(), ElementsAre("real"));
  runtime.exitContainer("real", 1);
  EXPECT_TRUE(make(request())) << "the container has ended, and its image was removed";
}

TEST_F(StandInsTest, AnInitContainerHasToSucceed) {
  runtime.addContainer("init", "s1", "migrate");
  auto one = request();
  one.initContainers = {"migrate"};
  runtime.exitContainer("init", 1);
  const auto made = make(one);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().reason, Reason::not_ready) << "kubelet would consider the pod initialised";
  runtime.exitContainer("init", 0);
  EXPECT_TRUE(make(one));
}

TEST_F(StandInsTest, AnImageOfThatNameWithOtherContentIsReplaced) {
  const std::string name = "fallbackd.io/checkout:1.8.3";
  runtime.images.insert(name);
  control.images[name] = {};
  control.digests[name] = "sha256:foreign";
  ASSERT_TRUE(make(request()));
  EXPECT_THAT(control.calls, ElementsAre("delete", "image", "create", "start"));
  EXPECT_NE(control.digests.at(name), "sha256:foreign");
}

/// After a power cut, the program in the image may be empty.
TEST_F(StandInsTest, AnImageWhoseProgramDoesNotStartIsWrittenAgain) {
  control.startFails = true;
  EXPECT_FALSE(make(request()));
  control.startFails = false;
  control.calls.clear();
  ASSERT_TRUE(make(request()));
  EXPECT_THAT(control.calls, ElementsAre("delete at once", "image", "create", "start"));
  control.calls.clear();
  ASSERT_TRUE(make(request("r2")));
  EXPECT_THAT(control.calls, testing::Not(testing::Contains("image"))) << "once is enough";
}

TEST_F(StandInsTest, OneOfAnImageThatWasExchangedIsNotStarted) {
  control.exchanges = true;
  const auto made = make(request());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().reason, Reason::digest_mismatch);
  EXPECT_EQ(std::count(control.calls.begin(), control.calls.end(), "start"), 0);
  EXPECT_TRUE(runtime.containers.empty());
}

TEST_F(StandInsTest, WhatProbesExecuteIsInIt) {
  auto one = request();
  one.env = {{"PORT", "8080"}};
  const auto file = std::make_shared<sys::UniqueFd>(::memfd_create("binary", MFD_CLOEXEC));
  ASSERT_EQ(::write(file->get(), "binary", 6), 6);
  one.executable = Executable{"/app/server", "d1", 6, file};
  ASSERT_TRUE(make(one));
  const auto name = imageNameOf(one.binary, one.executable);
  EXPECT_EQ(control.orders[0].image, name);
  EXPECT_EQ(control.orders[0].env.at("PORT"), "8080");
  EXPECT_EQ(control.layers.at(name), 2U);
  control.calls.clear();
  auto again = one;
  again.recoveryId = "r2";
  ASSERT_TRUE(make(again));
  EXPECT_EQ(std::count(control.calls.begin(), control.calls.end(), "image"), 0) << "the image is the same";
  ASSERT_TRUE(make(request("r3")));
  EXPECT_EQ(control.layers.at("fallbackd.io/checkout:1.8.3"), 1U);
}

TEST_F(StandInsTest, WithoutAThreadForItsImageItIsMadeLater) {
  auto one = request();
  const auto file = std::make_shared<sys::UniqueFd>(::memfd_create("binary", MFD_CLOEXEC));
  ASSERT_EQ(::write(file->get(), "binary", 6), 6);
  one.executable = Executable{"/app/server", "d1", 6, file};
  const auto refused = test::onOwnThread([&]() -> std::optional<Error> {
    if (!test::refuseCalls(test::cloneCalls(), EAGAIN)) return std::nullopt;
    auto made = make(one);
    return made ? std::nullopt : std::optional(made.error());
  });
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->errnum, EAGAIN) << refused->message();
  EXPECT_TRUE(make(one));
}

TEST_F(StandInsTest, ManyThatNeedOneImageWriteItOnce) {
  control.imageHidden = true;  // until after it is written
  std::vector<std::optional<Result<std::unique_ptr<StandIn>>>> made(3);
  for (std::size_t i = 0; i < made.size(); ++i) {
    const auto sandbox = "m" + std::to_string(i);
    runtime.addSandbox(sandbox, "shop", "checkout");
    runtime.sandboxes[sandbox].pausePid = ::getpid();
    auto one = request("r" + std::to_string(i));
    one.sandbox = runtime.sandboxes[sandbox];
    boost::asio::co_spawn(loop, standIns.make(std::move(one)),
                          [&made, i](std::exception_ptr, auto result) { made[i] = std::move(result); });
  }
  const auto written = [&] { return std::count(control.calls.begin(), control.calls.end(), "image"); };
  ASSERT_TRUE(test::runUntil(loop, [&] { return written() > 0; }));
  runtime.images.insert("fallbackd.io/checkout:1.8.3");
  ASSERT_TRUE(test::runUntil(loop, [&] {
    return std::all_of(made.begin(), made.end(), [](const auto& one) { return one.has_value(); });
  }));
  for (const auto& one : made) EXPECT_TRUE(*one);
  EXPECT_EQ(written(), 1);
}

TEST_F(StandInsTest, TheStandInOfAnotherFallbackdIsLeftAlone) {
  auto& other = runtime.addContainer("foreign", "s1", "main");
  other.labels[kStandInLabel] = "r9";
  other.annotations[kStandInOwner] = "/run/another";
  EXPECT_FALSE(make(request()));
  ASSERT_TRUE(test::runToEnd(loop, standIns.removeAll("s1", "main", Fallback::ended)));
  ASSERT_TRUE(test::runToEnd(loop, standIns.removeOthers([](const std::string&) { return false; })));
  EXPECT_THAT(ids(), ElementsAre("foreign"));
}

TEST_F(StandInsTest, ThereAreNeverTwoOfOneContainer) {
  ASSERT_TRUE(make(request()));
  ASSERT_TRUE(make(request("r2")));
  EXPECT_THAT(ids(), ElementsAre("c2"));
}

TEST_F(StandInsTest, TheLatestThatEndedStaysForKubectl) {
  ASSERT_TRUE(make(request()));
  runtime.exitContainer("c1", 3);
  auto second = request();
  second.restarts = 1;
  ASSERT_TRUE(make(second));
  EXPECT_THAT(ids(), ElementsAre("c1", "c2"));
  runtime.exitContainer("c2", 3);
  auto third = request();
  third.restarts = 2;
  ASSERT_TRUE(make(third));
  EXPECT_THAT(ids(), ElementsAre("c2", "c3"));
}

TEST_F(StandInsTest, ANewSandboxOfThePodIsNotBlockedByTheOldOnes) {
  ASSERT_TRUE(make(request()));
  runtime.exitContainer("c1", 3);
  auto& old = runtime.addContainer("old", "s1", "main");
  old.annotations["io.kubernetes.container.restartCount"] = "4";
  runtime.exitContainer("old", 1);
  runtime.addSandbox("s2", "shop", "checkout");
  auto next = request("r2");
  next.sandbox.sandbox.id = "s2";
  const auto made = make(next);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_THAT(ids(), ElementsAre("old", "c2"));
  EXPECT_EQ(control.orders[1].annotations.at("io.kubernetes.container.restartCount"), "5");
}

TEST_F(StandInsTest, OneWhoseEndTheRuntimeLearnsOfLaterStaysForKubectlToo) {
  ASSERT_TRUE(make(request()));
  int lists = 0;
  runtime.onList = [&] {
    if (++lists == 3) runtime.exitContainer("c1", 3);
  };
  auto second = request();
  second.restarts = 1;
  ASSERT_TRUE(make(second));
  EXPECT_THAT(ids(), ElementsAre("c1", "c2"));
}

TEST_F(StandInsTest, TheNextDaemonFindsIt) {
  ASSERT_TRUE(make(request()));
  ContainerdStandIns next(runtime, control, "/run/fallbackd", links);
  auto found = test::runToEnd(loop, next.find("r1"));
  ASSERT_TRUE(found) << found.error().message();
  ASSERT_NE(*found, nullptr);
  EXPECT_EQ((*found)->containerId(), "c1");
  test::runToEnd(loop, [&]() -> boost::asio::awaitable<bool> {
    co_await (*found)->exit(7);
    co_return true;
  }());
  int status = 0;
  ASSERT_EQ(::waitpid(programs[0], &status, 0), programs[0]);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  programs.clear();
  auto none = test::runToEnd(loop, next.find("r2"));
  ASSERT_TRUE(none);
  EXPECT_EQ(*none, nullptr);
}

TEST_F(StandInsTest, WhatNoRecoveryKeepsIsRemovedWithItsImage) {
  ASSERT_TRUE(make(request()));
  const auto kept =
      test::runToEnd(loop, standIns.removeOthers([](const std::string& id) { return id == "r1"; }));
  ASSERT_TRUE(kept);
  EXPECT_EQ(*kept, 0U);
  EXPECT_EQ(control.images.size(), 1U);
  const auto removed = test::runToEnd(loop, standIns.removeOthers([](const std::string&) { return false; }));
  ASSERT_TRUE(removed);
  EXPECT_EQ(*removed, 1U);
  EXPECT_TRUE(runtime.containers.empty());
  EXPECT_TRUE(control.images.empty());
}

/// Two stand-ins; the first does not stop.
struct HungStandIn : StandInsTest {
  HungStandIn() {
    for (const std::string id : {"c1", "c2"}) {
      auto& one = runtime.addContainer(id, "s1", "main");
      one.labels[kStandInLabel] = "r1";
      one.annotations[kStandInOwner] = "/run/fallbackd";
      runtime.startContainer(id);
    }
    control.hung = "c1";
  }
  test::FakeClock& clock = test::FakeClock::install(loop);
};

TEST_F(HungStandIn, DoesNotKeepTheOthers) {
  const auto removed = test::runToEnd(loop, standIns.removeOthers([](const std::string&) { return false; }));
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().context, "its shim hangs");
  EXPECT_THAT(ids(), ElementsAre("c1"));
}

TEST_F(HungStandIn, IsTriedAgainUntilNoneIsLeft) {
  std::optional<Result<std::size_t>> removed;
  boost::asio::co_spawn(loop, standIns.removeEvery(std::chrono::seconds(10)),
                        [&](std::exception_ptr, Result<std::size_t> result) { removed = std::move(result); });
  clock.advance(loop, std::chrono::seconds(5));
  EXPECT_FALSE(removed);
  control.hung.clear();
  clock.advance(loop, std::chrono::seconds(2));
  ASSERT_TRUE(removed);
  ASSERT_TRUE(*removed);
  EXPECT_EQ(**removed, 2U);
  EXPECT_TRUE(runtime.containers.empty());
}

TEST_F(HungStandIn, IsNotTriedForEver) {
  std::optional<Result<std::size_t>> removed;
  boost::asio::co_spawn(loop, standIns.removeEvery(std::chrono::seconds(10)),
                        [&](std::exception_ptr, Result<std::size_t> result) { removed = std::move(result); });
  clock.advance(loop, std::chrono::seconds(12));
  ASSERT_TRUE(removed);
  ASSERT_FALSE(*removed);
  EXPECT_EQ(removed->error().context, "its shim hangs");
}

TEST_F(StandInsTest, ASilentRuntimeSaysNothing) {
  ASSERT_TRUE(make(request()));
  runtime.down = true;
  EXPECT_FALSE(test::runToEnd(loop, standIns.find("r1")));
  EXPECT_FALSE(test::runToEnd(loop, standIns.removeAll("s1", "main", Fallback::ended)));
  EXPECT_FALSE(test::runToEnd(loop, standIns.removeOthers([](const std::string&) { return false; })));
}

TEST_F(StandInsTest, AnImageThatCriDoesNotLearnOfIsAnError) {
  auto& clock = test::FakeClock::install(loop);
  control.imageHidden = true;
  std::optional<Result<std::unique_ptr<StandIn>>> made;
  boost::asio::co_spawn(loop, standIns.make(request()),
                        [&](std::exception_ptr, auto result) { made = std::move(result); });
  ASSERT_TRUE(test::runUntil(loop, [&] {
    clock.advance(loop, std::chrono::milliseconds(200));
    return made.has_value();
  }));
  ASSERT_FALSE(*made);
  EXPECT_EQ(made->error().reason, Reason::timeout);
  EXPECT_TRUE(runtime.containers.empty());
}

}  // namespace
}  // namespace fallbackd::standin
