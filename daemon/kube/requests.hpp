// SPDX-License-Identifier: Apache-2.0
// Consecutive requests to one server. It may close the connection after any answer, for instance when it is
// about to stop, or if it speaks HTTP/1.0: the next request then opens a new one.
//
// Thread: the calling coroutine's executor. Cancellation: as for Connection. Errors: those of the source and
// of Connection.
#pragma once

#include "kube/access.hpp"
#include "kube/connection.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

/// Whether it can be the name of an object, by the rule of Kubernetes' own clients. The names in a pod are
/// not validated. An API server decodes a path before it splits it, and a proxy may even resolve "..", which
/// leads to a different namespace.
bool isPathSegment(std::string_view name);

class Requests {
 public:
  /// `limit`: for each connection, and for each answer.
  Requests(AccessSource access, std::chrono::nanoseconds limit) : access_(std::move(access)), limit_(limit) {}

  /// One request after the other.
  boost::asio::awaitable<Result<Answer>> get(std::string target);

 private:
  AccessSource access_;
  std::chrono::nanoseconds limit_;
  std::optional<Connection> connection_;
};

}  // namespace fallbackd::kube
