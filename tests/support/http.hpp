// SPDX-License-Identifier: Apache-2.0
// HTTP for tests: GET with a time limit, and addresses that fail in a chosen way.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

namespace fallbackd::e2e {

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

/// Sends one GET on a new connection; takes at most `timeout`. Reason unavailable if nothing answers.
Result<HttpAnswer> httpGet(const std::string& ip, std::uint16_t port, const std::string& path,
                           std::chrono::milliseconds timeout = std::chrono::seconds(5));

/// Whether a TCP connection is accepted right now.
bool accepts(const std::string& ip, std::uint16_t port);

/// Retries until the answer has status 200; after the time limit returns the last failure.
Result<HttpAnswer> httpGetOk(const std::string& ip, std::uint16_t port, const std::string& path,
                             std::chrono::milliseconds deadline = std::chrono::seconds(10));

/// An address on 127.0.0.1 that refuses connections: the port is bound, so that no other process gets it, but
/// nothing listens. release() frees it for a server.
class DeadPort {
 public:
  static Result<DeadPort> make();
  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// "127.0.0.1:PORT", the host part of an image reference.
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::uint16_t release() {
    held_.reset();
    return port_;
  }

 private:
  sys::UniqueFd held_;
  std::uint16_t port_ = 0;
};

/// A server that answers every request with one status and an empty JSON object. Has its own thread.
class StatusServer {
 public:
  /// Port 0: any free one.
  static Result<std::unique_ptr<StatusServer>> start(unsigned status, std::uint16_t port = 0);
  StatusServer(const StatusServer&) = delete;
  StatusServer& operator=(const StatusServer&) = delete;
  ~StatusServer();

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] unsigned requests() const { return requests_; }
  void setStatus(unsigned status) { status_ = status; }

 private:
  struct Loop;
  StatusServer();

  std::unique_ptr<Loop> loop_;
  std::uint16_t port_ = 0;
  std::atomic<unsigned> status_{200};
  std::atomic<unsigned> requests_{0};
  std::thread thread_;
};

}  // namespace fallbackd::e2e
