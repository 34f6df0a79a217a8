#include "watcher/prober.hpp"

#include "fake_runtime.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using test::Gate;
using test::runUntil;

struct ProberTest : testing::Test {
  void ask(const std::string& reference, std::chrono::nanoseconds stallTimeout = 1h) {
    boost::asio::co_spawn(loop, prober.probe(reference, stallTimeout),
                          [this](std::exception_ptr error, Verdict verdict) {
                            if (error) std::rethrow_exception(error);
                            verdicts.push_back(std::move(verdict));
                          });
  }
  boost::asio::io_context loop;
  test::FakeRuntime runtime;
  Prober prober{loop.get_executor(), runtime, 2};
  std::vector<Verdict> verdicts;
};

TEST_F(ProberTest, SaysWhyAPullFailed) {
  ask("r/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::failed);
  EXPECT_EQ(verdicts[0].cause, Cause::unreachable);
}

TEST_F(ProberTest, HundredPodsOfOneImageShareOnePull) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  for (int i = 0; i < 100; ++i) ask("r/a:1");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.pulls["r/a:1"] == 1; }));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 100; }));
  EXPECT_EQ(prober.pullsSent(), 1U);
}

TEST_F(ProberTest, SendsNoMoreThanItsLimitAtOnce) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  for (const auto* image : {"r/a:1", "r/b:1", "r/c:1", "r/d:1"}) ask(image);
  ASSERT_TRUE(runUntil(loop, [&] { return prober.pullsSent() == 2; }));
  loop.restart();
  loop.poll();
  EXPECT_EQ(prober.pullsSent(), 2U);
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 4; }));
  EXPECT_EQ(prober.pullsSent(), 4U);
}

TEST_F(ProberTest, SilenceIsATimeoutAndThePullIsCancelled) {
  Gate never(loop);
  runtime.pullGate = &never;
  ask("r/a:1", 5ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
  EXPECT_EQ(runtime.ingestLooks, 1);
}

TEST_F(ProberTest, ASlowPullThatMovesIsLeftAlone) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  std::int64_t offset = 0;
  runtime.onIngests = [&] {
    if (runtime.ingestLooks == 20) gate.open();
    return std::vector<cri::Ingest>{{"layer-1", ++offset, 1000}};
  };
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ask("r/a:1", 1ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::pulled);
  EXPECT_GE(runtime.ingestLooks, 20);
}

TEST_F(ProberTest, ADownloadThatStopsMovingIsATimeout) {
  Gate never(loop);
  runtime.pullGate = &never;
  runtime.onIngests = [&] {
    return std::vector<cri::Ingest>{{"layer-1", std::min(runtime.ingestLooks, 5), 1000}};
  };
  ask("r/a:1", 1ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].cause, Cause::timeout);
  EXPECT_EQ(runtime.ingestLooks, 6);
}

TEST_F(ProberTest, UnpackingMovesNothingAndIsNoFailure) {
  Gate gate(loop);
  runtime.pullGate = &gate;
  runtime.onIngests = [&]() -> std::vector<cri::Ingest> {
    if (runtime.ingestLooks == 20) gate.open();
    if (runtime.ingestLooks < 3) return {{"layer-1", runtime.ingestLooks, 10}};
    return {};  // all downloaded
  };
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ask("r/a:1", 1ms);
  ASSERT_TRUE(runUntil(loop, [&] { return verdicts.size() == 1; }));
  EXPECT_EQ(verdicts[0].kind, Verdict::Kind::pulled);
}

}  // namespace
}  // namespace fallbackd::watcher
