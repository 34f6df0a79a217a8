// SPDX-License-Identifier: Apache-2.0
// For scripts/report: how long it takes until a pod is served, adopted, Ready and routed to, with kubelet's
// own times; and what a stand-in costs beside a pause container.
#include "hand_over.hpp"
#include "http.hpp"
#include "image.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
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

double quantile(Millis all, double part) {
  if (all.empty()) return 0;
  std::sort(all.begin(), all.end());
  const auto rank = static_cast<std::size_t>(part * static_cast<double>(all.size()));
  return all[std::min(rank, all.size() - 1)];
}

/// The report sets it.
std::string folderOfReport() {
  const char* const folder = std::getenv("SETTLE_JSON");  // NOLINT(concurrency-mt-unsafe): one thread
  return folder == nullptr ? "" : folder;
}

int numberOr(const char* name, int otherwise) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
  return text == nullptr ? otherwise : std::atoi(text);
}

class SettlePhases : public SettleNode {
 protected:
  /// Notes when each pod was first Ready.
  void follow() {
    kubelet_->subscribe([this](const model::PodStatus& pod) {
      const std::lock_guard lock(mutex_);
      if (pod.ready) ready_.try_emplace(pod.name, Monotonic::now());
    });
  }
  /// Adds what is known of these pods, in milliseconds since the first word that fallbackd had of them: the
  /// sandbox's start.
  void collect(const std::map<std::string, Stamp>& added) {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    ASSERT_TRUE(answer);
    const auto root = json::parse(answer->body);
    for (const auto& item : root.at("recoveries").as_array()) {
      const auto found = added.find(std::string(item.at("pod").as_string()));
      if (found == added.end()) continue;
      const auto& since = item.at("sinceWaitingMs");
      phases_["trigger (failure known)"].push_back(since.at("detected").to_number<double>());
      phases_["fallback ready"].push_back(since.at("ready").to_number<double>());
      const std::lock_guard lock(mutex_);
      const auto adopted = kubelet_->events().of(found->first, "Found");
      ASSERT_FALSE(adopted.empty());
      phases_["adopted, since the pod was added"].push_back(millis(adopted[0].at - found->second));
      phases_["Ready, since the pod was added"].push_back(millis(ready_.at(found->first) - found->second));
    }
  }
  void write(const std::string& folder, const std::string& name) {
    json::array rows;
    for (const auto& [phase, times] : phases_) {
      rows.push_back(json::object{{"phase", phase},
                                  {"pods", times.size()},
                                  {"p50", quantile(times, 0.5)},
                                  {"p99", quantile(times, 0.99)}});
    }
    std::ofstream(folder + "/phases-" + name + ".json")
        << json::object{{"part", "phases"}, {"load", name}, {"rows", std::move(rows)}} << "\n";
    phases_.clear();
  }
  std::mutex mutex_;
  std::map<std::string, Stamp> ready_;  // guarded by mutex_
  std::map<std::string, Millis> phases_;
};

TEST_F(SettlePhases, AreMeasured) {
  const auto folder = folderOfReport();
  ASSERT_FALSE(folder.empty()) << "SETTLE_JSON names the folder of the results";
  ASSERT_NO_FATAL_FAILURE(open(0ms, "", {}, 1.0));
  follow();
  Millis pauses;
  std::map<std::string, Stamp> added;
  const int pods = numberOr("SETTLE_PODS", 100);
  for (int i = 0; i < pods; ++i) {
    const auto name = "web-" + std::to_string(i);
    added[name] = Monotonic::now();
    ASSERT_NO_FATAL_FAILURE(settled(name));
    // The same pod, the same runtime, one moment later.
    E2E_TRY(const auto pod, shop_->kubelet->podOf(kubelet_->status(name)->uid));
    ContainerSpec pause;
    pause.name = "pause";
    pause.image = pauseImage().reference;
    const auto begun = Monotonic::now();
    E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, pause));
    E2E_CHECK(shop_->kubelet->startContainer(id));
    pauses.push_back(millis(Monotonic::now() - begun));
    E2E_CHECK(shop_->kubelet->stopContainer(id, 0s));
    E2E_CHECK(shop_->kubelet->removeContainer(id));
    ASSERT_NO_FATAL_FAILURE(collect({{name, added[name]}}));
    kubelet_->remove(name, 1s);
    ASSERT_TRUE(kubelet_->waitUntilGone(name, kCeiling));
  }
  write(folder, "one after the other");
  const auto metrics = shop_->daemon->metrics();
  ASSERT_TRUE(metrics);
  const auto mean = [&](const std::string& phase) {
    const auto label = "phase=\"" + phase + "\"";
    return sumOf(*metrics, "fallbackd_stand_in_seconds_sum", label) * 1000 /
           sumOf(*metrics, "fallbackd_stand_in_seconds_count", label);
  };
  double pauseMean = 0;
  for (const double one : pauses) pauseMean += one / static_cast<double>(pauses.size());
  std::ofstream(folder + "/cost.json")
      << json::object{{"part", "cost"},         {"image", mean("image")}, {"create", mean("create")},
                      {"start", mean("start")}, {"pause", pauseMean},     {"times", pauses.size()}}
      << "\n";

  const int atOnce = numberOr("SETTLE_AT_ONCE", 110);
  added.clear();
  for (int i = 0; i < atOnce; ++i) {
    const auto name = "many-" + std::to_string(i);
    added[name] = Monotonic::now();
    add(name);
  }
  for (const auto& [name, at] : added) {
    ASSERT_TRUE(readyWith(name, kStandIn, 300s)) << kubelet_->status(name)->text();
  }
  ASSERT_NO_FATAL_FAILURE(collect(added));
  write(folder, std::to_string(atOnce) + " at once");
}

TEST_F(HandOver, IsMeasured) {
  const auto folder = folderOfReport();
  ASSERT_FALSE(folder.empty()) << "SETTLE_JSON names the folder of the results";
  const int rounds = numberOr("SETTLE_ROUNDS", 1);
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
        std::ofstream(folder + "/hand-over-" + std::to_string(replicas) + "-" + std::to_string(lag.count()) +
                      (shared ? "-start" : "-container") + ".json")
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
