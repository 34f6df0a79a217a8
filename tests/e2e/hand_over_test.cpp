// SPDX-License-Identifier: Apache-2.0
// The real container takes over from a settled fallback while a Service routes to it: which requests are
// lost, by the number of replicas and the Service's lag.
#include "settle_fixture.hpp"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

constexpr unsigned kPerSecond = 200;
const std::string kSharedPort = "  handBack: {on: start, grace: 2s}\n";
const std::string kOwnPort = "  handBack: {on: container}\n";

class HandOver : public SettleNode {
 protected:
  struct Case {
    int replicas = 1;
    std::chrono::milliseconds lag{0};
    bool shared = false;
    double scale = 0.2;
  };
  /// From the registry's return until all replicas are real, under load.
  RequestLoad::Counts handOver(const Case& one) {
    RequestLoad::Counts counts;
    handOver(one, counts);
    return counts;
  }

 private:
  void handOver(const Case& one, RequestLoad::Counts& counts) {
    ASSERT_NO_FATAL_FAILURE(open(one.lag, one.shared ? kSharedPort : kOwnPort,
                                 one.shared ? std::vector<std::string>{"--graceful", "--share-port"}
                                            : std::vector<std::string>{"--graceful"},
                                 one.scale));
    std::vector<std::string> names;
    for (int i = 0; i < one.replicas; ++i) names.push_back("web-" + std::to_string(i));
    for (const auto& name : names) ASSERT_NO_FATAL_FAILURE(settled(name));
    ASSERT_TRUE(router_->waitForEndpoints(names.size(), kCeiling));
    RequestLoad load(router_->port(), kPerSecond);
    ASSERT_TRUE(load.waitForAnswers(kPerSecond, "fallback", kCeiling));
    ASSERT_NO_FATAL_FAILURE(bringImage());
    for (const auto& name : names) {
      ASSERT_TRUE(readyWith(name, shop_->image(), 60s)) << shop_->daemon->logText();
      EXPECT_EQ(kubelet_->events().of(name, "Killing").size(), 0U) << "no program found its port taken";
      EXPECT_EQ(kubelet_->events().of(name, "Started").size(), 1U);
    }
    ASSERT_TRUE(router_->waitForEndpoints(names.size(), kCeiling));
    ASSERT_TRUE(load.waitForAnswers(kPerSecond, "container", kCeiling));
    counts = load.finish();
  }
};

TEST_F(HandOver, OneReplica) {
  const auto counts = handOver({});
  if (HasFatalFailure()) return;
  std::printf("one replica: %u of %u lost\n", counts.lost, counts.sent);
  EXPECT_GT(counts.answered, counts.lost);
}

/// One after the other: the Service always has two of them.
TEST_F(HandOver, ThreeReplicasThatShareTheirPortLoseNothing) {
  const auto counts = handOver({.replicas = 3, .lag = 100ms, .shared = true});
  EXPECT_EQ(counts.lost, 0U) << shop_->daemon->logText();
}

/// For scripts/report: all cases, with kubelet's own times.
TEST_F(HandOver, Report) {
  const char* const folder = std::getenv("SETTLE_JSON");  // NOLINT(concurrency-mt-unsafe): one thread
  if (folder == nullptr) return;
  const char* const text = std::getenv("SETTLE_ROUNDS");  // NOLINT(concurrency-mt-unsafe): one thread
  const int rounds = text == nullptr ? 1 : std::atoi(text);
  for (const int replicas : {1, 3}) {
    for (const auto lag : {0ms, 100ms, 1000ms}) {
      for (const bool shared : {false, true}) {
        json::array lost;
        unsigned sent = 0;
        for (int i = 0; i < rounds; ++i) {
          const auto counts = handOver({replicas, lag, shared, 1.0});
          if (HasFatalFailure()) return;
          lost.emplace_back(counts.lost);
          sent += counts.sent;
        }
        std::ofstream(std::string(folder) + "/hand-over-" + std::to_string(replicas) + "-" +
                      std::to_string(lag.count()) + (shared ? "-start" : "-container") + ".json")
            << json::object{{"part", "handOver"},
                            {"replicas", replicas},
                            {"lagMs", lag.count()},
                            {"on", shared ? "start" : "container"},
                            {"handBacks", rounds * replicas},
                            {"sent", sent},
                            {"lost", std::move(lost)}}
            << "\n";
      }
    }
  }
}

}  // namespace
}  // namespace fallbackd::e2e
