// SPDX-License-Identifier: Apache-2.0
// fallbackctl explain: why a pod did, or did not, get its fallback.
#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/output.hpp"
#include "base/query.hpp"
#include "base/strings.hpp"

#include <cstdio>
#include <memory>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

struct ExplainOptions {
  ClientOptions client;
  std::string pod;
};

void print(const json::object& one) {
  std::string head = text(one, "namespace") == "-" ? text(one, "pod") : podOf(one);
  if (text(one, "container") != "-") head += ", container " + text(one, "container");
  if (text(one, "recovery") != "-") head += ", recovery " + text(one, "recovery");
  std::printf("%s: %s\n", escaped(head).c_str(), escaped(text(one, "verdict")).c_str());
  std::vector<std::vector<std::string>> rows;
  for (const auto& item : list(one, "steps")) {
    const auto& step = item.as_object();
    rows.push_back({"  " + text(step, "question"), text(step, "verdict"), text(step, "text")});
  }
  printTable(rows);
  if (text(one, "next") != "-") std::printf("  next: %s\n", escaped(text(one, "next")).c_str());
}

int show(const ExplainOptions& options) {
  const auto answer = askJson(options.client.socket, "/explain?pod=" + queryEscaped(options.pod));
  if (!answer) return complain(answer.error());
  if (!options.client.table()) {
    printDocument(*answer, options.client.format);
    return kOk;
  }
  for (const auto& one : answer->as_array()) print(one.as_object());
  return kOk;
}

}  // namespace

void addExplain(CLI::App& app, Run& run) {
  auto options = std::make_shared<ExplainOptions>();
  auto* command = app.add_subcommand("explain", "say why a pod did, or did not, get its fallback");
  addClientOptions(*command, options->client);
  command->add_option("pod", options->pod, "NAME or NAMESPACE/NAME")->required();
  command->callback([options, &run] { run = [options] { return show(*options); }; });
}

}  // namespace fallbackd::ctl
