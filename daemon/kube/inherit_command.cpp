// SPDX-License-Identifier: Apache-2.0
// Command, arguments, variables and working directory. The binary stands in for the program that the
// container would start, so the first word becomes argv[0] and the others become the arguments.
#include "base/paths.hpp"
#include "base/strings.hpp"
#include "kube/inherit_parts.hpp"
#include "kube/mounted_data.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <utility>

namespace fallbackd::kube {

namespace {

std::string_view programOf(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is the beginning
}

template <class List>
bool listContains(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

/// Programs that start the actual program and pass signals on to it. A fallback needs none: the binary stands
/// in for what they start.
struct Init {
  std::string_view program;
  std::array<std::string_view, 3> optionsWithValue;
};
constexpr std::array kInits{Init{"tini", {"-p", "-e", ""}}, Init{"tini-static", {"-p", "-e", ""}},
                            Init{"dumb-init", {"-r", "--rewrite", ""}}, Init{"catatonit", {"", "", ""}}};

/// Number of words of the init before the program; zero if there is none.
std::size_t wordsOfInit(const std::vector<std::string>& words) {
  if (words.empty()) return 0;
  for (const auto& init : kInits) {
    if (programOf(words.front()) != init.program) continue;
    std::size_t at = 1;
    while (at < words.size() && words[at].starts_with('-')) {
      const auto& option = words[at++];
      if (option == "--") break;
      if (listContains(init.optionsWithValue, option)) ++at;
    }
    return at < words.size() ? at : 0;
  }
  return 0;
}

bool isShell(const std::vector<std::string>& words) {
  constexpr std::array<std::string_view, 7> kShells{"sh", "bash", "ash", "dash", "zsh", "ksh", "busybox"};
  return !words.empty() && listContains(kShells, programOf(words.front()));
}

struct Words {
  std::vector<std::string> all;
  std::string path;          // of the field that decides them
  bool programKnown = true;  // the first one is the program
};

std::vector<std::string> expandAll(const Inheritance& to, const ContainerEnvironment& environment,
                                   const std::vector<std::string>& words, std::string_view field) {
  std::vector<std::string> expanded;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto path = to.pathOf(field) + "[" + std::to_string(i) + "]";
    expanded.push_back(environment.expandArgument(words[i], path, to.out.notInherited));
  }
  return expanded;
}

/// A command replaces ENTRYPOINT and CMD, args replace CMD. The image's own words are not expanded.
Words wordsOf(const Inheritance& to, const ContainerEnvironment& environment) {
  const auto& container = to.container;
  const auto& image = to.request.image;
  Words words{{}, to.pathOf("command"), true};
  if (!container.command.empty()) {
    words.all = expandAll(to, environment, container.command, "command");
  } else if (image) {
    words.all = image->entrypoint;
    words.path = to.pathOf("image");
  } else {
    words.programKnown = false;
  }
  const auto more = expandAll(to, environment, container.args, "args");
  const bool ofImage = container.command.empty() && container.args.empty() && image;
  const auto& rest = ofImage ? image->cmd : more;
  words.all.insert(words.all.end(), rest.begin(), rest.end());
  return words;
}

}  // namespace

void inheritCommand(const Inheritance& to, const ContainerEnvironment& environment) {
  auto& workload = to.out.workload;
  const auto& container = to.container;
  if (!to.given("workingDir")) {
    const auto ofImage = to.request.image ? to.request.image->workingDir : std::string();
    const auto& said = container.workingDir.empty() ? ofImage : container.workingDir;
    workload.workingDir = normalizedPath(said);
  }
  if (to.given("args")) {
    workload.argv0.clear();
    return;
  }
  auto words = wordsOf(to, environment);
  if (!words.programKnown) {
    workload.args = std::move(words.all);
    return;
  }
  if (const auto init = wordsOfInit(words.all); init > 0) {
    words.all.erase(words.all.begin(), words.all.begin() + static_cast<std::ptrdiff_t>(init));
  }
  if (isShell(words.all)) {
    return to.refuse(words.path, "the container starts the shell " + quoted(words.all.front()) +
                                     ", whose words are not the binary's arguments; write args");
  }
  if (words.all.empty()) return;
  workload.argv0 = words.all.front();
  workload.args.assign(words.all.begin() + 1, words.all.end());
  if (workload.argv0.ends_with(".sh")) {
    to.note(words.path,
            "the script " + quoted(workload.argv0) + " is not run; the binary gets its arguments");
  }
}

void inheritVariables(const Inheritance& to, const ContainerEnvironment& environment) {
  auto& workload = to.out.workload;
  const auto& missing = environment.missing();
  to.out.notInherited.insert(to.out.notInherited.end(), missing.begin(), missing.end());
  workload.env = environment.values();
  workload.envFiles = environment.files();
  if (to.request.image) {
    std::map<std::string, std::string> ofImage;
    for (const auto& [name, value] : to.request.image->env) ofImage[name] = value;
    for (const auto& [name, value] : ofImage) {
      // The pod's variables take precedence over the image's, even if their values are not known.
      if (!environment.unknown().contains(name)) workload.env.emplace(name, value);
    }
  }
  // KUBERNETES_SERVICE_HOST and similar variables are in every container, whatever enableServiceLinks is.
  if (!to.given("serviceVariables") && !to.request.facts.serviceVariables) workload.serviceVariables = true;
}

}  // namespace fallbackd::kube
