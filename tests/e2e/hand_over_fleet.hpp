// SPDX-License-Identifier: Apache-2.0
// A node on which real containers take over from settled fallbacks again and again, while Services route to
// them; scripts/report settle counts the lost requests. All rounds share one run of the daemon, and each
// round's hand-backs serve the routers of every lag.
#pragma once

#include "kubelet/model.hpp"
#include "request_load.hpp"
#include "router.hpp"
#include "shop.hpp"

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// The lost requests of one Service's clients at one lag.
struct LostRequests {
  unsigned sent = 0;
  unsigned noEndpoint = 0;            // those that found no endpoint
  std::vector<unsigned> ofHandBacks;  // lost, from the moment a pod was not Ready until the next one was not
  std::map<std::string, unsigned> reasons;
};

/// The pods of one workload, and one Service for each lag in front of them.
class FleetService {
 public:
  static constexpr std::array kLags{std::chrono::milliseconds(0), std::chrono::milliseconds(100),
                                    std::chrono::milliseconds(1000)};
  static constexpr unsigned kRequestsPerSecond = 200;

  static Result<std::unique_ptr<FleetService>> make(std::string name, int replicas, bool sharesPort);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int replicas() const { return replicas_; }
  [[nodiscard]] bool sharesPort() const { return sharesPort_; }
  [[nodiscard]] std::vector<std::string> podsOf(int round) const;
  [[nodiscard]] std::vector<std::string> args() const;
  [[nodiscard]] std::string workload(const std::string& image) const;

  /// The status of a pod of this Service; called by kubelet's threads.
  void update(const model::PodStatus& pod);
  bool waitForEndpoints(std::chrono::nanoseconds ceiling);
  /// Starts the clients; returns once the fallbacks answer all of them.
  bool open(std::chrono::nanoseconds ceiling);
  /// Once the containers answer, ends the clients and counts their requests.
  bool close(std::chrono::nanoseconds ceiling);
  [[nodiscard]] const std::array<LostRequests, kLags.size()>& lost() const { return lost_; }

 private:
  FleetService(std::string name, int replicas, bool sharesPort)
      : name_(std::move(name)), replicas_(replicas), sharesPort_(sharesPort) {}
  [[nodiscard]] bool waitForAnswers(const std::string& role, std::chrono::nanoseconds ceiling);

  std::string name_;
  int replicas_;
  bool sharesPort_;
  std::vector<std::unique_ptr<Router>> routers_;  // one for each lag
  std::array<LostRequests, kLags.size()> lost_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RequestLoad>> loads_;                   // guarded by mutex_
  std::map<std::string, bool> ready_;                                 // guarded by mutex_; by pod
  std::vector<std::array<RequestLoad::Counts, kLags.size()>> begun_;  // guarded by mutex_; one a hand-back
};

/// Services with images that come and go together: one round after the other.
struct FleetGroup {
  Registry registry;
  std::string image;
  std::vector<std::unique_ptr<FleetService>> services;
};

class HandOverFleet {
 public:
  /// A group for each number of replicas, with a workload for each handBack.on.
  static Result<std::unique_ptr<HandOverFleet>> open(const std::vector<int>& replicas, NodeOptions node = {});
  HandOverFleet(const HandOverFleet&) = delete;
  HandOverFleet& operator=(const HandOverFleet&) = delete;
  ~HandOverFleet() { kubelet_.reset(); }

  [[nodiscard]] std::vector<std::unique_ptr<FleetGroup>>& groups() { return groups_; }
  /// Groups run concurrently, each in one thread.
  Result<> run(FleetGroup& group, int rounds);
  [[nodiscard]] const Shop& shop() const { return *shop_; }

 private:
  HandOverFleet() = default;
  Result<> round(FleetGroup& group, int number);
  void add(const FleetGroup& group, const FleetService& service, const std::string& pod);
  [[nodiscard]] Result<> readyWith(const FleetGroup& group, int number, const std::string& image) const;

  std::vector<std::unique_ptr<FleetGroup>> groups_;
  std::unique_ptr<Shop> shop_;
  std::unique_ptr<model::KubeletModel> kubelet_;
};

}  // namespace fallbackd::e2e
