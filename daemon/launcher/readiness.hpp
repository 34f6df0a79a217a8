// When a fallback counts as serving: it accepts a connection, or answers, on the pod's IP.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"

#include <chrono>
#include <string>
#include <variant>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

/// Asks at once and then ever more slowly (0.5 to 20 ms) until the answer is good. From the daemon's own
/// network namespace, as kubelet's probes do. Ends early only by cancellation: whoever waits also watches the
/// process. Stage readiness; reason not_ready with the last answer after the workload's time limit.
boost::asio::awaitable<Result<>> waitReady(config::Readiness readiness, std::string ip);

/// One question, over within `timeout`. The same stage and reason.
boost::asio::awaitable<Result<>> askOnce(std::variant<config::ReadyWhenTcp, config::ReadyWhenHttp> how,
                                         std::string ip, std::chrono::nanoseconds timeout);

}  // namespace fallbackd::launcher
