// SPDX-License-Identifier: Apache-2.0
#include "kube/own_daemon_set.hpp"

#include "base/async/backoff.hpp"
#include "base/async/within.hpp"
#include "base/query.hpp"
#include "kube/connection.hpp"

#include <optional>
#include <utility>

#include <boost/asio/this_coro.hpp>
#include <boost/json.hpp>

namespace fallbackd::kube {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr Backoff::Limits kSeeingPauses{1s, 5min};
constexpr auto kRefusedPause = 500ms;
constexpr unsigned kHttpOk = 200;
constexpr unsigned kHttpUnauthorized = 401;
constexpr unsigned kHttpForbidden = 403;
constexpr unsigned kHttpNotFound = 404;

asio::awaitable<Result<Answer>> askForDaemonSet(AccessSource source, std::string target) {
  FB_CO_TRY(auto access, source());
  FB_CO_TRY(auto connection, co_await Connection::open(std::move(access), OwnDaemonSet::kLimit));
  co_return co_await connection.get(std::move(target), OwnDaemonSet::kLimit);
}

/// If it is deleted in the foreground, it stays until its pods have ended.
bool isBeingDeleted(const std::string& body) {
  json::error_code error;
  const auto value = json::parse(body, error);
  if (error || !value.is_object()) return false;
  const auto* metadata = value.get_object().if_contains("metadata");
  return metadata != nullptr && metadata->is_object() && metadata->get_object().contains("deletionTimestamp");
}

}  // namespace

bool OwnDaemonSet::isName(std::string_view text) {
  const auto slash = text.find('/');
  return slash != std::string_view::npos && slash > 0 && slash + 1 < text.size() &&
         text.find('/', slash + 1) == std::string_view::npos;
}

OwnDaemonSet::OwnDaemonSet(AccessSource access, std::string_view name) : access_(std::move(access)) {
  const auto slash = name.find('/');
  target_ = "/apis/apps/v1/namespaces/" + queryEscaped(std::string(name.substr(0, slash))) + "/daemonsets/" +
            queryEscaped(std::string(name.substr(slash + 1)));
}

asio::awaitable<void> OwnDaemonSet::see(std::function<void()> notFound) {
  Backoff pause(kSeeingPauses);
  while (!seen_) {
    const auto answer = co_await within(kLimit, askForDaemonSet(access_, target_));
    seen_ = answer && *answer && (*answer)->status == kHttpOk;
    if (answer && *answer && (*answer)->status == kHttpNotFound && notFound) {
      std::exchange(notFound, nullptr)();
    }
    if (!seen_) co_await pause.wait();
  }
}

asio::awaitable<bool> OwnDaemonSet::isGone() const {
  if (!seen_) co_return false;
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  const auto believed = later(clock.now(), kDoubt);
  for (;;) {
    const auto answer = co_await within(kLimit, askForDaemonSet(access_, target_));
    if (!answer || !*answer) co_return false;
    const auto status = (*answer)->status;
    if (status == kHttpOk) co_return isBeingDeleted((*answer)->body);
    if (status == kHttpNotFound) co_return true;
    if (status != kHttpForbidden && status != kHttpUnauthorized) co_return false;
    if (clock.now() >= believed) co_return true;
    co_await pauseFor(kRefusedPause);
  }
}

}  // namespace fallbackd::kube
