// SPDX-License-Identifier: Apache-2.0
// fallbackctl completion: what a shell offers after TAB, generated from the command line itself.
#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/output.hpp"

#include <cstdio>
#include <memory>
#include <set>
#include <string>

#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

// Candidates for the current word come from three tables by command: options, option values, pods.
constexpr const char* kHead = R"bash(_fallbackctl() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words=''
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then command=''; fi
  case "$command $before" in
)bash";
constexpr const char* kMiddle = R"bash(  esac
  if [[ -z $words && $word != -* && $command == explain ]]; then
    words=$(fallbackctl completion pods 2>/dev/null)
  elif [[ -z $words ]]; then
    case "$command" in
)bash";
constexpr const char* kTail = R"bash(    esac
    if [[ -n $command && $word != -* ]]; then words=''; fi
  fi
  if [[ $words == '<file>' || ( -z $words && $word != -* ) ]]; then
    COMPREPLY=($(compgen -f -- "$word"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  fi
}
complete -o filenames -F _fallbackctl fallbackctl
)bash";

std::string namesOf(const CLI::Option& option) {
  std::string names;
  for (const auto& name : option.get_lnames()) names += " --" + name;
  for (const auto& name : option.get_snames()) names += " -" + name;
  return names;
}

/// The words of a closed list, parsed from CLI11's description: "{table,json}".
std::string wordsOf(const CLI::Option& option) {
  const auto type = option.get_type_name();
  const auto open = type.find('{');
  const auto close = type.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return "<file>";
  auto words = type.substr(open + 1, close - open - 1);
  for (auto& c : words) c = c == ',' ? ' ' : c;
  return words;
}

std::string bashScript(const CLI::App& app) {
  std::string values;
  std::string options;
  std::string commands;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    const auto& name = command->get_name();
    commands += (commands.empty() ? "" : " ") + name;
    std::string flags;
    for (const auto* option : command->get_options()) {
      const auto names = namesOf(*option);
      flags += names;
      if (names.empty() || option->get_items_expected_max() == 0) continue;
      std::string pattern;
      for (const auto& one : option->get_lnames())
        pattern += (pattern.empty() ? "" : "|") + ("'" + name) + " --" + one + "'";
      for (const auto& one : option->get_snames())
        pattern += (pattern.empty() ? "" : "|") + ("'" + name) + " -" + one + "'";
      values += "    " + pattern + ") words='" + wordsOf(*option) + "' ;;\n";
    }
    options += "      " + name + ") words='" + (flags.empty() ? "" : flags.substr(1)) + "' ;;\n";
  }
  values += "    'completion completion') words='bash zsh' ;;\n";
  options += "      '') words='" + commands + " --help --version' ;;\n";
  return kHead + values + kMiddle + options + kTail;
}

/// The pods that a person would ask about; empty if the daemon does not answer.
int printPods(const ClientOptions& options) {
  const auto root = askJson(options.socket, "/status");
  if (!root) return kFailed;
  std::set<std::string> names;
  for (const auto* key : {"waiting", "recoveries"}) {
    for (const auto& item : list(root->as_object(), key)) names.insert(podOf(item.as_object()));
  }
  for (const auto& name : names) std::printf("%s\n", printable(name).c_str());
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
      "completion", "print a completion script: source <(fallbackctl completion bash), or zsh");
  command->add_option("what", options->what, "bash or zsh; pods prints names for explain")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "pods"}));
  command->add_option("--socket", options->client.socket, "fallbackd's socket")->capture_default_str();
  command->callback([options, &app, &run] {
    run = [options, &app] {
      if (options->what == "pods") return printPods(options->client);
      if (options->what == "zsh") std::printf("autoload -U +X bashcompinit && bashcompinit\n");
      std::printf("%s", bashScript(app).c_str());
      return kOk;
    };
  });
}

}  // namespace fallbackd::ctl
