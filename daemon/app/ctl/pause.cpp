// SPDX-License-Identifier: Apache-2.0
// fallbackctl pause, remove-all and resume: whether new recoveries may start on this node, and whether it may
// have stand-ins.
#include "config/pause.hpp"

#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/order_places.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"
#include "config/names.hpp"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;
using config::Pause;

constexpr std::chrono::seconds kPatience{10};
constexpr std::chrono::seconds kRemovalPatience{45};  // kubelet needs those of a deleted pod for 30 s

struct PauseOptions : OrderPlaces {
  std::vector<std::string> namespaces;  // empty: the node
  std::string reason;
};

void addNamespaces(CLI::App& command, PauseOptions& options) {
  command.add_option("--namespace", options.namespaces, "only this namespace; may be given several times");
}

/// Fills the places and checks the rest.
bool complete(PauseOptions& options) {
  if (!complete(static_cast<OrderPlaces&>(options))) return false;
  for (const auto& name : options.namespaces) {
    if (config::isDnsLabel(name)) continue;
    complain("--namespace " + fallbackd::quoted(name) + " is not a name that Kubernetes accepts");
    return false;
  }
  return isReason(options.reason);
}

/// The orders that the daemon follows, according to its status.
Pause ordersIn(const json::object& status) {
  Pause pause;
  const auto orderOf = [](const json::object& one) {
    return Pause::Order{parseRfc3339(text(one, "since")).value_or(Wall::time_point()),
                        rawText(one, "reason")};
  };
  const auto* said = status.if_contains("pause");
  if (said == nullptr) return pause;
  const auto& orders = said->as_object();
  if (const auto* node = orders.if_contains("node")) pause.node = orderOf(node->as_object());
  pause.withoutStandIns = flag(orders, "removeStandIns");
  for (const auto& one : list(orders, "namespaces")) {
    if (text(one.as_object(), "by") == "annotation") continue;  // not what fallbackctl wrote
    pause.namespaces.emplace(text(one.as_object(), "name"), orderOf(one.as_object()));
  }
  return pause;
}

/// Waits until the daemon follows the order. A failure: the daemon may not be running, and then reads the
/// order when it starts.
Result<> followed(const std::string& socket, const Pause& wanted) {
  return listen(
      socket,
      [&](const std::string& status) {
        boost::json::error_code error;
        const auto value = json::parse(status, error);
        if (error || !value.is_object() || ordersIn(value.as_object()) != wanted) return true;
        return wanted.withoutStandIns && !flag(value.at("pause").as_object(), "standInsGone");
      },
      wanted.withoutStandIns ? kRemovalPatience : kPatience);
}

std::string orderText(const Pause::Order& order) {
  const auto toTheSecond = rfc3339(order.since).substr(0, 19) + "Z";
  return "since " + toTheSecond + (order.reason.empty() ? "" : ": " + order.reason);
}

void print(const Pause& pause) {
  if (pause.node) std::printf("the node is paused %s\n", orderText(*pause.node).c_str());
  if (pause.withoutStandIns) std::printf("no stand-in may run on the node\n");
  for (const auto& [name, order] : pause.namespaces) {
    std::printf("namespace %s is paused %s\n", name.c_str(), orderText(order).c_str());
  }
  if (!pause.node && pause.namespaces.empty()) std::printf("nothing is paused\n");
}

int change(PauseOptions options, const std::function<void(Pause&)>& apply, config::Damaged damaged) {
  if (!complete(options)) return kUsage;
  const auto pause = config::changePause(*options.state, apply, damaged);
  if (!pause) return complain(pause.error());
  print(*pause);
  const auto done = followed(*options.socket, *pause);
  if (!done) {
    complain("written to " + *options.state + "/" + std::string(config::kPauseFile) +
             ", but the daemon does not confirm it: " + done.error().message());
    return kFailed;
  }
  std::printf("fallbackd follows it; running fallbacks go on\n");
  return kOk;
}

int startPause(const PauseOptions& options) {
  const Pause::Order order{std::chrono::floor<std::chrono::seconds>(Clock::system().wall()), options.reason};
  const auto apply = [&](Pause& pause) {
    if (options.namespaces.empty()) pause.node = order;
    for (const auto& name : options.namespaces) pause.namespaces[name] = order;
  };
  return change(options, apply, config::Damaged::keep);
}

int removeAll(const PauseOptions& options) {
  const auto apply = [&](Pause& pause) {
    pause.node =
        Pause::Order{std::chrono::floor<std::chrono::seconds>(Clock::system().wall()), options.reason};
    pause.withoutStandIns = true;
  };
  return change(options, apply, config::Damaged::keep);
}

int endPause(const PauseOptions& options) {
  const auto apply = [&](Pause& pause) {
    if (options.namespaces.empty()) pause = {};
    for (const auto& name : options.namespaces) pause.namespaces.erase(name);
  };
  // A damaged file pauses the node. Only ending every pause replaces it.
  return change(options, apply,
                options.namespaces.empty() ? config::Damaged::replace : config::Damaged::keep);
}

}  // namespace

void addPause(CLI::App& app, Run& run) {
  auto options = std::make_shared<PauseOptions>();
  auto* command = app.add_subcommand("pause", "start no new fallbacks on this node; running ones go on");
  addNamespaces(*command, *options);
  addOrderPlaces(*command, *options);
  command->add_option("--reason", options->reason, "shown in status, log and page");
  command->callback([options, &run] { run = [options] { return startPause(*options); }; });
}

void addRemoveAll(CLI::App& app, Run& run) {
  auto options = std::make_shared<PauseOptions>();
  auto* command = app.add_subcommand(
      "remove-all", "before an uninstall: pause the node and remove its stand-ins; fallbacks go on");
  addOrderPlaces(*command, *options);
  command->add_option("--reason", options->reason, "shown in status, log and page")->default_val("uninstall");
  command->callback([options, &run] { run = [options] { return removeAll(*options); }; });
}

void addResume(CLI::App& app, Run& run) {
  auto options = std::make_shared<PauseOptions>();
  auto* command =
      app.add_subcommand("resume", "end the pause of the given namespaces, or without any every pause");
  addNamespaces(*command, *options);
  addOrderPlaces(*command, *options);
  command->callback([options, &run] { run = [options] { return endPause(*options); }; });
}

}  // namespace fallbackd::ctl
