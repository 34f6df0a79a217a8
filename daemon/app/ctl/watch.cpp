// SPDX-License-Identifier: Apache-2.0
// fallbackctl watch: one line for everything that happens, until interrupted.
#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/output.hpp"
#include "base/clock.hpp"
#include "base/strings.hpp"

#include <cstdio>
#include <map>
#include <memory>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

/// The last printed line of each recovery, registry and waiting container.
class Changes {
 public:
  explicit Changes(std::string format) : format_(std::move(format)) {}

  void take(const json::object& root) {
    std::map<std::string, std::string> now;
    const auto each = [&](const char* kind, const char* key, auto line, auto state) {
      for (const auto& item : list(root, key)) {
        const auto& one = item.as_object();
        const auto name = std::string(kind) + " " + line(one);
        now[name] = state(one);
        const auto before = printed_.find(name);
        if (before == printed_.end() || before->second != now[name]) printChange(kind, name, now[name], one);
      }
    };
    each(
        "registry", "registries", [](const auto& one) { return text(one, "host"); },
        [](const auto& one) { return text(one, "state") + tail(one, "cause"); });
    each(
        "waiting", "waiting", [](const auto& one) { return podOf(one) + " " + text(one, "container"); },
        [](const auto& one) { return text(one, "state") + tail(one, "cause"); });
    each(
        "recovery", "recoveries",
        [](const auto& one) { return text(one, "id") + " " + podOf(one) + " " + text(one, "container"); },
        [](const auto& one) { return stateOf(one); });
    printed_ = std::move(now);
  }

 private:
  static std::string tail(const json::object& one, const char* key) {
    const auto value = text(one, key);
    return value == "-" ? "" : ", " + value;
  }
  static std::string stateOf(const json::object& one) {
    std::string line = text(one, "state") + tail(one, "cause");
    if (text(one, "restarts") != "0") line += ", restarts " + text(one, "restarts");
    const auto* phases = one.if_contains("sinceWaitingMs");
    if (phases != nullptr && phases->is_object() && phases->get_object().contains("ready")) {
      line += ", ready after " + duration(phases->get_object(), "ready");
    }
    const auto* error = one.if_contains("error");
    if (error != nullptr && error->is_object()) line += tail(error->get_object(), "message");
    return line;
  }
  void printChange(const char* kind, const std::string& name, const std::string& state,
                   const json::object& one) const {
    const auto time = rfc3339(Clock::system().wall());
    if (format_ != "table") {
      const json::object line{{"time", time}, {"kind", kind}, {kind, one}};
      if (format_ == "yaml") std::printf("---\n");
      printDocument(line, format_);
    } else {
      std::printf("%s  %s  %s\n", time.substr(11, 12).c_str(), escaped(name).c_str(), escaped(state).c_str());
    }
    std::fflush(stdout);
  }

  std::string format_;
  std::map<std::string, std::string> printed_;
};

int watch(const ClientOptions& options) {
  Changes changes(options.format);
  bool understood = true;
  const auto ended = listen(options.socket, [&](const std::string& data) {
    json::error_code error;
    const auto root = json::parse(data, error);
    understood = !error && root.is_object();
    if (understood) changes.take(root.get_object());
    return understood && std::ferror(stdout) == 0;
  });
  if (!understood) complain("this fallbackctl does not understand the daemon's events");
  return ended ? kFailed : complain(ended.error());
}

}  // namespace

void addWatch(CLI::App& app, Run& run) {
  auto options = std::make_shared<ClientOptions>();
  auto* command = app.add_subcommand("watch", "print a line for every change, until interrupted; UTC");
  addClientOptions(*command, *options);
  command->callback([options, &run] { run = [options] { return watch(*options); }; });
}

}  // namespace fallbackd::ctl
