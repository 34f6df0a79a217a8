// SPDX-License-Identifier: Apache-2.0
// fallbackctl help and version, the examples of every command, and the message about an unknown command.
#include "app/ctl/build_info.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

/// By command. A test runs each of them as far as --help.
const std::map<std::string_view, std::vector<const char*>>& examples() {
  static const std::map<std::string_view, std::vector<const char*>> kExamples{
      {"keygen", {"fallbackctl keygen --out shop", "fallbackctl keygen --encrypt --out shop"}},
      {"sign",
       {"fallbackctl sign --key shop.key --name checkout --version 1.8.3 --expires 180d checkout",
        "fallbackctl sign --key shop.key --name checkout --version 1.8.3 --expires 2027-01-31 --arch arm64 "
        "--passphrase-file passphrase checkout"}},
      {"verify",
       {"fallbackctl verify", "fallbackctl verify checkout@1.8.3",
        "fallbackctl verify --keys keys --bundle checkout.sigstore.json checkout"}},
      {"install",
       {"fallbackctl install --attestation checkout.sigstore.json checkout",
        "fallbackctl install --from layout:1.8.3",
        "fallbackctl install --from pack.tar --keep 2 --config /etc/fallbackd/fallbackd.yaml",
        "fallbackctl install --from pack.tar --keep 2 --config fallbackd.yaml --drop-ins conf.d"}},
      {"list", {"fallbackctl list", "fallbackctl list -o json"}},
      {"exec", {"fallbackctl exec checkout@1.8.3 -- --port=8080"}},
      {"check-config",
       {"fallbackctl check-config", "fallbackctl check-config --config fallbackd.yaml --drop-ins conf.d"}},
      {"status", {"fallbackctl status", "fallbackctl status -o yaml", "fallbackctl status --exit-code"}},
      {"recoveries",
       {"fallbackctl recoveries --state failed", "fallbackctl recoveries --workload checkout --limit 5"}},
      {"watch", {"fallbackctl watch", "fallbackctl watch -o json"}},
      {"explain", {"fallbackctl explain web-0", "fallbackctl explain shop/web-0"}},
      {"coverage",
       {"fallbackctl coverage --problems", "fallbackctl coverage --from shop.yaml --config fallbackd.yaml",
        "fallbackctl coverage --cluster --namespace shop"}},
      {"completion", {"fallbackctl completion bash", "fallbackctl completion fish"}},
      {"pack", {"fallbackctl pack inspect registry.example.com/shop/fallback-pack:1.8.3"}},
      {"pack build",
       {"fallbackctl pack build --keys keys --layout layout --tag 1.8.3 pack",
        "fallbackctl pack build --artifact --keys keys --layout layout --tag 1.8.3 pack"}},
      {"pack push", {"fallbackctl pack push layout:1.8.3 registry.example.com/shop/fallback-pack:1.8.3"}},
      {"pack wait", {"fallbackctl pack wait"}},
      {"pack inspect",
       {"fallbackctl pack inspect layout:1.8.3",
        "fallbackctl pack inspect registry.example.com/shop/fallback-pack:1.8.3"}},
      {"init", {"fallbackctl init shop.yaml", "fallbackctl init --short --namespace shop deployment.yaml"}},
      {"mirror", {"fallbackctl mirror enable", "fallbackctl mirror disable"}},
      {"mirror enable",
       {"fallbackctl mirror enable --registry registry.example.com",
        "fallbackctl mirror enable --every-registry --order last --write"}},
      {"mirror disable", {"fallbackctl mirror disable --write"}},
      {"pause", {"fallbackctl pause --reason maintenance", "fallbackctl pause --namespace shop"}},
      {"remove-all", {"fallbackctl remove-all", "fallbackctl remove-all --reason 'moved to another pool'"}},
      {"resume", {"fallbackctl resume"}},
      {"drill", {"fallbackctl drill start checkout", "fallbackctl drill stop"}},
      {"drill start",
       {"fallbackctl drill start checkout",
        "fallbackctl drill start checkout --for 30m --pod shop/rehearsal"}},
      {"drill stop", {"fallbackctl drill stop"}},
      {"drill status", {"fallbackctl drill status"}},
      {"drill pod",
       {"fallbackctl drill pod checkout deployment.yaml --node worker-1",
        "fallbackctl drill pod checkout deployment.yaml --node worker-1 --container web --for 30m"}},
      {"describe-config", {"fallbackctl describe-config", "fallbackctl describe-config --format schema"}},
      {"help", {"fallbackctl help", "fallbackctl help pack build"}},
      {"version", {"fallbackctl version", "fallbackctl version -o json"}},
  };
  return kExamples;
}

std::vector<CLI::App*> commandsOf(CLI::App& app) {
  return app.get_subcommands([](CLI::App*) { return true; });
}

/// Null if there is none.
CLI::App* commandNamed(CLI::App& app, const std::string& name) {
  for (auto* command : commandsOf(app)) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

std::string nearest(CLI::App& app, const std::string& word) {
  std::vector<std::string_view> names;
  for (const auto* command : commandsOf(app)) names.emplace_back(command->get_name());
  const auto near = closest(word, names);
  return near ? std::string(*near) : "";
}

/// "unknown command "statsu"; did you mean "status"?"
std::string unknownWords(CLI::App& level, const std::string& path, const std::string& word) {
  const auto near = nearest(level, word);
  const auto whole = path.empty() ? word : path + " " + word;
  auto text = "there is no command " + fallbackd::quoted(whole);
  if (!near.empty())
    text += "; did you mean " + fallbackd::quoted(path.empty() ? near : path + " " + near) + "?";
  return text + " (fallbackctl help" + (path.empty() ? "" : " " + path) + " lists all)";
}

int showHelp(CLI::App& app, const std::vector<std::string>& words) {
  app.clear();  // the help of an app is that of the command that was parsed
  CLI::App* level = &app;
  std::string path;
  for (const auto& word : words) {
    auto* next = commandNamed(*level, word);
    if (next == nullptr) {
      complain(unknownWords(*level, path, word));
      return kUsage;
    }
    path += (path.empty() ? "" : " ") + word;
    level = next;
  }
  const auto end = path.rfind(' ');
  const std::string before = end == std::string::npos ? "" : " " + path.substr(0, end);
  std::printf("%s", level->help(level == &app ? "" : "fallbackctl" + before).c_str());
  return kOk;
}

void addExamplesBelow(CLI::App& app, const std::string& path) {
  for (auto* command : commandsOf(app)) {
    const auto whole = path.empty() ? command->get_name() : path + " " + command->get_name();
    const auto found = examples().find(whole);
    if (found != examples().end()) {
      std::string text = "Examples:";
      for (const char* line : found->second) text.append("\n  ").append(line);
      command->footer(text);
    }
    addExamplesBelow(*command, whole);
  }
}

}  // namespace

void addHelp(CLI::App& app, Run& run) {
  auto words = std::make_shared<std::vector<std::string>>();
  auto* command = app.add_subcommand("help", "explain a command, or list all");
  command->add_option("COMMAND", *words, "for example: pack build");
  command->callback([words, &app, &run] { run = [words, &app] { return showHelp(app, *words); }; });
}

void addVersion(CLI::App& app, Run& run) {
  auto format = std::make_shared<std::string>("table");
  auto* command = app.add_subcommand("version", "print version, commit and date");
  addFormat(*command, *format);
  command->callback([format, &run] {
    run = [format] {
      if (*format == "table") {
        std::printf("fallbackctl %s\ncommit %s\nbuilt from sources of %s\n", FALLBACKD_VERSION, kCommit,
                    kBuildDate);
      } else {
        printDocument(
            boost::json::object{{"version", FALLBACKD_VERSION}, {"commit", kCommit}, {"date", kBuildDate}},
            *format);
      }
      return kOk;
    };
  });
}

void addExamples(CLI::App& app) {
  addExamplesBelow(app, "");
}

std::optional<std::string> unknownCommand(CLI::App& app, std::span<char* const> arguments) {
  CLI::App* level = &app;
  std::string path;
  for (const std::string argument : arguments) {
    if (commandsOf(*level).empty()) return std::nullopt;
    if (argument.starts_with('-')) continue;
    auto* next = commandNamed(*level, argument);
    if (next == nullptr) return unknownWords(*level, path, argument);
    path += (path.empty() ? "" : " ") + argument;
    level = next;
  }
  return std::nullopt;
}

}  // namespace fallbackd::ctl
