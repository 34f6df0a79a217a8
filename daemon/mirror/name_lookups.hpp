// SPDX-License-Identifier: Apache-2.0
// Looks up the addresses of hosts, each name in a thread of its own, so that a name server that is silent
// about one name holds up nobody who asks for another. Whoever asks for the same name waits for the same
// answer. The system's lookup cannot be cancelled: whoever is no longer interested leaves, and the thread
// ends by itself.
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
    bool unknown = false;  // nobody could be asked: too many lookups, or the node has no descriptors left
  };
  /// Blocks; called in a thread of its own.
  using LookUp = std::function<Found(const std::string& host)>;
  /// Names that are slow all at once; the system gives each up after half a minute or so.
  static constexpr std::size_t kMaxAtOnce = 64;

  explicit NameLookups(boost::asio::any_io_executor executor, LookUp lookUp = askSystem);
  NameLookups(const NameLookups&) = delete;
  NameLookups& operator=(const NameLookups&) = delete;
  ~NameLookups();

  /// What is still being looked up is not answered any more. Before the executor goes.
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
