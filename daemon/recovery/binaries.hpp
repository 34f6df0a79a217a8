// SPDX-License-Identifier: Apache-2.0
// Where a recovery gets its admitted binary: the resident copy at once, otherwise an admission on the worker
// pool, so that hashing never blocks the event loop.
#pragma once

#include "cache/cache.hpp"
#include "telemetry/log.hpp"
#include "telemetry/metrics/cache.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>

namespace fallbackd::recovery {

/// The state of a binary that a workload refers to.
struct BinaryState {
  BinaryRef ref;
  bool serves = false;    // a recovery would get it now
  bool resident = false;  // without reading the disk
  bool inGrace = false;
  std::uint64_t bytes = 0;
  std::string digest;
  std::optional<Wall::time_point> expires;
  std::optional<Error> refused;           // what is on disk, when it was last checked
  std::optional<ImageConfig> image = {};  // recorded by its attestation
  /// Namespaces whose pods may choose it by annotation; absent: the attestation leaves that to the node.
  std::optional<std::vector<std::string>> namespaces = {};
};

/// What a binary is for: who chose it, and the namespace of the pod.
struct Chooser {
  Provenance chosenBy = Provenance::configuration;
  std::string podNamespace;
  /// The configuration lists the binary for that namespace: then its attestation need not.
  bool listed = false;
};
Chooser chooserOf(const config::Config& config, const config::Workload& workload,
                  const std::string& podNamespace);

class Binaries {
 public:
  virtual ~Binaries() = default;
  /// A binary that a pod's annotation chose must be allowed in its namespace by the attestation or by the
  /// configuration, and must not be below the version floor unless the configuration also names it. Reasons
  /// not_permitted, version_rollback and those of every admission.
  virtual boost::asio::awaitable<Result<cache::AdmittedPtr>> acquire(BinaryRef ref, Chooser chooser) = 0;
  /// The copy cannot be executed: the next caller gets a different one.
  virtual void giveUp(const cache::AdmittedPtr& copy) = 0;
};

class CachedBinaries final : public Binaries {
 public:
  CachedBinaries(boost::asio::any_io_executor executor, config::CacheSettings settings,
                 telemetry::CacheMetrics& metrics, telemetry::Log& log);
  ~CachedBinaries() override;

  boost::asio::awaitable<Result<cache::AdmittedPtr>> acquire(BinaryRef ref, Chooser chooser) override;
  void giveUp(const cache::AdmittedPtr& copy) override { cache_.giveUp(copy); }

  /// Admits what the workloads refer to, and what pods of this node choose, and keeps it resident; reports
  /// what changed. Cheap if nothing did. `chosen`: without duplicates.
  boost::asio::awaitable<void> refresh(config::ConfigPtr config, std::vector<BinaryRef> chosen = {});

  /// As of the last refresh; empty before the first one has finished.
  [[nodiscard]] const std::optional<std::vector<BinaryState>>& states() const { return states_; }
  [[nodiscard]] cache::Cache::Usage usage() const { return cache_.usage(); }
  /// What keeps every binary from being admitted, as of the last refresh.
  [[nodiscard]] cache::Cache::Trust trust() const { return cache_.trust(); }
  /// The configuration's rollbacks, as of the last refresh().
  [[nodiscard]] std::vector<cache::RolledBack> rolledBack() const { return cache_.rolledBack(); }

 private:
  void reportUsage();
  void count(const Result<cache::AdmittedPtr>& admission);
  void meterGrace(const cache::Admitted& admitted);
  void report(const cache::Cache::Entry& entry);
  void warnOfBudget(const cache::Admitted& admitted);
  void reportTrust();
  void reportRollbacks();

  boost::asio::any_io_executor executor_;
  telemetry::CacheMetrics& metrics_;
  telemetry::Log& log_;
  cache::Cache cache_;
  std::optional<std::vector<BinaryState>> states_;
  std::map<BinaryRef, std::string> refused_;      // and why: logged once, however often it is checked
  std::string distrust_;                          // logged once, too
  std::map<std::string, std::string> rollbacks_;  // their states; changes are logged
  boost::asio::thread_pool pool_{1};              // one at a time: admissions read and hash whole files
};

}  // namespace fallbackd::recovery
