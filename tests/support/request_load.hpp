// SPDX-License-Identifier: Apache-2.0
// Clients of a Service: a steady number of requests per second, each on its own connection, and their
// results.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace fallbackd::e2e {

class RequestLoad {
 public:
  /// Sends GET / to 127.0.0.1:PORT from now on.
  RequestLoad(std::uint16_t port, unsigned perSecond);
  RequestLoad(const RequestLoad&) = delete;
  RequestLoad& operator=(const RequestLoad&) = delete;
  ~RequestLoad();

  struct Counts {
    unsigned sent = 0;
    unsigned answered = 0;  // completely, with status 200
    unsigned lost = 0;
    std::map<std::string, unsigned> roles;    // answers by the "role=ROLE" of shop-httpd
    std::map<std::string, unsigned> reasons;  // of lost requests
  };
  [[nodiscard]] Counts counts() const;
  /// Waits until `role` has answered this many more.
  bool waitForAnswers(unsigned more, const std::string& role, std::chrono::nanoseconds ceiling);
  /// Sends no more requests and waits for those in flight.
  Counts finish();

 private:
  boost::asio::awaitable<void> sendAll(std::chrono::nanoseconds pause);
  boost::asio::awaitable<void> sendOne();
  void count(const std::string& answer, const std::string& failure);

  boost::asio::io_context context_{1};
  std::uint16_t port_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Counts counts_;         // guarded by mutex_
  bool stopped_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace fallbackd::e2e
