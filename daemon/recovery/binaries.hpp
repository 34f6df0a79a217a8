// Where a recovery gets its admitted binary from: the resident copy at once, else by an admission on the
// worker pool, so that hashing never holds up the event loop.
#pragma once

#include "cache/cache.hpp"
#include "telemetry/log.hpp"
#include "telemetry/metrics.hpp"

#include <map>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>

namespace fallbackd::recovery {

class Binaries {
 public:
  virtual ~Binaries() = default;
  virtual boost::asio::awaitable<Result<cache::AdmittedPtr>> acquire(BinaryRef ref) = 0;
};

class CachedBinaries final : public Binaries {
 public:
  CachedBinaries(boost::asio::any_io_executor executor, config::CacheSettings settings,
                 telemetry::Metrics& metrics, telemetry::Log& log);
  ~CachedBinaries() override;

  boost::asio::awaitable<Result<cache::AdmittedPtr>> acquire(BinaryRef ref) override;

  /// Admits what the workloads refer to and keeps it resident; reports
  /// what changed. Cheap where nothing did.
  boost::asio::awaitable<void> refresh(config::ConfigPtr config);

 private:
  void reportUsage();
  void report(const cache::Cache::Entry& entry);

  boost::asio::any_io_executor executor_;
  telemetry::Metrics& metrics_;
  telemetry::Log& log_;
  cache::Cache cache_;
  std::map<BinaryRef, std::string> refused_;  // and why: said once, however often it is looked at
  boost::asio::thread_pool pool_{1};          // one at a time: admissions read and hash whole files
};

}  // namespace fallbackd::recovery
