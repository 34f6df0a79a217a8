// SPDX-License-Identifier: Apache-2.0
// One TLS connection to a server of the cluster, for consecutive requests and for one stream of lines.
// HTTP/1.1; redirects are not followed.
//
// Thread: the calling coroutine's executor. Cancellation: a cancelled call throws operation_aborted, and the
// connection cannot be used again. Every call has a limit. Errors: stage kube; reason timeout, unavailable
// (no connection, or cut), untrusted_key (TLS), protocol (malformed HTTP), too_large, or the error of reading
// a file that `Access` names.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "kube/access.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

struct Answer {
  unsigned status = 0;
  std::optional<std::chrono::seconds> retryAfter;
  std::string body;
  bool keepsOpen = true;  // the connection can send another request
};

/// How much of an answer is kept in memory. etcd stores objects of up to 1.5 MiB, in a form that is shorter
/// than JSON: an author can make an object up to seven times as long in JSON.
struct AnswerLimits {
  std::uint64_t bodyBytes = 32UL << 20;  // several such objects, or thousands of typical ones
  std::size_t lineBytes = 16UL << 20;    // one such object
};

struct Line {
  std::string text;
  bool skipped = false;  // it was longer than the limit, and has no text
};

class Connection {
 public:
  static constexpr const char* kJson = "application/json";
  static constexpr std::uint32_t kMaxHeaderBytes = 16UL << 10;

  /// Resolves, connects, and checks the server.
  static boost::asio::awaitable<Result<Connection>> open(Access access, std::chrono::nanoseconds limit,
                                                         AnswerLimits limits = {});

  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  /// `target` is the path below the server's base path, with its query.
  boost::asio::awaitable<Result<Answer>> get(std::string target, std::chrono::nanoseconds limit,
                                             std::string accept = kJson);

  /// Creates an object, from its JSON.
  boost::asio::awaitable<Result<Answer>> post(std::string target, std::string body,
                                              std::chrono::nanoseconds limit);
  /// Changes an object, by a strategic merge patch in JSON.
  boost::asio::awaitable<Result<Answer>> patch(std::string target, std::string body,
                                               std::chrono::nanoseconds limit);

  /// As get(), but the body of a 200 is left for nextLine(). No other request can follow.
  boost::asio::awaitable<Result<Answer>> openStream(std::string target, std::chrono::nanoseconds limit,
                                                    std::string accept = kJson);

  /// The next line without its end. Empty if the server ended the stream properly. A line that is too long is
  /// skipped: its author must not keep us from what follows.
  boost::asio::awaitable<Result<std::optional<Line>>> nextLine(Stamp deadline);

 private:
  struct State;
  explicit Connection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fallbackd::kube
