// SPDX-License-Identifier: Apache-2.0
// One TLS connection to a server of the cluster, for GET requests one after the other and for one stream of
// lines. HTTP/1.1, no redirects: an answer is what the server at this address said.
//
// Thread: the calling coroutine's executor. Cancellation: a cancelled call throws operation_aborted, and the
// connection is of no further use. Every call has a limit. Errors: stage kube; reason timeout, unavailable
// (no connection, or cut), untrusted_key (TLS), protocol (not HTTP as we know it), too_large, or, of files
// that `Access` names, what reading them gave.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "kube/access.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

struct Answer {
  unsigned status = 0;
  std::optional<std::chrono::seconds> retryAfter;
  std::string body;
};

class Connection {
 public:
  static constexpr std::uint32_t kMaxHeaderBytes = 16UL << 10;
  /// The pods of a node in one piece: etcd keeps objects of 1.5 MiB, and a usual pod has 10 KiB.
  static constexpr std::uint64_t kMaxBodyBytes = 32UL << 20;
  static constexpr std::size_t kMaxLineBytes = 4UL << 20;

  /// Resolves, connects, and checks the server.
  static boost::asio::awaitable<Result<Connection>> open(Access access, std::chrono::nanoseconds limit);

  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  /// `target` is the path below the server's base path, with its query.
  boost::asio::awaitable<Result<Answer>> get(std::string target, std::chrono::nanoseconds limit);

  /// The same, but of a 200 the body is left for nextLine(). Nothing else can be asked afterwards.
  boost::asio::awaitable<Result<Answer>> openStream(std::string target, std::chrono::nanoseconds limit);

  /// The next line without its end. Empty if the server ended the stream as HTTP ends one.
  boost::asio::awaitable<Result<std::optional<std::string>>> nextLine(Stamp deadline);

 private:
  struct State;
  explicit Connection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fallbackd::kube
