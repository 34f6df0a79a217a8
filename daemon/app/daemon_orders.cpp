// SPDX-License-Identifier: Apache-2.0
// What an operator ordered in the state folder: pauses and drills.
#include "app/daemon_parts.hpp"
#include "base/async/backoff.hpp"
#include "config/pause.hpp"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::app {

using namespace std::chrono_literals;

namespace {

constexpr std::chrono::nanoseconds kOrdersInterval = 5s;
constexpr std::chrono::nanoseconds kUnreadPause = 100ms;

}  // namespace

cri::Awaitable<void> Daemon::Parts::followPause() {
  std::vector<std::string> folders{config->cache.state};
  stateWatch.emplace(executor(), std::move(folders), sayWatched("the state folder"));
  Backoff unread({kUnreadPause, kOrdersInterval});
  for (;;) {
    // Meanwhile the assumed order may remove stand-ins: a temporary error must not decide that for long.
    if (pauseProblem.empty()) unread.reset();
    const auto interval = pauseProblem.empty() ? kOrdersInterval : unread.next();
    co_await stateWatch->changed(interval);
    readPause();
    readDrill();
  }
}

/// An order that cannot be read is obeyed: somebody wanted something to stop.
void Daemon::Parts::readPause() {
  auto order = config::readPause(config->cache.state);
  if (!order) {
    const auto problem = order.error().message();
    if (problem == pauseProblem) return;
    pauseProblem = problem;
    log.error("the order to pause cannot be read: no new fallback is started; fallbackctl resume replaces it",
              {{"error", problem}});
    order = config::pauseOfDamaged(problem, ordersKnown ? &orders : nullptr, Clock::system().wall());
  } else {
    pauseProblem.clear();
  }
  ordersKnown = true;
  order->annotated = std::move(orders.annotated);
  orders = std::move(*order);
  followOrders();
}

void Daemon::Parts::followOrders() {
  const auto namespaces = orders.namespaceCount();
  metrics.orders.paused(orders.node ? 1 : 0, namespaces);
  if (orders == recoveries->withholding().paused()) return;
  log.warn(orders.node || namespaces > 0 ? "recoveries are paused; running fallbacks go on"
                                         : "recoveries are not paused any more",
           {{"node", orders.node.has_value()},
            {"namespaces", namespaces},
            {"annotatedNamespaces", orders.annotated.size()},
            {"reason", orders.node ? orders.node->reason : ""}});
  recoveries->pause(orders);
  // Whatever waits is due at once.
  if (watcher) watcher->reconfigure(config);
}

/// A drill that cannot be read does not count. The interval of followPause() ends a drill whose time is over.
void Daemon::Parts::readDrill() {
  const auto read = config::readDrill(config->cache.state);
  std::optional<config::Drill> order;
  std::string problem;
  if (!read) {
    problem = read.error().message();
  } else if (*read && (*read)->holdsAt(Clock::system().wall())) {
    order = *read;
    if (const auto known = config::withDrill(loaded, *order); !known) {
      problem = known.error().context;
      order.reset();
    }
  }
  if (problem != drillProblem && !problem.empty()) {
    log.error("a drill was ordered but does not hold; fallbackctl drill stop removes the order",
              {{"error", problem}});
  }
  drillProblem = problem;
  if (order == drill) return;
  const auto before = std::exchange(drill, std::move(order));
  const auto& told = drill ? drill : before;
  log.warn(drill ? "a drill begins: the image of one pod counts as refused"
                 : "the drill is over; its fallback goes on until its pod goes",
           {{"namespace", told->podNamespace},
            {"pod", told->pod},
            {"workload", told->workload},
            {"until", rfc3339(told->until)},
            {"reason", told->reason}});
  useConfig();
}

/// The files' configuration, with the drill that holds.
void Daemon::Parts::useConfig() {
  const auto drilled = drill ? config::withDrill(loaded, *drill) : Result<config::ConfigPtr>(loaded);
  config = drilled.value_or(loaded);
  metrics.orders.drill(drill ? telemetry::OrderMetrics::Drill::holds : telemetry::OrderMetrics::Drill::none);
  if (!watcher) return;  // at the start
  recoveries->reconfigure(config);
  watcher->reconfigure(config);
}

}  // namespace fallbackd::app
