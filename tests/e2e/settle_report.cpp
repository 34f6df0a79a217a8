// SPDX-License-Identifier: Apache-2.0
// For scripts/report settle: the time until a pod is served, adopted, Ready and routed to, with kubelet's
// real times; and the requests that hand-backs lose.
#include "hand_over_fleet.hpp"
#include "http.hpp"
#include "settle_fixture.hpp"
#include "settle_part.hpp"
#include "wait.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using Millis = std::vector<double>;

double millis(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

template <class Number>
Number quantile(std::vector<Number> all, double part) {
  if (all.empty()) return 0;
  std::sort(all.begin(), all.end());
  const auto rank = static_cast<std::size_t>(part * static_cast<double>(all.size()));
  return all[std::min(rank, all.size() - 1)];
}

void write(const std::string& name, json::object part) {
  ASSERT_FALSE(given("SETTLE_JSON").empty()) << "SETTLE_JSON names the folder of the results";
  writePart(name, std::move(part));
}

/// All times since the sandbox's start, which is the first that fallbackd knows of a pod.
class SettlePhases : public SettleNode {
 protected:
  void follow() {
    kubelet_->subscribe([this](const model::PodStatus& pod) {
      const std::lock_guard lock(mutex_);
      if (pod.ready) ready_.try_emplace(pod.name, Wall::now());
    });
  }
  /// The recoveries of these pods, once each has its stand-in: a busy daemon may notice later than kubelet
  /// that it runs.
  std::optional<std::vector<json::object>> settledRecoveries(const std::vector<std::string>& pods) {
    std::vector<json::object> found;
    const bool all = waitUntil(kCeiling, [&] {
      found.clear();
      const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
      if (!answer) return false;
      std::set<std::string, std::less<>> missing(pods.begin(), pods.end());
      const auto status = json::parse(answer->body);
      for (const auto& item : status.at("recoveries").as_array()) {
        const auto& recovery = item.as_object();
        if (!recovery.at("sinceWaitingMs").as_object().contains("standIn")) continue;
        if (missing.erase(std::string(recovery.at("pod").as_string())) > 0) found.push_back(recovery);
      }
      return missing.empty();
    });
    if (!all) return std::nullopt;
    return found;
  }
  /// The time since when a client of the Service reaches the pod.
  [[nodiscard]] std::optional<Wall::time_point> routed(const std::string& pod) const {
    const auto status = kubelet_->status(pod);
    const auto at = status ? router_->reached(status->ip) : std::nullopt;
    if (!at) return std::nullopt;
    return Wall::now() - (Monotonic::now() - *at);
  }
  void collect(const std::vector<std::string>& pods) {
    const auto recoveries = settledRecoveries(pods);
    ASSERT_TRUE(recoveries);
    for (const auto& item : *recoveries) {
      const std::string pod(item.at("pod").as_string());
      const auto& since = item.at("sinceWaitingMs").as_object();
      const auto detected = since.at("detected").to_number<double>();
      const auto begun = *parseRfc3339(std::string(item.at("begun").as_string()));
      const auto sinceStart = [&](Wall::time_point at) { return millis(at - begun) + detected; };
      note("1 trigger: the pull's failure is known", detected);
      note("2 the fallback serves", since.at("ready").to_number<double>());
      note("3 the stand-in runs", since.at("standIn").to_number<double>());
      const auto adopted = kubelet_->events().of(pod, "Found");
      ASSERT_FALSE(adopted.empty());
      note("4 kubelet has adopted it", sinceStart(Wall::now() - (Monotonic::now() - adopted[0].at)));
      const auto reached = routed(pod);
      ASSERT_TRUE(reached) << pod;
      note("6 routed", sinceStart(*reached));
      const std::lock_guard lock(mutex_);  // after all queries to kubelet, whose threads also take it
      note("5 Ready", sinceStart(ready_.at(pod)));
    }
  }
  void note(const std::string& phase, double time) { phases_[phase].push_back(time); }
  void finish(const std::string& file, const std::string& load) {
    json::array rows;
    for (const auto& [phase, times] : phases_) {
      rows.push_back(json::object{{"phase", phase},
                                  {"pods", times.size()},
                                  {"p50", quantile(times, 0.5)},
                                  {"p99", quantile(times, 0.99)}});
    }
    write(file, {{"part", "phases"}, {"load", load}, {"rows", std::move(rows)}});
    phases_.clear();
  }
  std::mutex mutex_;
  std::map<std::string, Wall::time_point> ready_;  // guarded by mutex_
  std::map<std::string, Millis> phases_;
};

TEST_F(SettlePhases, AreMeasured) {
  ASSERT_NO_FATAL_FAILURE(open(0ms, "", {}, 1.0));
  follow();
  const int pods = numberOr("SETTLE_PODS", 100);
  for (int i = 0; i < pods; ++i) {
    const auto name = "web-" + std::to_string(i);
    ASSERT_NO_FATAL_FAILURE(settled(name));
    ASSERT_TRUE(httpGetOk("127.0.0.1", router_->port(), "/", kCeiling));
    ASSERT_NO_FATAL_FAILURE(collect({name}));
    kubelet_->remove(name, 1s);
    ASSERT_TRUE(kubelet_->waitUntilGone(name, kCeiling));
  }
  finish("phases-one", std::to_string(pods) + " one after the other");
  const int atOnce = numberOr("SETTLE_AT_ONCE", 110);
  if (atOnce == 0) return;
  // A Service picks its endpoints in turn: clients reach each new one within a second or two.
  constexpr unsigned kClientsPerSecond = 50;
  RequestLoad clients(router_->port(), kClientsPerSecond);
  std::vector<std::string> names;
  for (int i = 0; i < atOnce; ++i) {
    names.push_back("many-" + std::to_string(i));
    add(names.back());
  }
  for (const auto& name : names) {
    ASSERT_TRUE(readyWith(name, kStandIn, 300s)) << kubelet_->status(name)->text();
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return routed(name).has_value(); })) << name;
  }
  clients.finish();
  ASSERT_NO_FATAL_FAILURE(collect(names));
  finish("phases-many", std::to_string(atOnce) + " at once");
}

/// The figures of equal Services.
struct HandBacks {
  LostRequests lost;
  void add(const LostRequests& one) {
    lost.sent += one.sent;
    lost.noEndpoint += one.noEndpoint;
    lost.ofHandBacks.insert(lost.ofHandBacks.end(), one.ofHandBacks.begin(), one.ofHandBacks.end());
    for (const auto& [reason, count] : one.reasons) lost.reasons[reason] += count;
  }
  [[nodiscard]] json::object toJson() const {
    unsigned sum = 0;
    for (const auto one : lost.ofHandBacks) sum += one;
    json::object reasons;
    for (const auto& [reason, count] : lost.reasons) reasons[reason] = count;
    return {{"handBacks", lost.ofHandBacks.size()},
            {"sent", lost.sent},
            {"lost", sum},
            {"lostMedian", quantile(lost.ofHandBacks, 0.5)},
            {"lostMax", quantile(lost.ofHandBacks, 1)},
            {"noEndpoint", lost.noEndpoint},
            {"reasons", std::move(reasons)}};
  }
};

TEST(SettleHandBacks, AreCounted) {
  std::vector<int> replicas;  // of each group
  for (int i = 0; i < numberOr("SETTLE_GROUPS_OF_1", 1); ++i) replicas.push_back(1);
  for (int i = 0; i < numberOr("SETTLE_GROUPS_OF_3", 1); ++i) replicas.push_back(3);
  const int handBacks = numberOr("SETTLE_HAND_BACKS", 100);
  E2E_TRY(const auto fleet, HandOverFleet::open(replicas, nodeOfReport()));
  std::vector<Result<>> results(replicas.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < replicas.size(); ++i) {
    const int each =
        static_cast<int>(std::count(replicas.begin(), replicas.end(), replicas[i])) * replicas[i];
    threads.emplace_back([&, i, rounds = (handBacks + each - 1) / each] {
      results[i] = fleet->run(*fleet->groups()[i], rounds);
    });
  }
  for (auto& one : threads) one.join();
  for (const auto& one : results) {
    EXPECT_TRUE(one) << one.error().message() << "\n" << fleet->shop().daemon->logText();
  }
  std::map<std::tuple<int, bool, std::size_t>, HandBacks> rows;
  for (const auto& group : fleet->groups()) {
    for (const auto& service : group->services) {
      for (std::size_t lag = 0; lag < FleetService::kLags.size(); ++lag) {
        rows[{service->replicas(), service->sharesPort(), lag}].add(service->lost().at(lag));
      }
    }
  }
  for (const auto& [key, figures] : rows) {
    const auto& [count, shares, lag] = key;
    const std::string on = shares ? "start" : "container";
    auto row = figures.toJson();
    row["part"] = "handOver";
    row["replicas"] = count;
    row["lagMs"] = FleetService::kLags.at(lag).count();
    row["on"] = on;
    write("hand-over-" + std::to_string(count) + "-" + std::to_string(lag) + "-" + on, std::move(row));
  }
}

}  // namespace
}  // namespace fallbackd::e2e
