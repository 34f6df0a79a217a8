// SPDX-License-Identifier: Apache-2.0
// Kills the daemon or its spawner at random moments while fallbacks run, on the real containerd. No fallback
// dies, none runs twice, all are adopted, nothing leaks. SURVIVAL_KILLS, SURVIVAL_PODS and SURVIVAL_SEED set
// length and seed (scripts/report survival). SURVIVAL_JSON names the folder for the figures.
#include "cgroups.hpp"
#include "e2e_gtest.hpp"
#include "shop.hpp"
#include "sys/process.hpp"
#include "traces.hpp"
#include "wait.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

constexpr int kAtOnce = 4;          // pods that are created at once
constexpr auto kStarting = 150ms;   // a kill during a daemon's start comes within this time
constexpr auto kAtWork = 100ms;     // a later kill within this time after the last adoption
constexpr auto kLaunchTime = 15ms;  // a kill during a launch within this time after its leaf was created
constexpr int kSpawnerEvery = 10;   // every so many kills, the spawner is killed
constexpr std::size_t kKindsOfRound = 3;  // starting, running, launching

unsigned number(const char* variable, unsigned otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

struct Survivor {
  Pod pod;
  pid_t pid = 0;
  std::uint64_t startTime = 0;
};

struct Figures {
  unsigned daemonKills = 0;
  unsigned spawnerKills = 0;
  unsigned whileStarting = 0;
  unsigned whileLaunching = 0;
  unsigned removedMeanwhile = 0;
  std::size_t adoptions = 0;
  std::set<std::string> died;
  std::set<std::string> doubled;
};

class Survival : public testing::Test {
 protected:
  void SetUp() override {
    std::printf("  seed %u\n", seed_);
    E2E_TRY(shop_, Shop::open());
  }

  [[nodiscard]] std::chrono::microseconds within(std::chrono::microseconds most) {
    return std::chrono::microseconds(std::uniform_int_distribution<std::int64_t>(0, most.count())(random_));
  }
  /// The test tries all moments, so any of them is fine.
  void pass(std::chrono::microseconds time) { std::this_thread::sleep_for(time); }

  /// The pids of one hierarchy's leaf; they are the same in all hierarchies.
  static std::vector<pid_t> inLeaf(const Pod& pod) {
    return cgroupProcesses(pod.cgroups.front() / "fallback-checkout");
  }
  static bool same(const Survivor& one) {
    const auto now = sys::startTimeOf(Stage::cli, one.pid);
    return now && *now == one.startTime;
  }

  void startSurvivors(unsigned count) {
    survivors_.resize(count);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kAtOnce; ++thread) {
      threads.emplace_back([this, thread] {
        for (std::size_t i = static_cast<std::size_t>(thread); i < survivors_.size(); i += kAtOnce) {
          auto pod = shop_->kubelet->startPod(checkoutPod("web-" + std::to_string(i)));
          if (pod) survivors_[i].pod = std::move(*pod);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    for (auto& one : survivors_) {
      const auto& name = one.pod.spec.name;
      ASSERT_FALSE(name.empty()) << "could not create a sandbox";
      ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, name) == "ready"; }))
          << name << "\n"
          << shop_->daemon->logText();
      one.pid = fallbackPid(*shop_->daemon, name);
      E2E_TRY(one.startTime, sys::startTimeOf(Stage::cli, one.pid));
    }
  }

  /// Pod -> pid of the recoveries that /status shows as ready.
  [[nodiscard]] std::map<std::string, pid_t> ready() const {
    std::map<std::string, pid_t> pids;
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    if (!answer || answer->status != 200) return pids;
    const auto root = json::parse(answer->body);
    for (const auto& one : root.at("recoveries").as_array()) {
      if (one.at("state").as_string() == "ready") {
        pids[std::string(one.at("pod").as_string())] = one.at("pid").to_number<pid_t>();
      }
    }
    return pids;
  }
  [[nodiscard]] bool allAdopted() {
    const bool all = waitUntil(kCeiling, [&] {
      const auto pids = ready();
      return std::all_of(survivors_.begin(), survivors_.end(), [&](const Survivor& one) {
        const auto found = pids.find(one.pod.spec.name);
        return found != pids.end() && found->second == one.pid;
      });
    });
    if (all) figures_.adoptions += survivors_.size();
    return all;
  }

  void lookAtSurvivors() {
    for (const auto& one : survivors_) {
      if (!same(one)) figures_.died.insert(one.pod.spec.name);
      if (inLeaf(one.pod) != std::vector<pid_t>{one.pid}) figures_.doubled.insert(one.pod.spec.name);
    }
  }

  void killDaemon() {
    shop_->daemon->kill();
    ++figures_.daemonKills;
    lookAtSurvivors();
  }

  void killSpawner() {
    ASSERT_TRUE(allAdopted()) << shop_->daemon->logText();
    const pid_t before = spawnerOf(shop_->daemon->pid());
    ASSERT_GT(before, 0);
    pass(within(kAtWork));
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    ++figures_.spawnerKills;
    lookAtSurvivors();
    ASSERT_TRUE(waitUntil(kCeiling, [&] {
      const pid_t now = spawnerOf(shop_->daemon->pid());
      return now > 0 && now != before;
    })) << "no new spawner";
  }

  /// Adds a pod. The daemon dies while its fallback is being launched, and sometimes the pod is deleted
  /// before the next daemon starts. In the end one process serves it, or nothing of it is left.
  void killDuringALaunch(unsigned round) {
    ASSERT_TRUE(allAdopted()) << shop_->daemon->logText();
    auto spec = checkoutPod("extra-" + std::to_string(round));
    spec.uid = makeUid();
    E2E_TRY(const auto hierarchies, cgroupHierarchies());
    const auto leaf = hierarchies.front().mountPoint.string() + podCgroup(spec.uid) + "/fallback-checkout";
    Result<Pod> started = fail(Stage::cli, Reason::internal, "not started");
    std::thread starter([&] { started = shop_->kubelet->startPod(spec); });
    // The launch begins before containerd has reported to kubelet that the sandbox is ready.
    const bool launching = waitUntil(kCeiling, [&] { return fs::exists(leaf); });
    pass(within(kLaunchTime));
    const auto journal = entriesOf(shop_->daemon->runFolder() / "journal");
    killDaemon();
    if (journal == survivors_.size()) ++figures_.whileLaunching;
    starter.join();
    ASSERT_TRUE(launching) << shop_->daemon->logText();
    E2E_TRY(const auto pod, std::move(started));
    const bool removed = round % 2 == 0;
    if (removed) {
      E2E_CHECK(shop_->kubelet->removePod(pod));
      ++figures_.removedMeanwhile;
    }
    E2E_CHECK(shop_->daemon->launch());
    if (removed) return;
    const auto& name = pod.spec.name;
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return ready().contains(name); })) << name << "\n"
                                                                             << shop_->daemon->logText();
    if (inLeaf(pod) != std::vector<pid_t>{ready()[name]}) figures_.doubled.insert(name);
    EXPECT_TRUE(httpGet(pod.ip, Shop::kPort, "/")) << name;
    E2E_CHECK(shop_->kubelet->removePod(pod));
  }

  void report(const Traces& before, const Traces& after) const {
    json::object traces;
    std::set<std::string> names;
    for (const auto* side : {&before, &after}) {
      for (const auto& [name, count] : *side) names.insert(name);
    }
    const auto of = [](const Traces& side, const std::string& name) {
      const auto found = side.find(name);
      return found == side.end() ? 0 : found->second;
    };
    const auto line = [](const char* what, std::size_t count) { std::printf("  %-44s %6zu\n", what, count); };
    line("fallbacks", survivors_.size());
    line("kills of the daemon", figures_.daemonKills);
    line("  in its first 150 ms", figures_.whileStarting);
    line("  in the middle of a launch", figures_.whileLaunching);
    line("  and the pod was deleted before the next daemon", figures_.removedMeanwhile);
    line("kills of the spawner", figures_.spawnerKills);
    line("adoptions, each with its pid unchanged", figures_.adoptions);
    line("fallbacks that died", figures_.died.size());
    line("fallbacks that were doubled", figures_.doubled.size());
    std::printf("\n  %-44s %6s %6s\n", "what may leak", "before", "after");
    for (const auto& name : names) {
      std::printf("  %-44s %6zu %6zu\n", name.c_str(), of(before, name), of(after, name));
      traces[name] = {of(before, name), of(after, name)};
    }
    const char* const folder = std::getenv("SURVIVAL_JSON");
    if (folder == nullptr) return;
    const json::object figures{{"seed", seed_},
                               {"fallbacks", survivors_.size()},
                               {"daemonKills", figures_.daemonKills},
                               {"whileStarting", figures_.whileStarting},
                               {"whileLaunching", figures_.whileLaunching},
                               {"spawnerKills", figures_.spawnerKills},
                               {"adoptions", figures_.adoptions},
                               {"died", figures_.died.size()},
                               {"doubled", figures_.doubled.size()},
                               {"leaked", before == after ? 0 : 1},
                               {"traces", traces}};
    std::ofstream(fs::path(folder) / "survival.json") << json::serialize(figures);
  }

  const unsigned seed_ = number("SURVIVAL_SEED", std::random_device()());
  std::mt19937 random_{seed_};
  std::unique_ptr<Shop> shop_;
  std::vector<Survivor> survivors_;
  Figures figures_;
};

/// The pool keeps two to four idle workers, as many as once worked at the same time. Each has a process, two
/// sockets and two anonymous inodes.
constexpr const char* kWorkers = "processes: fallbackd-worke";
constexpr std::size_t kIdleWorkers = 4;

Traces tracesButWorkers(const Daemon& daemon) {
  auto traces = tracesOf(daemon);
  const auto workers = std::exchange(traces[kWorkers], 0);
  traces["daemon fds: socket"] -= 2 * workers;
  traces["daemon fds: anon_inode"] -= 2 * workers;
  return traces;
}

TEST_F(Survival, FallbacksSurviveKillsOfTheDaemonAtAnyMoment) {
  const unsigned kills = number("SURVIVAL_KILLS", 10);
  ASSERT_NO_FATAL_FAILURE(startSurvivors(number("SURVIVAL_PODS", 5)));
  // An adopted fallback has other descriptors than a launched one, so the comparison starts after an
  // adoption.
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(allAdopted()) << shop_->daemon->logText();
  figures_.adoptions = 0;
  Traces before = tracesButWorkers(*shop_->daemon);
  // The initial work (probes, lists) is over when nothing changes for a second.
  int equal = 0;
  waitUntil(20s, [&] {
    pass(50ms);
    const auto again = tracesButWorkers(*shop_->daemon);
    equal = std::exchange(before, again) == again ? equal + 1 : 0;
    return equal == 20;
  });

  for (unsigned round = 0; round < kills; ++round) {
    SCOPED_TRACE("kill " + std::to_string(round) + ", seed " + std::to_string(seed_));
    if (round % kSpawnerEvery == kSpawnerEvery - 1) {
      ASSERT_NO_FATAL_FAILURE(killSpawner());
      continue;
    }
    switch (round % kKindsOfRound) {
      case 0:
        pass(within(kStarting));
        ++figures_.whileStarting;
        killDaemon();
        E2E_CHECK(shop_->daemon->launch());
        break;
      case 1:
        ASSERT_TRUE(allAdopted()) << shop_->daemon->logText();
        pass(within(kAtWork));
        killDaemon();
        E2E_CHECK(shop_->daemon->launch());
        break;
      default:
        ASSERT_NO_FATAL_FAILURE(killDuringALaunch(round));
    }
  }

  ASSERT_TRUE(allAdopted()) << shop_->daemon->logText();
  lookAtSurvivors();
  for (const auto& one : survivors_) EXPECT_TRUE(httpGet(one.pod.ip, Shop::kPort, "/")) << one.pod.spec.name;
  Traces after;
  waitUntil(20s, [&] {
    after = tracesButWorkers(*shop_->daemon);
    return after == before;
  });
  report(before, after);
  EXPECT_THAT(figures_.died, testing::IsEmpty());
  EXPECT_THAT(figures_.doubled, testing::IsEmpty());
  // Enough kills that this does not depend on luck.
  if (kills >= 100) {
    EXPECT_GT(figures_.whileLaunching, 0U) << "no kill came in the middle of a launch";
  }
  EXPECT_EQ(before, after) << "something leaks";
  EXPECT_LE(tracesOf(*shop_->daemon)[kWorkers], kIdleWorkers);
}

}  // namespace
}  // namespace fallbackd::e2e
