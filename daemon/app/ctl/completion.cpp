// SPDX-License-Identifier: Apache-2.0
// fallbackctl completion: what a shell offers after TAB, generated from the command line itself.
#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"

#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

/// What every shell's script is generated from: the command line itself, command by command.
struct Described {
  struct Option {
    std::vector<std::string> names;  // with their dashes, the long ones first
    bool takesValue = false;
    std::string words;  // of a closed list, with spaces between; empty: a file, or anything
    std::string purpose;
  };
  std::string path;  // "pack build"; empty for the program itself
  std::vector<Option> options;
  std::vector<std::pair<std::string, std::string>> commands;  // name, purpose
  std::string words;                                          // of its argument, as above
};

/// The words of a closed list, parsed from CLI11's description: "{table,json}".
std::string wordsOf(const CLI::Option& option) {
  const auto type = option.get_type_name();
  const auto open = type.find('{');
  const auto close = type.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return "";
  auto words = type.substr(open + 1, close - open - 1);
  for (auto& c : words) c = c == ',' ? ' ' : c;
  return words;
}

std::string firstLine(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

void describe(const CLI::App& app, const std::string& path, std::vector<Described>& all) {
  Described one;
  one.path = path;
  for (const auto* option : app.get_options()) {
    Described::Option described;
    for (const auto& name : option->get_lnames()) described.names.push_back("--" + name);
    for (const auto& name : option->get_snames()) described.names.push_back("-" + name);
    described.takesValue = option->get_items_expected_max() != 0;
    described.words = wordsOf(*option);
    described.purpose = firstLine(option->get_description());
    if (!described.names.empty()) {
      one.options.push_back(std::move(described));
    } else if (!described.words.empty()) {
      one.words = described.words;
    }
  }
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  for (const auto* command : commands) {
    one.commands.emplace_back(command->get_name(), firstLine(command->get_description()));
  }
  if (path == "completion") one.words = "bash zsh fish";  // pods are for the scripts
  if (path == "help") {
    for (const auto& [name, purpose] : all.front().commands)
      one.words += (one.words.empty() ? "" : " ") + name;
  }
  all.push_back(std::move(one));
  for (const auto* command : commands) {
    describe(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), all);
  }
}

std::vector<Described> describe(const CLI::App& app) {
  std::vector<Described> all;
  describe(app, "", all);
  return all;
}

// The words before this one determine the command; candidates then come from tables by command: option
// values, options, commands or the argument's words, pods.
constexpr const char* kBashHead = R"bash(_fallbackctl() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command='' words='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command ${COMP_WORDS[i]}" in
)bash";
constexpr const char* kBashValues = R"bash(    esac
  done
  case "$command $before" in
)bash";
constexpr const char* kBashOptions = R"bash(  esac
  if [[ -z $words && $word == -* ]]; then
    case "$command" in
)bash";
constexpr const char* kBashWords = R"bash(    esac
  elif [[ -z $words && $command == explain ]]; then
    words=$(fallbackctl completion pods 2>/dev/null)
  elif [[ -z $words ]]; then
    case "$command" in
)bash";
constexpr const char* kBashTail = R"bash(    esac
  fi
  if [[ $words == '<file>' || ( -z $words && $word != -* ) ]]; then
    COMPREPLY=($(compgen -f -- "$word"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  fi
}
complete -o filenames -F _fallbackctl fallbackctl
)bash";

std::string bashScript(const std::vector<Described>& all) {
  std::string paths;
  std::string values;
  std::string options;
  std::string words;
  for (const auto& one : all) {
    const auto cut = one.path.rfind(' ');
    const auto name = cut == std::string::npos ? one.path : one.path.substr(cut + 1);
    const auto above = cut == std::string::npos ? "" : one.path.substr(0, cut);
    if (!one.path.empty()) paths += "      '" + above + " " + name + "') command='" + one.path + "' ;;\n";
    std::string flags;
    for (const auto& option : one.options) {
      for (const auto& each : option.names) flags += (flags.empty() ? "" : " ") + each;
      if (!option.takesValue) continue;
      std::string pattern;
      for (const auto& each : option.names)
        pattern += (pattern.empty() ? "'" : "|'") + one.path + " " + each + "'";
      values += "    " + pattern + ") words='" + (option.words.empty() ? "<file>" : option.words) + "' ;;\n";
    }
    options += "      '" + one.path + "') words='" + flags + "' ;;\n";
    std::string offered = one.words;
    for (const auto& command : one.commands) offered += (offered.empty() ? "" : " ") + command.first;
    if (!offered.empty()) words += "      '" + one.path + "') words='" + offered + "' ;;\n";
  }
  return kBashHead + paths + kBashValues + values + kBashOptions + options + kBashWords + words + kBashTail;
}

constexpr const char* kFishHead = R"fish(function __fallbackctl_at
  set -l command
  for word in (commandline -opc)[2..-1]
    if contains -- (string trim -- "$command $word") $__fallbackctl_commands
      set command (string trim -- "$command $word")
    end
  end
  test "$command" = "$argv[1]"
end
complete -c fallbackctl -e
complete -c fallbackctl -n '__fallbackctl_at explain' -f -a '(fallbackctl completion pods 2>/dev/null)'
)fish";

std::string fishQuoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "'";
}

std::string fishScript(const std::vector<Described>& all) {
  std::string script = "set -g __fallbackctl_commands";
  for (const auto& one : all) script += one.path.empty() ? "" : " " + fishQuoted(one.path);
  script += "\n";
  script += kFishHead;
  for (const auto& one : all) {
    const auto head = "complete -c fallbackctl -n " + fishQuoted("__fallbackctl_at " + fishQuoted(one.path));
    for (const auto& [name, purpose] : one.commands) {
      script += head + " -f -a " + name + " -d " + fishQuoted(purpose) + "\n";
    }
    if (!one.words.empty()) script += head + " -f -a " + fishQuoted(one.words) + "\n";
    for (const auto& option : one.options) {
      script += head;
      for (const auto& name : option.names) {
        script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (option.takesValue) script += option.words.empty() ? " -r -F" : " -x -a " + fishQuoted(option.words);
      script += " -d " + fishQuoted(option.purpose) + "\n";
    }
  }
  return script;
}

/// The pods that a person would ask about; empty if the daemon does not answer.
int printPods(const ClientOptions& options) {
  const auto root = askJson(options.socket, "/status");
  if (!root) return kFailed;
  std::set<std::string> names;
  for (const auto* key : {"waiting", "recoveries"}) {
    for (const auto& item : list(root->as_object(), key)) names.insert(podOf(item.as_object()));
  }
  for (const auto& name : names) std::printf("%s\n", escaped(name).c_str());
  return kOk;
}

}  // namespace

void addCompletion(CLI::App& app, Run& run) {
  struct Options {
    ClientOptions client;
    std::string what;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand(
      "completion", "print a completion script: source <(fallbackctl completion bash), or zsh, or fish");
  command->add_option("what", options->what, "bash, zsh or fish; pods prints names for explain")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish", "pods"}));
  command->add_option("--socket", options->client.socket, "fallbackd's socket")->capture_default_str();
  command->callback([options, &app, &run] {
    run = [options, &app] {
      if (options->what == "pods") return printPods(options->client);
      const auto described = describe(app);
      if (options->what == "zsh") std::printf("autoload -U +X bashcompinit && bashcompinit\n");
      std::printf("%s", (options->what == "fish" ? fishScript(described) : bashScript(described)).c_str());
      return kOk;
    };
  });
}

}  // namespace fallbackd::ctl
