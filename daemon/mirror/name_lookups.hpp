// SPDX-License-Identifier: Apache-2.0
// Looks up the addresses of hosts, each name on its own thread, so that a name server that is silent about
// one name does not hold up lookups of others. Callers that look up the same name wait for the same answer.
// The system's lookup cannot be cancelled: a caller that is no longer interested leaves, and the thread ends
// by itself.
#pragma once

#include "base/async/event.hpp"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>

namespace fallbackd::mirror {

/// Thread: the executor's. Neither close() nor destroying it waits for threads.
class NameLookups {
 public:
  struct Found {
    std::vector<boost::asio::ip::address> addresses;
    std::string error;     // why there are none
    bool unknown = false;  // no lookup was possible: too many run, or the node has no descriptors left
  };
  /// Blocks; called on its own thread.
  using LookUp = std::function<Found(const std::string& host)>;
  /// How many names may be slow at once; the system gives up on each after about half a minute.
  static constexpr std::size_t kMaxAtOnce = 64;

  explicit NameLookups(boost::asio::any_io_executor executor, LookUp lookUp = askSystem);
  NameLookups(const NameLookups&) = delete;
  NameLookups& operator=(const NameLookups&) = delete;
  ~NameLookups();

  /// Lookups that still run get no answer. To be called before the executor is destroyed.
  void close();

  /// May be cancelled at any time.
  boost::asio::awaitable<Found> find(std::string host);

  static Found askSystem(const std::string& host);

 private:
  struct Running;
  struct Shared;

  boost::asio::any_io_executor executor_;
  LookUp lookUp_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace fallbackd::mirror
