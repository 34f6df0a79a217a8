// SPDX-License-Identifier: Apache-2.0
// The candidates that a shell offers after TAB, tested in real shells.
#include "shell.hpp"

#include <gmock/gmock.h>

namespace fallbackd {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// The candidates while the last word of the command line is being typed ("" after a space).
std::string offered(const std::string& words, int current) {
  const std::string script = "source <(" FALLBACKCTL " completion bash); COMP_WORDS=(" + words +
                             "); COMP_CWORD=" + std::to_string(current) +
                             "; _fallbackctl; printf \"%s \" \"${COMPREPLY[@]}\"";
  const auto output = test::shell("cd / && bash -c '" + script + "'");
  EXPECT_EQ(output.code, 0) << output.text;
  return " " + output.text;
}

TEST(Completion, CompletesCommandsOptionsAndWords) {
  EXPECT_EQ(offered("fallbackctl st", 1), " status ");
  const auto all = offered("fallbackctl \"\"", 1);
  for (const char* command : {" keygen ", " sign ", " install ", " status ", " recoveries ", " watch ",
                              " explain ", " coverage "}) {
    EXPECT_THAT(all, HasSubstr(command));
  }
  EXPECT_THAT(offered("fallbackctl status --", 2), HasSubstr(" --socket "));
  EXPECT_THAT(offered("fallbackctl status --", 2), Not(HasSubstr(" --key ")));
  EXPECT_EQ(offered("fallbackctl status -o \"\"", 3), " table json yaml ");
  EXPECT_EQ(offered("fallbackctl recoveries --output j", 3), " json ");
  EXPECT_EQ(offered("fallbackctl recoveries --state ha", 3), " handed_back ");
  EXPECT_EQ(offered("fallbackctl coverage --accept not_a", 3), " not_allowed not_admitted ");
  EXPECT_EQ(offered("fallbackctl completion z", 2), " zsh ");
  EXPECT_EQ(offered("fallbackctl sign --key /et", 3), " /etc ");
  EXPECT_EQ(offered("fallbackctl sign /et", 2), " /etc ");
}

TEST(Completion, CompletesBelowACommandOfACommand) {
  EXPECT_EQ(offered("fallbackctl pack \"\"", 2), " build push inspect wait ");
  EXPECT_EQ(offered("fallbackctl pack b", 2), " build ");
  EXPECT_EQ(offered("fallbackctl mirror \"\"", 2), " enable disable ");
  EXPECT_EQ(offered("fallbackctl mirror enable --order \"\"", 4), " first last ");
  EXPECT_THAT(offered("fallbackctl pack build --", 3),
              AllOf(HasSubstr(" --layout "), Not(HasSubstr(" --skopeo "))));
  EXPECT_EQ(offered("fallbackctl pack inspect -o y", 4), " yaml ");
  EXPECT_EQ(offered("fallbackctl pack build --keys /et", 4), " /etc ");
  EXPECT_EQ(offered("fallbackctl help st", 2), " status ");
  EXPECT_EQ(offered("fallbackctl --v", 1), " --version ");
}

TEST(Completion, FishOffersTheSameWithTheirPurposes) {
  const auto offers = [](const std::string& line) {
    const auto output = test::shell(
        "fish --no-config -c '" FALLBACKCTL " completion fish | source; complete -C \"" + line + "\"'");
    EXPECT_EQ(output.code, 0) << output.text;
    return output.text;
  };
  EXPECT_EQ(offers("fallbackctl stat"), "status\tshow what fallbackd on this node is doing\n");
  EXPECT_THAT(offers("fallbackctl pack "),
              AllOf(HasSubstr("build\t"), HasSubstr("inspect\t"), Not(HasSubstr("status\t"))));
  EXPECT_THAT(offers("fallbackctl pack build --lay"), HasSubstr("--layout"));
  EXPECT_EQ(offers("fallbackctl pack inspect -o y"), "yaml\ttable, json or yaml\n");
  EXPECT_THAT(offers("fallbackctl recoveries --state ha"), HasSubstr("handed_back"));
}

TEST(Completion, ZshAcceptsItsScript) {
  const auto output =
      test::shell("zsh -f -c 'autoload -U compinit && compinit -D -u; source <(" FALLBACKCTL
                  " completion zsh) && whence -w _fallbackctl && print -r -- $_comps[fallbackctl]'");
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_THAT(output.text, HasSubstr("_fallbackctl: function"));
  EXPECT_THAT(output.text, HasSubstr("_fallbackctl"));
}

TEST(Completion, WithoutADaemonThereAreNoPodsAndNoErrors) {
  const auto output = test::shell(FALLBACKCTL " completion pods --socket /nonexistent");
  EXPECT_EQ(output.code, 1);
  EXPECT_EQ(output.text, "");
}

}  // namespace
}  // namespace fallbackd
